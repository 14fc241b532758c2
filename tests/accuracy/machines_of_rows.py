"""The devices a report means: the card by its name, its memory as reported where the report says it."""

import re
from dataclasses import dataclass, replace

from tests.accuracy.rows import Row

from ullage.catalog import devices as catalogue
from ullage.domain.machine import Device, Machine
from ullage.units import GiB

_CLASS = re.compile(r"^(?:[\dx]+\s*x\s*)?([\d.]+)\s*GB\s+(?:NVIDIA\s+)?GPU", re.IGNORECASE)
MOST_PLAUSIBLE_RANKS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The machine, the spread of one device's memory where it is not reported, and whether the report named a card."""

    machine: Machine
    low_bytes: int
    high_bytes: int
    reported: bool


def machine_of(row: Row, ranks: int) -> Found | str:
    """``ranks`` devices alike, or why the machine is unknown."""
    reported = row.number("gpu_mem_gib_reported")
    card = _card(row.text("gpu"), reported)
    if card is None and reported is None:
        word = row.text("gpu")
        return f"device unknown: {word}" if word else "device not stated"
    if ranks > MOST_PLAUSIBLE_RANKS:
        return "more ranks than a machine has"
    one = card.device("gpu0") if card else Device(id="gpu0", kind="cuda", name=row.text("gpu") or "GPU", total_bytes=0)
    total = round(reported * GiB) if reported is not None else one.total_bytes
    devices = tuple(replace(one, id=f"gpu{index}", total_bytes=total) for index in range(ranks))
    low, high = (total, total) if reported is not None or card is None else (card.low_bytes, card.high_bytes)
    return Found(machine=Machine(devices=devices), low_bytes=low, high_bytes=high, reported=reported is not None)


def _card(text: str, reported: float | None) -> catalogue.DeviceModel | None:
    """The catalogue's card for a report's words, tried from the whole text to its first words; cards of another size are others."""
    plain = re.sub(r"[?]|\(.*?\)|\b(?:laptop)\b(?!\s*24)", " ", text)
    words = plain.replace("/", " / ").replace("-", " ").split()  # a slice of a card is named "A40-48Q"
    for count in range(len(words), 0, -1):
        found = catalogue.lookup(" ".join(words[:count]))
        if found is not None and (reported is None or abs(found.nominal_gb - reported) <= 0.15 * found.nominal_gb):
            return found
    return None
