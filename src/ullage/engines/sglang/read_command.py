"""Read a command somebody wrote into settings. Whatever is wrong with it becomes a finding; nothing is ever raised."""

import re
import shlex
from collections.abc import Iterator, Mapping

from ullage.domain.case import Settings, Value, Version
from ullage.domain.engine import Request
from ullage.domain.placement import Parallel
from ullage.domain.plan import Finding
from ullage.engines.sglang.command import MODULE
from ullage.engines.sglang.flags import Flag, flag_called, nearest, options, read_value, shown
from ullage.engines.sglang.versions import NEWEST, Release, rules_for
from ullage.errors import InputError

_ASSIGNMENT = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=(.*)", re.DOTALL)
_PYTHON = re.compile(r"(?:.*/)?python[\d.]*(?:\.exe)?")
_IMAGE = re.compile(r"(?:[\w.-]+/)*sglang(?:/[\w.-]+)*:v?(\d+\.\d+\.\d+)[\w.-]*")
_BREAKS = frozenset({"&&", "||", ";", "|", "&"})
_NEGATIVE = re.compile(r"-\d+(?:\.\d+)?|-\.\d+")
_KEPT = ("SGLANG_", "SGL_", "CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "PYTORCH_")
_MOST = 4


def read_command(argv: tuple[str, ...], environment: Mapping[str, str], version: Version | None) -> Request | None:
    """The request a command makes, or None where it does not start a SGLang server."""
    found = _launch(_words(argv))
    if found is None:
        return None
    before, args, serves = found
    tag = next((match[1] for word in before if (match := _IMAGE.fullmatch(word))), None)
    implied = Version(tuple(int(part) for part in tag.split(".")), tag) if tag else None
    at = (version or implied or NEWEST).parts
    given = {**environment, **{match[1]: match[2] for word in before if (match := _ASSIGNMENT.fullmatch(word))}}
    settings, bare, findings = _read(args, at)
    model = settings.pop("model_path", None)
    if serves and model is None and bare:
        model, bare = bare[0], bare[1:]
    findings += [Finding(text=f"{_who(at)} stops with `error: unrecognized arguments: {word}`") for word in bare]
    if not isinstance(model, str):
        findings.append(Finding(text="no model is named: write --model-path NAME"))
    if serves and not rules_for(at).default_serve:
        findings.append(Finding(text=f"`sglang serve` came with 0.5.6; in {_text(at)} write python -m {MODULE} --model-path"))
    return Request(
        engine="sglang",
        model=model if isinstance(model, str) else None,
        settings=Settings.of(settings),
        parallel=_parallel(settings),
        environment=tuple((name, value) for name, value in given.items() if name.startswith(_KEPT)),
        findings=tuple(findings),
        version=implied,
        stated=frozenset(settings),
    )


def _text(at: Release) -> str:
    return ".".join(str(part) for part in at)


def _who(at: Release) -> str:
    return f"SGLang {_text(at)}"


def _words(argv: tuple[str, ...]) -> tuple[str, ...]:
    """The words, those inside ``bash -c "…"`` as well."""
    found: list[str] = []
    for word in argv:
        inner = " " in word and (MODULE in word or "sglang serve" in word)
        try:
            found.extend(shlex.split(word) if inner else (word,))
        except ValueError:
            found.extend(word.split())
    return tuple(found)


def _launch(words: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...], bool] | None:
    """What stands before the server, its arguments, and whether it is ``sglang serve``."""
    for index, word in enumerate(words):
        module = word == "-m" and words[index + 1 : index + 2] == (MODULE,)
        joined = word == f"-m{MODULE}"
        script = word.endswith("sglang/launch_server.py")
        serves = word.rsplit("/", 1)[-1] == "sglang" and words[index + 1 : index + 2] == ("serve",)
        if not (module or joined or script or serves):
            continue
        if module and not any(_PYTHON.fullmatch(other) or other.startswith(("torchrun", "$")) for other in words[:index]):
            continue
        rest = words[index + (2 if module or serves else 1) :]
        end = next((at for at, other in enumerate(rest) if other in _BREAKS), len(rest))
        return words[:index], tuple(part for part in rest[:end] if part not in {"\\", "\n"}), serves
    return None


