"""Read a command somebody wrote into settings. Whatever is wrong with it becomes a finding; nothing is ever raised."""

import difflib
import re
from collections.abc import Mapping

from ullage.domain.case import Settings, Value, Version
from ullage.domain.engine import Request
from ullage.domain.placement import Parallel
from ullage.domain.plan import Finding
from ullage.engines.llama_cpp.flags import STALE, Flag, by_variable, spellings
from ullage.engines.llama_cpp.ollama import read_ollama
from ullage.engines.llama_cpp.settings import SETTINGS, validate
from ullage.errors import InputError

_PROGRAMS = re.compile(
    r"(?:llama-(?:server|cli|run|bench|batched-bench|completion|embedding|box|fit-params|perplexity)|llama|llamafile)(?:\.exe)?"
)
_WORDS_OF_LLAMA = frozenset({"serve", "server", "cli", "run", "completion", "bench"})
_TAG = re.compile(r"\bb(\d{4,6})\b")
_IMAGE = re.compile(r"(?:ghcr\.io/)?ggml-org/llama\.cpp:[\w.-]*(?:server|light|full)[\w.-]*")
_NEGATIVE = re.compile(r"-\d+(?:\.\d+)?")
_FLASH_WORDS = frozenset({"on", "off", "auto", "0", "1", "true", "false", "enabled", "disabled", "-1"})
_LONGEST = 4096


def read_command(argv: tuple[str, ...], environment: Mapping[str, str], version: Version | None) -> Request | None:
    """The request a command makes, or None where it starts nothing of llama.cpp."""
    del version  # flags have kept their meaning over all builds; stale ones are named whatever the build
    given, words = _assignments(argv, environment)
    found = read_ollama(words, given)
    if found is not None:
        return found
    args = _arguments(words)
    if args is None:
        return None
    settings, bare, findings = _read(args)
    _from_environment(given, settings, findings)
    model = _model(settings, bare, findings)
    kept = {name: value for name, value in settings.items() if name not in {"model", "hf_repo", "hf_file"}}
    tag = _TAG.search(" ".join(words[:12]))
    return Request(
        engine="llama_cpp",
        model=model,
        settings=Settings.of(kept),
        parallel=Parallel(),
        environment=tuple((name, value) for name, value in given.items() if name.startswith(("GGML_", "LLAMA_", "CUDA_VISIBLE"))),
        findings=tuple(findings),
        version=Version((int(tag[1]),), tag[1]) if tag else None,
        stated=frozenset(kept),
    )


def _assignments(argv: tuple[str, ...], environment: Mapping[str, str]) -> tuple[dict[str, str], tuple[str, ...]]:
    """Assignments and wrappers before the program."""
    given, words = dict(environment), list(argv)
    while words and (words[0] in {"env", "sudo", "nohup", "exec", "time"} or re.fullmatch(r"[A-Za-z_]\w*=.*", words[0], re.DOTALL)):
        name, sign, value = words.pop(0).partition("=")
        if sign:
            given[name] = value
    return given, tuple(words)


def _arguments(words: tuple[str, ...]) -> tuple[str, ...] | None:
    """The arguments of the program, or None where there is none of ours."""
    if not words:
        return None
    base = words[0].rsplit("/", 1)[-1].rsplit("\\", 1)[-1]
    if _PROGRAMS.fullmatch(base):
        rest = words[1:]
        if base.removesuffix(".exe") == "llama":
            return rest[1:] if rest and rest[0] in _WORDS_OF_LLAMA else None
        return rest
    if base in {"docker", "podman", "nerdctl"}:
        at = next((index for index, word in enumerate(words) if _IMAGE.fullmatch(word)), None)
        if at is None:
            return None
        rest = words[at + 1 :]
        return rest[1:] if rest[:1] in {("--server",), ("--run",)} else rest
    return None


def _read(args: tuple[str, ...]) -> tuple[dict[str, Value], list[str], list[Finding]]:
    settings: dict[str, Value] = {}
    bare: list[str] = []
    findings: list[Finding] = []
    index = 0
    while index < len(args):
        word = args[index][:_LONGEST]
        index += 1
        if not word.startswith("-") or word == "-" or _NEGATIVE.fullmatch(word):
            bare.append(word)
            continue
        index += _one(word, args[index : index + 1], settings, findings)
    return settings, bare, findings


def _one(word: str, following: tuple[str, ...], settings: dict[str, Value], findings: list[Finding]) -> int:
    """Read one flag; how many words after it were its own."""
    name, sign, explicit = word.partition("=")
    tidy = name if name in spellings() else name.replace("_", "-")
    if tidy not in spellings():
        findings.append(_unknown(name))
        takes = bool(following) and not following[0].startswith("-")
        return 1 if takes and not sign else 0
    if sign:
        findings.append(Finding(text=f"llama.cpp reads no {name}=VALUE: write {name} {explicit[:60]}"))
    flag, own = spellings()[tidy]
    value, used = _value(flag, (explicit,) if sign else following, own=own)
    if value is None:
        findings.append(Finding(text=f"{name} needs a value"))
        return 0
    if flag.setting in settings and settings[flag.setting] != value and flag.setting == "override_tensor":
        value = f"{settings[flag.setting]},{value}"
    _store(flag, name, value, settings, findings)
    return 0 if sign else used


def _value(flag: Flag, following: tuple[str, ...], *, own: bool) -> tuple[Value, int]:
    if not own:
        return ("off", 0) if flag.takes == "word" else (False, 0)
    if flag.takes == "switch":
        return True, 0
    if flag.takes == "word":
        said = bool(following) and following[0].lower() in _FLASH_WORDS
        return (following[0], 1) if said else ("on", 0)
    if not following or (following[0].startswith("--") and len(following[0]) > 2):  # noqa: PLR2004 - two dashes and a name
        return None, 0
    return following[0], 1


def _store(flag: Flag, name: str, value: Value, settings: dict[str, Value], findings: list[Finding]) -> None:
    """Keep a value, typed; a wrong one becomes a finding."""
    if flag.setting not in SETTINGS:
        settings[flag.setting] = value
        return
    try:
        settings[flag.setting] = validate(flag.setting, value)
    except InputError as error:
        findings.append(Finding(text=f"{name}: {error}"))


def _unknown(name: str) -> Finding:
    if name in STALE:
        return Finding(text=f"llama.cpp has no {name}; the nearest is {STALE[name]}")
    near = difflib.get_close_matches(name, spellings(), n=2, cutoff=0.6)
    hint = f"; the nearest is {' or '.join(near)}" if near else ""
    return Finding(text=f"llama.cpp stops with `error: invalid argument: {name[:80]}`{hint}", wrong=bool(near))


def _from_environment(given: Mapping[str, str], settings: dict[str, Value], findings: list[Finding]) -> None:
    """Variables count where the flag was not written."""
    for variable, value in given.items():
        flag = by_variable().get(variable)
        if flag is not None and flag.setting not in settings:
            _store(flag, variable, value, settings, findings)


def _model(settings: dict[str, Value], bare: list[str], findings: list[Finding]) -> str | None:
    file, hub = settings.get("model"), settings.get("hf_repo")
    if isinstance(file, str):
        return file
    if isinstance(hub, str):
        return f"hf:{hub}"
    named = next((word for word in bare if word.endswith(".gguf") or "/" in word), None)
    if named is None:
        findings.append(Finding(text="no model is named: write -m FILE.gguf, or -hf ORGANISATION/REPOSITORY:QUANT"))
    return named
