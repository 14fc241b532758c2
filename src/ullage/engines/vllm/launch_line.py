"""Find a vLLM server in a command line: behind assignments, wrappers, a container or Python's ``-m``."""

import re
from enum import StrEnum

from ullage.domain.plan import Finding
from ullage.engines.vllm.flags_kinds import SERVE_SINCE, SERVER_MODULE, Release
from ullage.engines.vllm.option_findings import written
from ullage.frozen import dataclass, replace

IMAGE_SERVES_SINCE: Release = (0, 11, 1)  # before, the image's own program was the module
DEMO_MODULE = "vllm.entrypoints.api_server"
_DEMO_LAST: Release = (0, 24, 0)
_CLI_MODULES = frozenset({"vllm.entrypoints.cli.main", "vllm.scripts", "vllm"})
_SERVER_MODULES = frozenset({SERVER_MODULE, "vllm.entrypoints.launchers.api_server.entry"})
_BREAKS = frozenset({"&&", "||", ";", "|", "&", "\n"})
_REDIRECT = re.compile(r"((?:\d|&)?>{1,2}|<)(?:&\d|[^<>|&\s]+)?")
_ASSIGNMENT = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=(.*)", re.DOTALL)
_IMAGE = re.compile(r"(?:[\w.-]+(?::\d+)?/)*[\w.-]*vllm[\w.-]*(?:/[\w.-]+)*(?::(?P<tag>[\w.-]+))?(?:@sha256:[0-9a-f]+)?")
_TAG_RELEASE = re.compile(r"v?(\d+\.\d+\.\d+)(?:\.post\d+)?(?:[.\-].*)?")
_CONTAINERS = frozenset({"docker", "podman", "nerdctl"})
_NAMED_OPTIONS = frozenset({"--name", "-v", "--volume", "-e", "--env", "--network", "-w", "--hostname", "--entrypoint"})
_SHELLS = frozenset({"bash", "sh", "zsh", "dash"})
_WRAPPERS = frozenset(
    """
    accelerate apptainer chrt conda env exec export ionice mamba micromamba mpiexec mpirun nice nohup numactl nsys pipenv pixi poetry ray
    rye setsid singularity srun stdbuf sudo taskset time timeout torchrun uv uvx xvfb-run
    """.split()  # noqa: SIM905 - a list of words reads best as words
)


class Entry(StrEnum):
    """Which program reads the options."""

    SERVE = "vllm serve"
    MODULE = "the server's module"
    DEMO = "the demo server"


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """A server found in a command line and the words it reads. ``tag`` is the release a container's tag names."""

    entry: Entry
    args: tuple[str, ...]
    environment: tuple[tuple[str, str], ...] = ()
    tag: str | None = None
    from_image: bool = False
    findings: tuple[Finding, ...] = ()


def find_launch(argv: tuple[str, ...]) -> Launch | None:
    """The server a command line starts, or None where it starts none."""
    exported: tuple[tuple[str, str], ...] = ()
    for part in _parts(argv):
        found = _in_part(part)
        if found is not None:
            return replace(found, environment=(*exported, *found.environment))
        exported = (*exported, *_assignments(part)) if part[:1] == ("export",) or len(_assignments(part)) == len(part) else exported
    return None


def _parts(argv: tuple[str, ...]) -> list[tuple[str, ...]]:
    """The command line cut at the shell's separators, without redirections and line continuations."""
    parts: list[list[str]] = [[]]
    before = ""
    for word in argv:
        redirect, target = _REDIRECT.fullmatch(word), _REDIRECT.fullmatch(before)
        if word in _BREAKS:
            parts.append([])
        elif redirect is None and (target is None or target[1] != before) and word.strip() not in {"\\", "$", "#"}:
            parts[-1].append(word)
        before = word
    return [tuple(part) for part in parts if part]


