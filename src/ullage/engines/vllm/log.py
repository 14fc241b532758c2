"""Read one line of vLLM's log: what it states about memory, as a fact in bytes."""

import re
from typing import Final

from ullage.catalog.torch_messages import whose
from ullage.domain.facts import Fact
from ullage.engines.vllm.log_patterns import BENIGN, ERRORS, FACTS, WRAPPERS, Pattern
from ullage.units import GiB, KiB, MiB, TiB

Detail = tuple[str, int | float | str]

_LONGEST = 8192  # longer lines are configurations and request dumps
_COLOUR = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")
_CONTAINER = re.compile(r"^[\w.-]+\s*\| ")
_TAG = re.compile(r"^\((?:APIServer|EngineCore|Engine|Worker|VllmWorker|RayWorkerWrapper|Ray\w*|\w+)[^()]*\bpid=\d+[^)]*\)\s*")
_STAMP = re.compile(r"^(?:DEBUG|INFO|WARNING|ERROR|CRITICAL) \d\d-\d\d \d\d:\d\d:\d\d (?:\[[\w./]+:\d+\]|[\w./]+:\d+\])\s*")
# The engine's GB are powers of 1024, except where a driver wrote them.
_UNITS: Final = {"bytes": 1, "KiB": KiB, "KB": KiB, "MiB": MiB, "MB": MiB, "GiB": GiB, "GB": GiB, "TiB": TiB, "TB": TiB}

_SIZE = r"(-?\d{1,15}(?:\.\d{1,9})? ?(?:[KMGT]i?B|bytes))"
_OOM: Final = re.compile(rf"Tried to allocate {_SIZE}")
_OOM_PARTS: Final = tuple(
    (name, re.compile(text))
    for name, text in (
        ("requested_bytes", rf"Tried to allocate {_SIZE}"),
        ("total_bytes", rf"total capac(?:i)?ty of {_SIZE}"),
        ("total_bytes", rf"; {_SIZE} total capacity"),
        ("free_bytes", rf"of which {_SIZE} is free"),
        ("free_bytes", rf"; {_SIZE} free"),
        ("in_use_bytes", rf"this process has {_SIZE} memory in use"),
        ("allocated_bytes", rf"{_SIZE} is allocated by PyTorch"),
        ("allocated_bytes", rf"; {_SIZE} already allocated"),
        ("graph_bytes", rf"with {_SIZE} allocated in private pools"),
        ("unallocated_bytes", rf"and {_SIZE} is reserved by PyTorch but unallocated"),
        ("reserved_bytes", rf"; {_SIZE} reserved in total by PyTorch"),
    )
)
_DEVICE = re.compile(r"GPU (\d+)(?: has|;)")
_STATISTICS = re.compile(r"Avg prompt throughput: ")
_STATISTICS_PARTS: Final = (
    ("requests_running", re.compile(r"Running: (\d+) reqs")),
    ("requests_swapped", re.compile(r"Swapped: (\d+) reqs")),
    ("requests_waiting", re.compile(r"(?:Waiting|Pending): (\d+) reqs")),
    ("requests_deferred", re.compile(r"Deferred: (\d+) reqs")),
    ("preemptions", re.compile(r"Preemptions: (\d+)")),
)
_CACHE_USE = re.compile(r"(?:GPU|CPU|XPU|TPU) KV cache usage: (\d{1,9}(?:\.\d{1,9})?)%")
_GRAPHS = re.compile(r"Profiling CUDA graph memory: ")
_GRAPH_MODE = re.compile(r"(\w+)=(\d+) \(largest=(\d+)\)")

READS: Final = (_OOM, _STATISTICS, _GRAPHS, *(pattern.text for pattern in (*ERRORS, *FACTS, *WRAPPERS, *BENIGN)))


def read_log_line(line: str) -> Fact | None:
    """The fact a line states, or None. Errors come before what wraps them."""
    text = clean(line)
    if not text:
        return None
    return _out_of_memory(text) or _first(ERRORS, text) or _statistics(text) or _graphs(text) or _first((*FACTS, *WRAPPERS, *BENIGN), text)


