"""Read one line of llama.cpp's log: what it states about memory, as a fact in bytes. A line in JSON is read by its message."""

import re
from typing import Final

from ullage.domain.facts import Fact
from ullage.engines.llama_cpp.log_patterns import ERRORS, FACTS
from ullage.units import GiB, MiB

Detail = tuple[str, int | float | str]
_LONGEST = 8192
_COLOUR = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")
_MEMORY_NEEDLES = re.compile(
    r"out of memory|out of device memory|failed to allocate|allocation failed|not enough memory|insufficient memory", re.IGNORECASE
)
_ROWS = re.compile(r'"type" ?: ?"fit_memory_breakdown"')

READS: Final = (*(pattern.text for pattern in (*FACTS, *ERRORS)), _ROWS, _MEMORY_NEEDLES)


def read_log_line(line: str) -> Fact | None:
    """The fact a line states, or None. What the engine recovers from is no error."""
    text = _COLOUR.sub("", line[:_LONGEST]).rstrip()
    if not text:
        return None
    for pattern in (FACTS[0], *ERRORS, *FACTS[1:]):
        match = pattern.text.search(text)
        if match is not None:
            return _fact(pattern.name, tuple(_details(match)), text)
    if _ROWS.search(text):
        return Fact(name="fit_breakdown", value=text[:2000])
    return Fact(name="error.memory", value=text[:200]) if _MEMORY_NEEDLES.search(text) else None


def _details(match: re.Match[str]) -> list[Detail]:
    found: list[Detail] = []
    for group, text in match.groupdict().items():
        if text is None:
            continue
        name, _, how = group.rpartition("_")
        match how:
            case "mib":
                found.append((f"{name}_bytes", round(float(text) * MiB)))
            case "gib":
                found.append((f"{name}_bytes", round(_number(text) * GiB)))
            case "count":
                found.append((name, int(text)))
            case _:
                found.append((name, text.strip()))
    return found


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


def _fact(name: str, details: tuple[Detail, ...], text: str) -> Fact:
    """The detail of that name is the value; an error's value is what was asked for, or the line itself."""
    known = dict(details)
    if name in known:
        return Fact(name=name, value=known[name], unit=_unit(name), details=tuple(item for item in details if item[0] != name))
    if "requested_bytes" in known:
        return Fact(name=name, value=known["requested_bytes"], unit="bytes", details=details)
    return Fact(name=name, value=text[:200], details=details)


def _unit(name: str) -> str:
    return "bytes" if name.endswith("_bytes") else "tokens" if name.endswith("_tokens") else ""
