"""Read ``transformers serve`` and ``transformers chat`` lines that somebody wrote; what is wrong with them becomes a finding."""

import difflib
from collections.abc import Mapping
from typing import Final

from ullage.domain.case import Settings, Value, Version
from ullage.domain.engine import Request
from ullage.domain.placement import Parallel
from ullage.domain.plan import Finding
from ullage.engines.transformers.settings import ALIASES, SETTINGS, validate
from ullage.errors import InputError

FORCED: Final = "--force-model"
# The flags of both verbs, and the setting each is; empty where it takes no part in memory.
_VALUED: Final = {
    "--attn-implementation": "attn_implementation",
    "--device": "device_map",
    "--dtype": "dtype",
    "--quantization": "",
    FORCED: "",
    "--cb-block-size": "page_size",
    "--cb-num-blocks": "num_blocks",
    "--cb-max-batch-tokens": "max_batch_tokens",
    "--cb-max-memory-percent": "max_memory_percent",
    **dict.fromkeys(
        (
            "--reasoning",
            "--chat-template-kwargs",
            "--decision-config",
            "--model-timeout",
            "--host",
            "--port",
            "--log-level",
            "--default-seed",
            "--generation-config",
            "--user",
            "--system-prompt",
            "--save-folder",
            "--examples-path",
        ),
        "",
    ),
}
_FLAGS: Final = {
    "--continuous-batching": "continuous_batching",
    **dict.fromkeys(("--compile", "--trust-remote-code", "--cb-use-cuda-graph", "--enable-cors", "--non-blocking", "--verbose"), ""),
}
_PROGRAMS = ("transformers", "transformers-cli")
_QUANTISED = {"bnb-4bit": "bitsandbytes 4-bit", "bnb-8bit": "bitsandbytes 8-bit"}


def read_command(argv: tuple[str, ...], environment: Mapping[str, str], version: Version | None) -> Request | None:
    """The request a command makes, or None where it is not one of these verbs."""
    words = _after_program(argv)
    if words is None:
        return None
    verb, rest = words[0], words[1:]
    bare, values, findings = _options(rest)
    model = bare[0] if bare else None
    if verb == "chat":
        for word in bare[1:]:
            _generate_flag(word, values, findings)
    if model is None:
        findings.append(Finding(text="no model is named: the server then loads whatever a request asks for", wrong=verb == "chat"))
    settings, more = _validated(values)
    visible = environment.get("CUDA_VISIBLE_DEVICES")
    return Request(
        engine="transformers",
        model=model,
        settings=Settings.of(settings),
        parallel=Parallel(pipeline=max(1, len(visible.split(",")))) if visible else Parallel(),
        environment=tuple(sorted((name, value) for name, value in environment.items() if name == "CUDA_VISIBLE_DEVICES")),
        findings=(*findings, *more),
        version=version,
        stated=frozenset({*settings, *(("parallel",) if visible else ())}),
    )


def _after_program(argv: tuple[str, ...]) -> tuple[str, ...] | None:
    for index, word in enumerate(argv[:-1]):
        if word.rsplit("/", 1)[-1] in _PROGRAMS:
            return argv[index + 1 :] if argv[index + 1] in {"serve", "chat"} else None
        if "=" not in word and word not in {"env", "uv", "uvx", "run"}:
            return None
    return None


def _options(rest: tuple[str, ...]) -> tuple[list[str], dict[str, Value], list[Finding]]:
    """Bare words, settings as text, and findings about flags."""
    bare: list[str] = []
    values: dict[str, Value] = {}
    findings: list[Finding] = []
    at = 0
    while at < len(rest):
        word = rest[at]
        at += 1
        if not word.startswith("--"):
            bare.append(word)
            continue
        flag, joined, value = word.partition("=")
        name = _flag_name(flag, findings)
        if name in _VALUED:
            if not joined:
                value = rest[at] if at < len(rest) else ""
                at += 1
            if name == FORCED and value:
                bare.append(value)
            _take(name, value, values, findings)
        elif name is not None:
            setting = _FLAGS[name.replace("--no-", "--", 1) if name not in _FLAGS else name]
            if setting:
                values[setting] = name in _FLAGS
    return bare, values, findings


def _flag_name(flag: str, findings: list[Finding]) -> str | None:
    """The flag as the program spells it, or None with a finding that names the nearest."""
    plain = flag.replace("_", "-")
    known = (*_VALUED, *_FLAGS, *(f"--no-{name[2:]}" for name in _FLAGS))
    if plain in known:
        if plain != flag:
            findings.append(Finding(text=f"{flag} is written {plain}", wrong=False))
        return plain
    near = difflib.get_close_matches(plain, known, n=1, cutoff=0.6)
    findings.append(Finding(text=f"{flag} is no option of this command" + (f"; did you mean {near[0]}?" if near else "")))
    return None


def _take(name: str, value: str, values: dict[str, Value], findings: list[Finding]) -> None:
    if not value:
        findings.append(Finding(text=f"{name} lacks its value"))
    elif name == "--quantization":
        if value not in _QUANTISED:
            findings.append(Finding(text=f"--quantization {value}: only {' and '.join(_QUANTISED)} are known to the server"))
        else:
            findings.append(Finding(text=f"--quantization {value}: plan it as the model's scheme, {_QUANTISED[value]}", wrong=False))
    elif _VALUED[name]:
        values[_VALUED[name]] = value


def _generate_flag(word: str, values: dict[str, Value], findings: list[Finding]) -> None:
    """``max_new_tokens=100`` after the model of ``transformers chat``; an address is not a flag."""
    name, joined, value = word.partition("=")
    if "://" in word or not joined:
        return
    if name in SETTINGS or name in ALIASES:
        values[name] = value
    else:
        findings.append(Finding(text=f"{name} is left to generate; it takes no part in memory", wrong=False))


def _validated(values: dict[str, Value]) -> tuple[dict[str, Value], list[Finding]]:
    settings: dict[str, Value] = {}
    findings: list[Finding] = []
    for name, value in values.items():
        try:
            settings[ALIASES.get(name, name)] = validate(name, value)
        except InputError as error:
            findings.append(Finding(text=str(error)))
    return settings, findings
