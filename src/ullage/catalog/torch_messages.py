"""PyTorch's own words when an allocation fails, the same under every engine that runs on it."""

import re
from collections.abc import Mapping
from typing import Final

from ullage.domain.facts import Fact
from ullage.units import GiB, KiB, MiB, TiB

LONGEST = 8192  # longer lines are dumps
_UNITS: Final = {"bytes": 1, "B": 1, "KiB": KiB, "MiB": MiB, "GiB": GiB, "TiB": TiB, "KB": KiB, "MB": MiB, "GB": GiB}
_SIZE = r"(\d{1,15}(?:\.\d{1,9})?) ?([KMGT]i?B|bytes|B)\b"
_FAILED = re.compile(r"out of memory[^\n]*?Tried to allocate", re.IGNORECASE)
_HOST_FAILED = re.compile(r"Allocator: (?:can't|not enough)[^\n]*?tried to allocate (\d{1,18}) bytes", re.IGNORECASE)
FOUND: Final = (_FAILED, _HOST_FAILED)  # one in every line that `out_of_memory` reads
# What each sentence of the message says; the wording changed with PyTorch 1.10, 2.0 and 2.2.
_PARTS: Final = (
    ("requested_bytes", re.compile(rf"Tried to allocate {_SIZE}")),
    ("total_bytes", re.compile(rf"total capac(?:i)?ty of {_SIZE}|; {_SIZE} total capacity|max allowed: {_SIZE}")),
    ("free_bytes", re.compile(rf"of which {_SIZE} is free|; {_SIZE} free")),
    ("in_use_bytes", re.compile(rf"this process has {_SIZE} memory in use")),
    ("allocated_bytes", re.compile(rf"{_SIZE} is allocated by PyTorch|; {_SIZE} already allocated|MPS allocated: {_SIZE}")),
    ("graph_bytes", re.compile(rf"with {_SIZE} allocated in private pools")),
    ("unallocated_bytes", re.compile(rf"and {_SIZE} is reserved by PyTorch but unallocated")),
    ("reserved_bytes", re.compile(rf"; {_SIZE} reserved in total by PyTorch")),
)
# A name that is lacking is no event, whatever it is the name of.
_LACKING = re.compile(r"(has no attribute|cannot import name|\bname) (['\"`])\w{1,80}\2")
_PROCESS = re.compile(rf"Process \d{{1,19}} has {_SIZE} memory in use")
_DEVICE = re.compile(r"GPU (\d{1,9})(?: has|;)")


def without_names(text: str) -> str:
    """The text without the names that it says are lacking: an exception that a module does not have was not raised."""
    return _LACKING.sub(r"\1 \2it\2", text)


def out_of_memory(line: str) -> Fact | None:
    """The failed allocation as ``error.torch_oom`` with every figure the message states, or None."""
    text = line[:LONGEST]
    host = _HOST_FAILED.search(text)
    if host is not None:
        return Fact(name="error.host_oom", value=int(host[1]), unit="bytes", details=(("requested_bytes", int(host[1])),))
    if _FAILED.search(text) is None:
        return None
    found: dict[str, int | float | str] = {}
    for name, pattern in _PARTS:
        match = pattern.search(text)
        if match is not None:
            number, unit = (group for group in match.groups() if group is not None)
            found[name] = int(float(number) * _UNITS[unit])
    allocated, spare = found.get("allocated_bytes"), found.get("unallocated_bytes")
    if isinstance(allocated, int) and isinstance(spare, int):
        found.setdefault("reserved_bytes", allocated + spare)
    found |= whose(text, found)
    if "PYTORCH_MPS_HIGH_WATERMARK_RATIO" in text:
        found["watermark"] = 1
    device = _DEVICE.search(text)
    if device is not None:
        found["device"] = int(device[1])
    return Fact(name="error.torch_oom", value=found.get("requested_bytes", 0), unit="bytes", details=tuple(found.items()))


def whose(text: str, found: Mapping[str, int | float | str]) -> dict[str, int]:
    """What the processes that the message lists hold, as ``others_bytes``, and as ``in_use_bytes`` what the one of them holds that failed.

    In a container PyTorch does not know itself by the driver's process numbers and lists itself as another. So it is, where the device
    has no room for what PyTorch reserved beside all that is listed.
    """
    listed = [int(float(number) * _UNITS[unit]) for number, unit in _PROCESS.findall(text[:LONGEST])]
    own, total, free = (found.get(name) for name in ("reserved_bytes", "total_bytes", "free_bytes"))
    own = own if own is not None else found.get("allocated_bytes")
    if "in_use_bytes" not in found and isinstance(own, int) and isinstance(total, int) and isinstance(free, int):
        large = [size for size in listed if size >= own]
        if large and sum(listed) + free + own > total:
            listed.remove(min(large))
            return {"in_use_bytes": min(large)} | ({"others_bytes": sum(listed)} if listed else {})
    return {"others_bytes": sum(listed)} if listed else {}