def clean(line: str) -> str:
    """A line without colours, a container's name, process tags and the stamp of time and place."""
    text = _COLOUR.sub("", line[:_LONGEST]).strip()
    for prefix in (_CONTAINER, _TAG, _STAMP, _TAG):
        text = prefix.sub("", text)
    return text


def _first(patterns: tuple[Pattern, ...], text: str) -> Fact | None:
    for pattern in patterns:
        match = pattern.text.search(text)
        if match is not None:
            return _fact(pattern.name, tuple(_details(match)), text)
    return None


def _fact(name: str, details: tuple[Detail, ...], text: str) -> Fact:
    """The detail of that name is the value; an event's value is its first detail, or the line itself."""
    known = dict(details)
    if name in known:
        return Fact(name=name, value=known[name], unit=_unit(name), details=tuple(item for item in details if item[0] != name))
    if details and name.startswith("error."):
        return Fact(name=name, value=details[0][1], unit=_unit(details[0][0]), details=details)
    return Fact(name=name, value=text[:200], details=details)


def _unit(name: str) -> str:
    for ending, unit in (("_bytes", "bytes"), ("_tokens", "tokens"), ("_seconds", "seconds"), ("max_model_len", "tokens")):
        if name.endswith(ending):
            return unit
    return ""


def _details(match: re.Match[str]) -> list[Detail]:
    found: list[Detail] = []
    for group, text in match.groupdict().items():
        if text is None:
            continue
        name, _, how = group.rpartition("_")
        match how:
            case "gib":
                found.append((f"{name}_bytes", round(float(text) * GiB)))
            case "size":
                found.append((f"{name}_bytes", _bytes(text)))
            case "percent":
                found.append((name, round(float(text) / 100, 6)))
            case "count":
                found.append((name, int(text.replace(",", "")[:18] or "0")))
            case "number":
                found.append((name, float(text)))
            case _:
                found.append((name, text))
    return found


def _bytes(text: str) -> int:
    """A size with its unit; early releases wrote whole bytes without one."""
    number = text.rstrip("BKMGTibytes ")
    unit = text[len(number) :].strip() or ("GiB" if "." in number else "bytes")
    return round(float(number) * _UNITS[unit])


def _out_of_memory(text: str) -> Fact | None:
    """The allocator's own account, in all its wordings; what it reserved is what is allocated plus what is kept unallocated."""
    if _OOM.search(text) is None:
        return None
    found: dict[str, int | float | str] = {}
    for name, part in _OOM_PARTS:
        match = part.search(text)
        if match is not None:
            found.setdefault(name, _bytes(match[1]))
    allocated, spare = found.get("allocated_bytes"), found.get("unallocated_bytes")
    if isinstance(allocated, int) and isinstance(spare, int):
        found.setdefault("reserved_bytes", allocated + spare)
    found |= whose(text, found)
    device = _DEVICE.search(text)
    if device is not None:
        found["device"] = int(device[1][:9])
    return _fact("error.torch_oom", tuple(found.items()), text)


def _statistics(text: str) -> Fact | None:
    """The line of every ten seconds: how full the cache is, and who runs and waits."""
    use = _CACHE_USE.search(text) if _STATISTICS.search(text) else None
    if use is None:
        return None
    details = tuple((name, int(match[1][:18])) for name, part in _STATISTICS_PARTS if (match := part.search(text)))
    return Fact(name="kv_cache_usage", value=round(float(use[1]) / 100, 6), details=details)


def _graphs(text: str) -> Fact | None:
    modes = _GRAPH_MODE.findall(text) if _GRAPHS.search(text) else []
    if not modes:
        return None
    details = tuple(
        (f"{mode.lower()}_{what}", int(count[:9]))
        for mode, number, largest in modes
        for what, count in (("graphs", number), ("largest", largest))
    )
    return Fact(name="graphs", value=sum(int(number[:9]) for _, number, _ in modes), details=details)