def _read(args: tuple[str, ...], at: Release) -> tuple[dict[str, Value], list[str], list[Finding]]:
    """Settings (the last of a repeated flag), bare words, findings."""
    settings: dict[str, Value] = {}
    bare: list[str] = []
    findings: list[Finding] = []
    index = 0
    while index < len(args):
        word = args[index]
        index += 1
        if not _is_option(word):
            bare.append(word)
            continue
        name, joined, value = word.partition("=")
        flag = _flag(name, at, findings)
        following = tuple(_values(args[index:]))
        if flag is None:
            index += 1 if following and not joined else 0
            continue
        used = () if joined or flag.kind == "switch" else following if flag.kind == "list" else following[:1]
        index += len(used)
        index += _set(flag, value if joined else " ".join(used), settings, findings, args[index : index + 1], given=bool(joined or used))
    return settings, bare, findings


def _is_option(word: str) -> bool:
    return word.startswith("-") and len(word) > 1 and not _NEGATIVE.fullmatch(word) and " " not in word


def _values(words: tuple[str, ...]) -> Iterator[str]:
    for word in words:
        if _is_option(word):
            return
        yield word


def _flag(name: str, at: Release, findings: list[Finding]) -> Flag | None:
    """The flag a name means in a release: in full, or as the beginning of one; a finding where it means none or several."""
    known = options(at)
    if name in known:
        return known[name]
    begun = sorted({flag.name for text, flag in known.items() if text.startswith(name)}) if name.startswith("--") else []
    if len(begun) == 1:
        findings.append(Finding(text=f"{name} is read as --{begun[0]}; write it out", wrong=False))
        return flag_called(begun[0])
    if begun:
        names = ", ".join(f"--{text}" for text in begun[:_MOST])
        findings.append(Finding(text=f"{_who(at)} stops with `error: ambiguous option: {name} could match {names}`"))
        return None
    flag = flag_called(name)
    if flag is not None and f"--{flag.name}" in known:
        findings.append(Finding(text=f"{_who(at)} stops with `error: unrecognized arguments: {name}`: write --{flag.name}"))
    elif flag is not None:
        findings.append(Finding(text=f"{_who(at)} stops with `error: unrecognized arguments: {name}`: it {flag.span}"))
    else:
        close = nearest(name, at)
        hint = f"; the nearest right name is --{close[0]}" if close else ""
        findings.append(Finding(text=f"{_who(at)} stops with `error: unrecognized arguments: {shown(name)}`{hint}"))
    return flag


def _set(
    flag: Flag,
    text: str,
    settings: dict[str, Value],
    findings: list[Finding],
    following: tuple[str, ...],
    *,
    given: bool,
) -> int:
    """Set one value; how many words after it were taken for it by mistake."""
    if flag.kind == "switch":
        settings[flag.setting] = True
        if given or (following and following[0].lower() in {"true", "false"}):
            word = text if given else following[0]
            findings.append(
                Finding(text=f"--{flag.name} takes no value: {shown(word)} stops the parser; leave the flag out to switch it off")
            )
            settings[flag.setting] = word.lower() not in {"false", "0", "no"}
            return 0 if given else 1
        return 0
    if not given:
        findings.append(Finding(text=f"error: argument --{flag.name}: expected one argument"))
        return 0
    try:
        settings[flag.setting] = read_value(flag, text)
    except InputError as error:
        findings.append(Finding(text=str(error)))
    return 0


def _degree(settings: Mapping[str, Value], name: str) -> int:
    value = settings.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 1 else 1


def _parallel(settings: Mapping[str, Value]) -> Parallel:
    """Degrees of devices; data-parallel attention takes none of its own."""
    inner = settings.get("enable_dp_attention") is True
    experts = _degree(settings, "ep_size") > 1 or settings.get("enable_ep_moe") is True or settings.get("enable_deepep_moe") is True
    return Parallel(
        tensor=_degree(settings, "tp_size"),
        pipeline=_degree(settings, "pp_size"),
        data=1 if inner else _degree(settings, "dp_size"),
        expert=experts,
    )
