"""The devices of a report that names several kinds of cards, only a size, or nothing; and the host, where it says anything of it."""

import re
from dataclasses import dataclass, replace

from tests.accuracy.machines_of_rows import machine_of
from tests.accuracy.rows import Row

from ullage.catalog import devices as catalogue
from ullage.domain.machine import HOST, Device, Machine
from ullage.units import GiB

_SIZE = re.compile(r"([\d.]+)\s*GB\b", re.IGNORECASE)
_COUNTED = re.compile(r"(?:(\d+)\s*x\s+)?(.+)")
_MAKERS = (("xpu", r"\barc\b|intel|sycl"), ("rocm", r"rocm|\bamd\b|radeon|instinct|strix"), (None, r"ascend|\bnpu\b|\btpu\b"))
_HOST_SIZE = re.compile(r"(\d+) ?GB (?:D?RAM|of RAM)\b", re.IGNORECASE)
_SOCKETS = re.compile(r"(\d+) sockets")
UNNAMED = "a card that the report does not name"
_STAND_IN, _LOW, _HIGH, _UNKNOWN_HOST = 80 * GiB, 0.93, 1.0, 4096 * GiB


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """Devices and a host; ``sized`` and ``host_sized`` say whether the report tells what they hold."""

    machine: Machine
    low_bytes: int  # of one device, where all are alike and it is not reported
    high_bytes: int
    reported: bool
    sized: bool
    host_sized: bool


def fleet_of(row: Row, count: int) -> Fleet | str:
    """``count`` devices as the report means them, or why they are of a kind no engine here runs on."""
    host, sized = _host(row)
    mixed = _mixed(row)
    if mixed:
        return Fleet(machine=Machine(devices=mixed, host=host), low_bytes=0, high_bytes=0, reported=True, sized=True, host_sized=sized)
    found = machine_of(row, count)
    if not isinstance(found, str):
        machine = replace(found.machine, host=host)
        return Fleet(
            machine=machine, low_bytes=found.low_bytes, high_bytes=found.high_bytes, reported=found.reported, sized=True, host_sized=sized
        )
    return _of_words(row, count, host, host_sized=sized)


def _of_words(row: Row, count: int, host: Device, *, host_sized: bool) -> Fleet | str:
    """By a size such as ``24GB GPU``; without one a large card stands in, and whether anything fits cannot be said."""
    words = row.text("gpu")
    kind: str | None = "cuda"
    for maker, pattern in _MAKERS:
        kind = maker if re.search(pattern, f"{words} {row.text('engine')}", re.IGNORECASE) else kind
    if kind is None:
        return f"a device no engine here is known on: {words}"
    sizes = [float(size) for size in _SIZE.findall(words)]
    nominal = round(max(sizes) * GiB) if sizes else _STAND_IN
    total = round(nominal * 0.98) if sizes else nominal
    low, high = (round(min(sizes) * GiB * _LOW), round(nominal * _HIGH)) if sizes else (total, total)
    capability = (8, 6) if kind == "cuda" else None
    one = Device(id="gpu0", kind=kind, name=words if sizes else UNNAMED, total_bytes=total, compute_capability=capability)
    machine = Machine(devices=tuple(replace(one, id=f"gpu{index}") for index in range(count)), host=host)
    return Fleet(machine=machine, low_bytes=low, high_bytes=high, reported=False, sized=bool(sizes), host_sized=host_sized)


def _mixed(row: Row) -> tuple[Device, ...]:
    """``RTX 5090 + 2x RTX 4090``: one device for each; nothing unless every part is a known card."""
    parts = re.sub(r"\(.*?\)", "", row.text("gpu")).split("+")
    if len(parts) == 1:
        return ()
    found: list[Device] = []
    for part in parts:
        match = _COUNTED.fullmatch(part.strip())
        card = catalogue.lookup(match[2]) if match else None
        if match is None or card is None:
            return ()
        found += [card.device(f"gpu{len(found) + at}") for at in range(int(match[1] or 1))]
    return tuple(found)


def _host(row: Row) -> tuple[Device, bool]:
    """The host's memory as said, one socket's part where the process is bound to one; else so large that it never binds."""
    words = f"{row.text('other_flags')} {row.text('notes')}"
    said = _HOST_SIZE.search(words) or re.search(r"(\d+) GB total", words)
    total = int(said[1]) * GiB if said else _UNKNOWN_HOST
    sockets = _SOCKETS.search(words)
    if said and sockets and re.search(r"numactl[^;]* -m ", words):
        total //= int(sockets[1])
    return Device(id=HOST, kind="cpu", name="host memory", total_bytes=total), bool(said)
