"""Read a command somebody wrote into settings. Whatever is wrong with it becomes a finding; nothing is ever raised."""

import shlex
from collections.abc import Mapping

from ullage.domain.case import Settings, Value, Version
from ullage.domain.engine import Request
from ullage.domain.placement import Parallel
from ullage.domain.plan import Finding
from ullage.engines.ipex_llm.flags import KEPT, PLACED, SHORT, SWITCHES, meant, nearest, option
from ullage.engines.ipex_llm.launch import SERVER, Launch, find_launch
from ullage.engines.ipex_llm.settings import API, validate
from ullage.errors import InputError

_PREFIXES = ("VLLM_", "IPEX_LLM_", "BIGDL_", "KV_CACHE_ALLOC", "ZE_AFFINITY_MASK", "CCL_", "SYCL_", "ONEAPI_DEVICE_SELECTOR")
LAST_BIGDL = Version((2, 5, 0), "2.5.0")


def read_command(argv: tuple[str, ...], environment: Mapping[str, str], version: Version | None) -> Request | None:
    """The request a command makes, or None where it does not start IPEX-LLM."""
    launch = find_launch(_split(argv))
    if launch is None:
        return None
    scan = _Scan(launch.args)
    scan.run()
    findings = (*_entry_findings(launch), *scan.findings, *(() if scan.model else (Finding(text="no model is named: write --model NAME"),)))
    settings = {"mode": launch.mode, **scan.settings}
    if launch.mode == API:
        settings.pop("enforce_eager", None)
        if scan.context is not None:
            settings["max_model_len"] = scan.context
    return Request(
        engine="ipex_llm",
        model=scan.model,
        settings=Settings.of(settings),
        parallel=Parallel(tensor=scan.degrees.get("tensor", 1), pipeline=scan.degrees.get("pipeline", 1)),
        environment=tuple((name, value) for name, value in environment.items() if name.startswith(_PREFIXES)),
        findings=findings,
        version=LAST_BIGDL if launch.bigdl and version is None else None,
        stated=frozenset(settings) - {"mode"},
    )


def _split(argv: tuple[str, ...]) -> tuple[str, ...]:
    """The words; a whole command given as one word (``bash -c "..."``) is cut like a shell does, and line continuations are dropped."""
    words: list[str] = []
    for word in argv:
        parts = [word]
        if " -m " in word or ".py " in word:
            try:
                parts = shlex.split(word)
            except ValueError:
                parts = word.split()
        words.extend(parts)
    return tuple(word for word in words if word.strip() not in {"\\", ""})


def _entry_findings(launch: Launch) -> tuple[Finding, ...]:
    if launch.wrong_module is None:
        return ()
    return (Finding(text=f"there is no module {launch.wrong_module}; write python -m {SERVER.format(device='xpu')}"),)


class _Scan:
    """One pass over the words after the program, left to right."""

    def __init__(self, words: tuple[str, ...]) -> None:
        self._words = words
        self._at = 0
        self.settings: dict[str, Value] = {}
        self.degrees: dict[str, int] = {}
        self.findings: list[Finding] = []
        self.model: str | None = None
        self.context: int | None = None

    def run(self) -> None:
        """Read every word."""
        while self._at < len(self._words):
            word = self._words[self._at]
            self._at += 1
            if word in SHORT or word.startswith("--"):
                self._option(word)
            else:
                self._wrong(f"the engine stops with `error: unrecognized arguments: {word[:60]}`")

    def _wrong(self, text: str) -> None:
        self.findings.append(Finding(text=text))

    def _option(self, word: str) -> None:
        written, equals, explicit = word.partition("=")
        name = SHORT.get(written) or written[2:].replace("-", "_")
        found = meant(name)
        if len(found) != 1:
            self._unknown(written, name, found)
            if not equals:
                self._value_if_any()
            return
        if found[0] != name:
            text = f"{written} is read as {option(found[0])}, because no other option begins like it; write {option(found[0])}"
            self.findings.append(Finding(text=text, wrong=False))
        if found[0] in SWITCHES:
            self.settings.update({found[0]: True} if found[0] in KEPT else {})
            if equals:
                self._wrong(f"{written} takes no value: the engine stops at {explicit[:40]!r}; leave it out to switch it off")
            return
        value = explicit if equals else self._value_if_any()
        if value is None:
            self._wrong(f"the engine stops with `error: argument {written}: expected one argument`")
        else:
            self._keep(found[0], written, value)

    def _value_if_any(self) -> str | None:
        """The next word where it is a value."""
        if self._at >= len(self._words) or self._words[self._at].startswith("--"):
            return None
        self._at += 1
        return self._words[self._at - 1]

    def _unknown(self, written: str, name: str, found: tuple[str, ...]) -> None:
        if found:
            self._wrong(f"{written} could be any of {', '.join(option(known) for known in found[:4])}: the engine stops")
            return
        near = nearest(name)
        hint = f"; the nearest right name is {option(near)}" if near else ""
        self._wrong(f"the engine stops with `error: unrecognized arguments: {written[:60]}`{hint}")

    def _keep(self, name: str, written: str, value: str) -> None:
        if name == "model":
            self.model = value
        elif name in PLACED:
            self._degree(name, written, value)
        elif name == "quantization":
            self._wrong(f"{written} {value[:40]} is for checkpoints that are quantised already; IPEX-LLM packs with --load-in-low-bit")
        elif name == "device" and value not in {"xpu", "cpu"}:
            self._wrong(f"--device {value[:40]}: IPEX-LLM serves on xpu and cpu")
        elif name == "context" and value.isdecimal() and int(value[:9]):
            self.context = int(value[:9])
        elif name in KEPT:
            try:
                self.settings[name] = validate(name, value)
            except InputError as error:
                self._wrong(str(error))

    def _degree(self, name: str, written: str, value: str) -> None:
        if value.isdecimal() and 0 < int(value[:9]) < 1 << 12:
            self.degrees[PLACED[name]] = int(value[:9])
        else:
            self._wrong(f"{written} {value[:40]} should be a whole number of cards")
