"""Every flag of SGLang's server, by name; typed values, and the words of a command line that set them."""

import difflib
import math
import re
from bisect import bisect_left, bisect_right
from functools import cache
from typing import Final

from ullage.domain.case import Value
from ullage.engines.sglang.flags_numbers import NUMBERS
from ullage.engines.sglang.flags_switches import SWITCHES
from ullage.engines.sglang.flags_words import WORDS
from ullage.engines.sglang.versions import Release, version
from ullage.errors import InputError
from ullage.frozen import dataclass

# The releases whose flags were read; between two of them a flag that comes or goes is taken as there.
_READ_TEXTS = (
    "0.4.0 0.4.3 0.4.4 0.4.5 0.4.6 0.4.7 0.4.8 0.4.9 0.5.1 0.5.2 0.5.3 0.5.4 0.5.5 0.5.6 0.5.8 0.5.9 0.5.10 0.5.11 0.5.12 0.5.13 0.5.14 "
    "0.5.15 0.5.16 0.5.17 0.5.19 0.5.20 0.5.23"
)
READ: Final = tuple(version(text).parts for text in _READ_TEXTS.split())

# One setting under the names that releases gave it: ours first.
RENAMED: Final = {"cuda_graph_max_bs_decode": "cuda_graph_max_bs", "disable_decode_cuda_graph": "disable_cuda_graph"}
_SPELT: Final = {"cuda_graph_max_bs": ((0, 5, 20), "cuda-graph-max-bs-decode")}
# What other engines, and people, call the same thing.
FOREIGN: Final = {
    "batch-size": "max-running-requests",
    "block-size": "page-size",
    "cache-dtype": "kv-cache-dtype",
    "context": "context-length",
    "enable-expert-parallel": "ep-size",
    "enforce-eager": "disable-cuda-graph",
    "gpu-memory-utilization": "mem-fraction-static",
    "max-context-length": "context-length",
    "max-length": "context-length",
    "max-model-len": "context-length",
    "max-num-batched-tokens": "chunked-prefill-size",
    "max-num-seqs": "max-running-requests",
    "max-seq-len": "context-length",
    "num-gpus": "tp-size",
    "pipeline-parallel-size": "pp-size",
    "tensor-parallel": "tp-size",
}
_HUMAN = re.compile(r"(\d+(?:\.\d+)?)([kKmMgG])")
_POWERS: Final = {"k": 10**3, "m": 10**6, "g": 10**9, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
_LARGEST = 1 << 62
_SHOWN = 60
_YES, _NO = frozenset({"true", "yes", "1", "on"}), frozenset({"false", "no", "0", "off"})
_POSITIVE = frozenset({"tp_size", "pp_size", "dp_size", "page_size", "max_running_requests", "context_length", "max_total_tokens"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Flag:
    """One flag: its names, the kind of its value, and the first and last release read that have it."""

    names: tuple[str, ...]
    kind: str  # "int", "float", "text", "list", "switch"
    first: Release
    last: Release | None

    @property
    def name(self) -> str:
        """The usual name."""
        return self.names[0]

    @property
    def setting(self) -> str:
        """Our name of what it sets."""
        plain = self.name.replace("-", "_")
        return RENAMED.get(plain, plain)

    def is_in(self, at: Release) -> bool:
        """Whether a release has it, or may have it when it lies between two releases that were read."""
        before = bisect_left(READ, self.first)
        came = READ[before - 1] < at if before else True
        after = bisect_right(READ, self.last) if self.last else len(READ)
        return (came or at >= self.first) and (self.last is None or at <= self.last or after >= len(READ) or at < READ[after])

    @property
    def span(self) -> str:
        """The releases that have it, in words."""
        first = ".".join(map(str, self.first))
        return f"came with {first}" if self.last is None else f"is in {first} to {'.'.join(map(str, self.last))} only"


def _rows() -> tuple[Flag, ...]:
    found: list[Flag] = []
    for kind, first, last, names in (*NUMBERS, *WORDS, *SWITCHES):
        since, until = version(first).parts, version(last).parts if last else None
        found.extend(Flag(names=tuple(name.split("=")), kind=kind, first=since, last=until) for name in names.split())
    return tuple(found)


@cache
def flags() -> tuple[Flag, ...]:
    """All of them."""
    return _rows()


@cache
def by_name() -> dict[str, Flag]:
    """Every name of every flag, in any release."""
    return {name: flag for flag in flags() for name in flag.names}


@cache
def options(at: Release) -> dict[str, Flag]:
    """Every option text a release accepts, written out in full; one letter has one dash."""
    return {f"--{name}" if len(name) > 1 else f"-{name}": flag for flag in flags() if flag.is_in(at) for name in flag.names}


def flag_called(name: str) -> Flag | None:
    """The flag of that name in any release; dashes or underscores, with or without the leading dashes."""
    return by_name().get(name.lstrip("-").replace("_", "-"))


def nearest(name: str, at: Release | None = None) -> tuple[str, ...]:
    """Up to two flag names that resemble ``name``, the likeliest first; only those a release has, when one is given."""
    bare = name.lstrip("-").replace("_", "-").lower()
    known = [other for other, flag in by_name().items() if at is None or flag.is_in(at)]
    meant = [FOREIGN[bare]] if FOREIGN.get(bare) in known else []
    return tuple(dict.fromkeys([*meant, *difflib.get_close_matches(bare, known, n=2, cutoff=0.6)]))[:2]


def shown(text: str) -> str:
    """A word of a command as messages quote it, cut where it is long."""
    return repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}...")


def read_value(flag: Flag, text: str) -> Value:
    """The typed value of ``text``. Raises InputError in the words of the parser."""
    match flag.kind:
        case "int":
            value = _whole(flag, text.strip())
        case "float":
            return _number(flag, text)
        case "switch":
            return _truth(flag, text)
        case _:
            return text
    if flag.setting in _POSITIVE and value < 1:
        raise InputError(f"--{flag.name} is {value}, but must be at least 1")
    return value


def _whole(flag: Flag, text: str) -> int:
    human = _HUMAN.fullmatch(text) if len(text) <= _SHOWN else None
    try:
        value = int(float(human[1]) * _POWERS[human[2]]) if human else int(text)
    except ValueError as error:
        raise InputError(f"argument --{flag.name}: invalid int value: {shown(text)}") from error
    if abs(value) > _LARGEST:
        raise InputError(f"argument --{flag.name}: {shown(text)} is too large")
    return value


def _number(flag: Flag, text: str) -> float:
    try:
        value = float(text)
    except ValueError as error:
        raise InputError(f"argument --{flag.name}: invalid float value: {shown(text)}") from error
    if not math.isfinite(value):
        raise InputError(f"argument --{flag.name}: invalid float value: {shown(text)}")
    if flag.setting == "mem_fraction_static" and not 0 < value < 1:
        raise InputError(f"mem_fraction_static is {value}, but must be more than 0 and less than 1")
    return value


def _truth(flag: Flag, text: str) -> bool:
    word = text.strip().lower()
    if word not in _YES | _NO:
        raise InputError(f"argument --{flag.name}: {shown(text)} is neither true nor false")
    return word in _YES


def write_value(setting: str, value: Value, at: Release) -> tuple[str, ...]:
    """The words of a command line that set it in a release; none where the release has no such flag or it is off."""
    since, other = _SPELT.get(setting, ((), ""))
    flag = flag_called(other if other and at >= since else setting)
    if flag is None or not flag.is_in(at) or value is None or value is False:
        return ()
    option = f"--{flag.name}"
    if flag.kind == "switch":
        return (option,)
    if flag.kind == "list":
        return (option, *str(value).split())
    text = str(value)
    return (f"{option}={text}",) if text.startswith("-") or not text else (option, text)


def validate(name: str, value: Value) -> Value:
    """One ``--set NAME=VALUE``, typed by the table. Raises InputError with the nearest right name."""
    flag = flag_called(name)
    if flag is None:
        near = " or ".join(word.replace("-", "_") for word in nearest(name)) or "a flag that `ullage engines sglang` lists"
        raise InputError(f"SGLang has no setting called {shown(name)}; the nearest is {near}")
    if value is None or (isinstance(value, bool) and flag.kind == "switch"):
        return value
    if isinstance(value, float) and value.is_integer() and flag.kind == "int":
        value = int(value)
    return read_value(flag, str(value))
