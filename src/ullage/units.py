"""Sizes and counts, read from and written for people.

Inside the program a size is a whole number of bytes and a length a whole number of tokens. GiB, GB, k and M exist only here.
"""

import re
from typing import TYPE_CHECKING

from ullage.errors import InputError

if TYPE_CHECKING:
    from decimal import Decimal

KiB = 1 << 10
MiB = 1 << 20
GiB = 1 << 30
TiB = 1 << 40
KB = 10**3
MB = 10**6
GB = 10**9
TB = 10**12

_SIZES = {
    "": 1,
    "b": 1,
    "kib": KiB,
    "mib": MiB,
    "gib": GiB,
    "tib": TiB,
    "kb": KB,
    "mb": MB,
    "gb": GB,
    "tb": TB,
}
# vLLM's own reading of a length (`human_readable_int`): a small letter is decimal, a capital is binary. 32k = 32,000, 32K = 32,768.
_COUNTS = {
    "": 1,
    "k": 10**3,
    "m": 10**6,
    "g": 10**9,
    "K": 1 << 10,
    "M": 1 << 20,
    "G": 1 << 30,
}
_NUMBER = re.compile(r"\s*([0-9][0-9_,]*(?:\.[0-9]+)?|\.[0-9]+)\s*([A-Za-z]*)\s*")
_LONGEST = 40


def _split(text: str, wanted: str) -> tuple["Decimal", str]:
    from decimal import Decimal, InvalidOperation  # noqa: PLC0415 - keeps the cold start quick

    match = _NUMBER.fullmatch(text) if len(text) <= _LONGEST else None
    if match is None:
        raise InputError(f"{text[:_LONGEST]!r} is not {wanted}")
    try:
        return Decimal(match[1].replace("_", "").replace(",", "")), match[2]
    except InvalidOperation as error:  # pragma: no cover - the pattern admits numbers only
        raise InputError(f"{text!r} is not {wanted}") from error


def parse_bytes(text: str) -> int:
    """Read a size such as ``24GiB``, ``80 GB`` or ``1024``; GiB is 2**30 and GB is 10**9. Raises InputError."""
    number, unit = _split(text, "a size: write 24GiB, 80GB or a number of bytes")
    if unit.lower() not in _SIZES:
        raise InputError(f"{text!r} has the unit {unit!r}: use B, KiB, MiB, GiB, TiB (powers of 1024) or kB, MB, GB, TB (powers of 1000)")
    return int(number * _SIZES[unit.lower()])


def parse_count(text: str) -> int:
    """Read a number of tokens such as ``960000``, ``32k`` (32,000), ``32K`` (32,768) or ``1m``. Raises InputError."""
    number, unit = _split(text, "a number of tokens: write 32768, 32k, 32K or 1m")
    if unit not in _COUNTS:
        raise InputError(f"{text!r} has the unit {unit!r}: use k, m (powers of 1000) or K, M (powers of 1024)")
    value = number * _COUNTS[unit]
    if value != int(value):
        raise InputError(f"{text!r} is not a whole number of tokens")
    return int(value)


def format_bytes(size_bytes: int) -> str:
    """Write a size for people in binary units: ``3.44 GiB``, ``512.0 KiB``, ``17 B``."""
    sign = "-" if size_bytes < 0 else ""
    size = abs(size_bytes)
    if size >= GiB:
        return f"{sign}{size / GiB:,.2f} GiB"
    if size >= MiB:
        return f"{sign}{size / MiB:.1f} MiB"
    if size >= KiB:
        return f"{sign}{size / KiB:.1f} KiB"
    return f"{sign}{size} B"


def format_gib(size_bytes: int) -> str:
    """Write a size as a bare number of GiB with two digits, for a column that is named GiB."""
    return f"{size_bytes / GiB:,.2f}"


def format_count(count: int) -> str:
    """Write a count with thousands separators."""
    return f"{count:,}"


def counted(count: int, noun: str) -> str:
    """Write a number of things, one of them in the singular: ``1 line``, ``2,000 lines``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
