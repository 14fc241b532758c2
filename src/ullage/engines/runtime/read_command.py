"""Read ``python -m ullage.runtime MODEL --flag VALUE``; the runtime itself reads its own command line by this."""

import difflib
from collections.abc import Mapping

from ullage.domain.case import Settings, Value, Version
from ullage.domain.engine import Request
from ullage.domain.placement import Parallel
from ullage.domain.plan import Finding
from ullage.engines.runtime.settings import SETTINGS, flag_of, validate
from ullage.errors import InputError
from ullage.frozen import dataclass

MODULE = "ullage.runtime"
_LONGEST = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """A command line as read: the model, settings that are typed, and what is wrong with the rest."""

    model: str | None
    settings: Settings
    findings: tuple[Finding, ...]


def read_words(words: tuple[str, ...]) -> Words:
    """The words after the program. Never raises: what is wrong becomes a finding with the nearest right flag."""
    bare: list[str] = []
    settings: dict[str, Value] = {}
    findings: list[Finding] = []
    at = 0
    while at < len(words):
        word = words[at]
        at += 1
        if not word.startswith("-"):
            bare.append(word)
            continue
        flag, joined, value = word.partition("=")
        name = _name(flag, findings)
        if not joined and at < len(words) and not words[at].startswith("--"):
            value, joined = words[at], "="
            at += 1
        if name is not None:
            _take(name, value if joined else None, settings, findings)
    if not bare:
        findings.append(Finding(text="no model is named: give a directory with safetensors files, or a .gguf file"))
    findings.extend(Finding(text=f"{word[:_LONGEST]!r} is one word too many after the model") for word in bare[1:])
    return Words(model=bare[0] if bare else None, settings=Settings.of(settings), findings=tuple(findings))


def _name(flag: str, findings: list[Finding]) -> str | None:
    name = flag.lstrip("-").replace("-", "_")
    if name not in SETTINGS or not flag.startswith("--"):
        near = difflib.get_close_matches(f"--{flag.lstrip('-')[:_LONGEST]}", [flag_of(known) for known in SETTINGS], n=1, cutoff=0.6)
        hint = f"; did you mean {near[0]}?" if near else ""
        findings.append(Finding(text=f"{flag[:_LONGEST]} is no option of the runtime{hint}"))
        return None
    if flag != flag_of(name):
        findings.append(Finding(text=f"{flag} is written {flag_of(name)}", wrong=False))
    return name


def _take(name: str, value: str | None, settings: dict[str, Value], findings: list[Finding]) -> None:
    if value is None:
        findings.append(Finding(text=f"{flag_of(name)} lacks its value: {SETTINGS[name].meaning}"))
        return
    try:
        settings[name] = validate(name, value)
    except InputError as error:
        findings.append(Finding(text=str(error)))


def read_command(argv: tuple[str, ...], environment: Mapping[str, str], version: Version | None) -> Request | None:
    """The request a command makes, or None where it does not start the runtime."""
    rest = _after_program(argv)
    if rest is None:
        return None
    found = read_words(rest)
    visible = environment.get("CUDA_VISIBLE_DEVICES")
    stated = frozenset(name for name, _ in found.settings.items)
    devices = len((found.settings.text("device") or "").split(","))
    return Request(
        engine="runtime",
        model=found.model,
        settings=found.settings,
        parallel=Parallel(pipeline=devices),
        environment=() if visible is None else (("CUDA_VISIBLE_DEVICES", visible),),
        findings=found.findings,
        version=version,
        stated=frozenset({*stated, *(("parallel",) if devices > 1 else ())}),
    )


def _after_program(argv: tuple[str, ...]) -> tuple[str, ...] | None:
    """``python -m ullage.runtime``, with an environment or a launcher before it."""
    for index, word in enumerate(argv[:-1]):
        if word == "-m" and argv[index + 1] == MODULE:
            return argv[index + 2 :]
    return None