def _assignments(words: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    return tuple((match[1], match[2]) for word in words if (match := _ASSIGNMENT.fullmatch(word)))


def _in_part(words: tuple[str, ...]) -> Launch | None:
    """One simple command; a container may stand behind a wrapper such as sudo."""
    start = next((index for index, word in enumerate(words) if not _ASSIGNMENT.fullmatch(word)), len(words))
    rest = words[start:]
    if not rest:
        return None
    found = _direct(rest)
    if found is None:
        box = next((index for index, word in enumerate(rest) if _base(word) in _CONTAINERS), None)
        wrapped = box is not None and (box == 0 or _base(rest[0]) in _WRAPPERS)
        found = _container(rest[box:]) if wrapped else None
    return None if found is None else replace(found, environment=(*_assignments(words[:start]), *found.environment))


def _base(word: str) -> str:
    return word.rsplit("/", 1)[-1]


def _direct(words: tuple[str, ...]) -> Launch | None:
    """A server without a container around it."""
    first = _base(words[0]) if words else ""
    if first in _SHELLS:
        return _shell(words)
    if first not in _WRAPPERS or _program(words) is not None:
        return _program(words) if words else None
    for index in range(1, len(words)):
        found = _shell(words[index:]) if _base(words[index]) in _SHELLS else _program(words[index:])
        if found is not None:
            return replace(found, environment=(*_assignments(words[1:index]), *found.environment))
    return None


def _shell(words: tuple[str, ...]) -> Launch | None:
    """``bash -c "…"``: the text is cut at blanks, which is enough for a command without quotes inside quotes."""
    text = next((words[i + 1] for i, word in enumerate(words[:-1]) if re.fullmatch(r"-\w*c", word)), None)
    inner = tuple(text.replace("'", " ").replace('"', " ").split()) if text else ()
    for index in range(len(inner)):
        found = _program(inner[index:])
        if found is not None:
            return replace(found, environment=_assignments(inner[:index]))
    return None


def _container(words: tuple[str, ...]) -> Launch | None:
    """``docker run OPTIONS IMAGE ARGS``: the image is the first word that is named like one and is no option's value."""
    for index in range(1, len(words)):
        inside = _program(words[index:])  # `docker exec BOX vllm serve`
        if inside is not None:
            return replace(inside, environment=(*_container_environment(words[:index]), *inside.environment))
        match = _IMAGE.fullmatch(words[index])
        if match is None or words[index - 1] in _NAMED_OPTIONS:
            continue
        program = tuple(word for at, word in enumerate(words[:index]) if words[at - 1] == "--entrypoint")
        found = _in_image(words[index], (*program, *words[index + 1 :]))
        tag = _TAG_RELEASE.fullmatch(match["tag"] or "")
        given = _container_environment(words[:index])
        return found and replace(found, tag=tag[1] if tag else None, environment=(*given, *found.environment))
    return None


def _in_image(image: str, words: tuple[str, ...]) -> Launch | None:
    found = _direct(words)
    if found is None and ("openai" in image or (words[:1] and words[0].startswith("-"))):
        return Launch(entry=Entry.MODULE, args=words, from_image=True)
    return found


def _container_environment(options: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    after = (word for at, word in enumerate(options) if word.startswith("--env=") or options[at - 1] in {"-e", "--env"})
    return _assignments(tuple(word.removeprefix("--env=") for word in after))


def _program(words: tuple[str, ...]) -> Launch | None:
    base = _base(words[0])
    if base in {"vllm", "vllm.exe"}:
        return _subcommand(words[1:])
    if re.fullmatch(r"python[\d.]*(?:\.exe)?", base):
        return _python(words[1:])
    if base == "torchrun" and "-m" in words:
        return _module(words[words.index("-m") + 1 :])
    return None


def _subcommand(words: tuple[str, ...]) -> Launch | None:
    if words[:1] == ("serve",):
        return Launch(entry=Entry.SERVE, args=words[1:])
    known = ("bench", "chat", "complete", "collect-env", "run-batch", "launch", "preload", "snapshot", "download-kernels")
    import difflib  # noqa: PLC0415 - keeps the cold start quick

    if not words or words[0] in known or not difflib.get_close_matches(words[0], ["serve"], cutoff=0.6):
        return None
    finding = Finding(text=f"vLLM stops with `error: argument subparser: invalid choice: {words[0]!r}`; the nearest is `vllm serve`")
    return Launch(entry=Entry.SERVE, args=words[1:], findings=(finding,))


def _python(words: tuple[str, ...]) -> Launch | None:
    for index, word in enumerate(words):
        if word == "-m":
            return _module(words[index + 1 :])
        if word.startswith("-m") and not word.startswith("--"):
            return _module((word[2:], *words[index + 1 :]))
        if not word.startswith("-"):
            return _script(word, words[index + 1 :])
    return None


def _script(path: str, args: tuple[str, ...]) -> Launch | None:
    """A script given by its path: the module of the same file, or an installed ``vllm``."""
    if _base(path) == "vllm":
        return _subcommand(args)
    at = path.find("vllm/entrypoints/")
    return _module((path[at:].removesuffix(".py").replace("/", "."), *args)) if at >= 0 else None


def _module(words: tuple[str, ...]) -> Launch | None:
    name, args = (words[0], words[1:]) if words else ("", ())
    if name in _CLI_MODULES:
        return _subcommand(args)
    if name in _SERVER_MODULES or name == DEMO_MODULE:
        return Launch(entry=Entry.DEMO if name == DEMO_MODULE else Entry.MODULE, args=args)
    import difflib  # noqa: PLC0415 - keeps the cold start quick

    near = difflib.get_close_matches(name, [SERVER_MODULE, DEMO_MODULE], n=1, cutoff=0.7)
    if not near or not name.startswith(("vllm.", "vlm.", "vllm_")):
        return None
    missing = name if "." not in name else ".".join(name.split(".")[: _agreeing(name, near[0]) + 1])
    text = f"Python stops with `No module named {missing!r}`: the server's module is {near[0]}"
    return Launch(entry=Entry.MODULE if near[0] == SERVER_MODULE else Entry.DEMO, args=args, findings=(Finding(text=text),))


def _agreeing(name: str, right: str) -> int:
    """How many leading parts two dotted names share."""
    pairs = zip(name.split("."), right.split("."), strict=False)
    return next((index for index, (ours, theirs) in enumerate(pairs) if ours != theirs), name.count("."))


def entry_findings(launch: Launch, at: Release) -> tuple[Finding, ...]:
    """What is wrong with the way of starting itself in a release."""
    if launch.entry is Entry.SERVE and at < SERVE_SINCE:
        return (Finding(text=f"`vllm serve` came with {written(SERVE_SINCE)}; in {written(at)} write python -m {SERVER_MODULE} --model"),)
    if launch.entry is Entry.DEMO and at > _DEMO_LAST:
        return (Finding(text=f"{DEMO_MODULE} is gone since {written(_DEMO_LAST)}; use `vllm serve`"),)
    return ()
