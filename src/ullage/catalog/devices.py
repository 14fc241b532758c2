"""Graphics cards and accelerators: what is printed on the box, and what the driver and the compute library report.

An engine sizes itself by what the compute library reports (``cudaMemGetInfo`` and its kin), which is less than the label: firmware,
page tables and error correction take their part. ``low`` and ``high`` are the spread seen for one card over drivers and boards;
``high`` is usually what the management tool (nvidia-smi and its kin) prints for the same card.
"""

import re
from functools import cache
from typing import NamedTuple

from ullage.catalog._device_rows import ROWS, Row
from ullage.domain.machine import Device
from ullage.domain.provenance import Assumed, Cited, Measured, Source
from ullage.errors import InputError
from ullage.units import GiB


class DeviceModel(NamedTuple):
    """One card. ``reported_bytes`` is the expected total of the compute library, between ``low_bytes`` and ``high_bytes``."""

    name: str
    words: tuple[str, ...]  # other names, in small letters without separators
    kind: str
    nominal_gb: int
    low_bytes: int
    reported_bytes: int
    high_bytes: int
    compute_capability: tuple[int, int] | None
    source: Source

    def device(self, device_id: str) -> Device:
        """A device of this model."""
        return Device(
            id=device_id,
            kind=self.kind,
            name=self.name,
            total_bytes=self.reported_bytes,
            compute_capability=self.compute_capability,
        )


_VENDOR_WORDS = ("nvidia", "geforce", "tesla", "quadro", "amd", "radeon", "instinct", "intel", "apple", "graphics", "gpu", "(tm)", "(r)")


def _plain(word: str) -> str:
    text = word.lower()
    for vendor in _VENDOR_WORDS:
        text = text.replace(vendor, "")
    return "".join(letter for letter in text if letter.isalnum())


def _source(text: str) -> Source:
    kind, _, rest = text.partition(":")
    match kind:
        case "log":
            return Measured(record=f"field log rows {rest}")
        case "tool":
            return Cited(at=f"management tool: {rest}")
        case _:
            return Assumed(why="the label less what cards of the same maker hold back")


def _model(row: Row) -> DeviceModel:
    name, words, kind, nominal, low, reported, high, capability, source = row
    return DeviceModel(
        name=name,
        words=(_plain(name), *words.split()),
        kind=kind,
        nominal_gb=nominal,
        low_bytes=round(low * GiB),
        reported_bytes=round(reported * GiB),
        high_bytes=round(high * GiB),
        compute_capability=(int(capability[:-1]), int(capability[-1])) if capability else None,
        source=_source(source),
    )


def devices() -> tuple[DeviceModel, ...]:
    """Every known card."""
    return tuple(_model(row) for row in ROWS)


@cache
def _rows_by_name() -> dict[str, Row]:
    return {name: row for row in ROWS for name in (_plain(row[0]), *row[1].split())}


def lookup(word: str) -> DeviceModel | None:
    """The card of that name or short name, however it is spelt and with or without its size; None when it is not known."""
    rows = _rows_by_name()
    for wanted in (_plain(word), _plain(word).removeprefix("rtx")):
        if wanted in rows:
            return _model(rows[wanted])
        for suffix in {f"{row[3]}{unit}" for row in ROWS for unit in ("gb", "g")}:
            row = rows.get(wanted.removesuffix(suffix)) if wanted.endswith(suffix) else None
            if row is not None and suffix.startswith(str(row[3])):
                return _model(row)
    return None


def find(word: str) -> DeviceModel:
    """The card of that name. Raises InputError with the nearest names."""
    found = lookup(word)
    if found is None:
        import difflib  # noqa: PLC0415 - only an error needs it

        rows = _rows_by_name()
        close = [rows[name][0] for name in difflib.get_close_matches(_plain(word), rows, n=6, cutoff=0.5)]
        nearest = ", ".join(dict.fromkeys(close)) or "none"
        raise InputError(
            f"{word!r} is no known device; the nearest known are: {nearest}. "
            "`ullage devices` lists all; a size such as --gpu 24GiB describes any other"
        )
    return found


CARD = (
    r"(?:NVIDIA|AMD|Intel\(R\)|Tesla|GeForce|Instinct|Radeon)[\w() .-]{0,40}?(?:"
    r"RTX ?\w+ ?\d{4}(?: ?(?:Ti|SUPER|D|Laptop))*|[AHBL]\d{1,3}S?\b"
    r"(?:[ -]\w+)?(?:[ -]\d{2,3}GB)?|GH200|GB\d00|MI\d{3}X?|T4|V100[\w-]*|Arc\(TM\) [AB]\d{3})"
)


def card_in(text: str) -> str:
    """The name of a card that stands in a text, as its maker writes it; else nothing."""
    found = re.search(CARD, text)  # compiled when first asked, as a plan never asks
    return found[0] if found is not None else ""
