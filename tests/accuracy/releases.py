"""Which release a report means: its text where it names one, else the newest release of its day."""

import re
from dataclasses import dataclass

from ullage.domain.case import Version

# First day of each release series of vLLM, by the dates inside its packages and the first reports that name it; months after
# 2025 lie between such dates.
VLLM = (
    ("0.2.0", "2023-09-28"),
    ("0.2.2", "2023-11-18"),
    ("0.2.4", "2023-12-11"),
    ("0.2.7", "2024-01-03"),
    ("0.3.0", "2024-01-30"),
    ("0.3.3", "2024-03-01"),
    ("0.4.0", "2024-03-30"),
    ("0.4.1", "2024-04-24"),
    ("0.4.2", "2024-05-05"),
    ("0.4.3", "2024-06-01"),
    ("0.5.0", "2024-06-11"),
    ("0.5.1", "2024-07-05"),
    ("0.5.3", "2024-07-23"),
    ("0.5.4", "2024-08-05"),
    ("0.5.5", "2024-08-23"),
    ("0.6.0", "2024-09-04"),
    ("0.6.2", "2024-09-25"),
    ("0.6.3", "2024-10-14"),
    ("0.6.4", "2024-11-15"),
    ("0.6.5", "2024-12-17"),
    ("0.6.6", "2024-12-27"),
    ("0.7.0", "2025-01-27"),
    ("0.7.2", "2025-02-06"),
    ("0.7.3", "2025-02-20"),
    ("0.8.0", "2025-03-18"),
    ("0.8.2", "2025-03-25"),
    ("0.8.3", "2025-04-06"),
    ("0.8.4", "2025-04-14"),
    ("0.8.5", "2025-04-28"),
    ("0.9.0", "2025-05-28"),
    ("0.9.1", "2025-06-10"),
    ("0.9.2", "2025-07-07"),
    ("0.10.0", "2025-07-24"),
    ("0.10.1", "2025-08-18"),
    ("0.10.2", "2025-09-13"),
    ("0.11.0", "2025-10-02"),
    ("0.11.2", "2025-11-20"),
    ("0.12.0", "2025-12-03"),
    ("0.13.0", "2025-12-18"),
    ("0.14.0", "2026-01-20"),
    ("0.15.0", "2026-01-29"),
    ("0.16.0", "2026-02-15"),
    ("0.17.0", "2026-03-07"),
    ("0.18.0", "2026-03-20"),
    ("0.19.0", "2026-04-05"),
    ("0.20.0", "2026-04-28"),
    ("0.20.1", "2026-05-03"),
    ("0.20.2", "2026-05-10"),
    ("0.21.0", "2026-05-15"),
    ("0.22.0", "2026-05-30"),
    ("0.23.0", "2026-06-14"),
    ("0.24.0", "2026-06-30"),
    ("0.25.0", "2026-07-12"),
    ("0.26.0", "2026-07-25"),
    ("0.27.0", "2026-08-11"),
    ("0.28.0", "2026-08-26"),
    ("0.29.0", "2026-09-09"),
    ("0.30.0", "2026-09-22"),
    ("0.31.0", "2026-10-08"),
    ("0.32.0", "2026-10-24"),
    ("0.33.0", "2026-11-10"),
)
_NUMBERS = re.compile(r"(?<![\d.])(\d+)\.(\d+)(?:\.(\d+))?(?!-?\d)")
_DAY = re.compile(r"20\d\d-\d\d(?:-\d\d)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """The release taken, and whether the report named it or only its day or its series is known."""

    version: Version
    named: bool


def parse(text: str) -> Version:
    """``0.6.4`` as a version."""
    return Version(tuple(int(part) for part in text.split(".")), text)


def release_of(text: str, date: str, table: tuple[tuple[str, str], ...]) -> Release | None:
    """The release that ``text`` names: numbers as they are, ``0.8.x`` and a bare ``0.19`` as the newest of the series on that day.

    A candidate or nightly (``0.20.1rc1.dev16``) is the release before it. ``0.1.dev`` builds and texts without numbers are the newest
    release on the day they name, or on the day of the report; None where no day is known.
    """
    day = _DAY.search(text)
    on = day[0] if day and not date.startswith(day[0]) else date
    numbers = _NUMBERS.search(text) if "0.1.dev" not in text else None
    if numbers is None:
        found = _newest(table, on)
        return Release(version=found, named=False) if found else None
    if numbers[3] is not None and re.match(r"rc|\.?dev", text[numbers.end() :]):
        earlier = [row for row in table if parse(row[0]) < parse(numbers[0])]
        return Release(version=parse(earlier[-1][0]), named=False)
    if numbers[3] is not None:
        return Release(version=parse(numbers[0]), named=True)
    series = (int(numbers[1]), int(numbers[2]))
    own = [row for row in table if parse(row[0]).parts[:2] == series]
    return Release(version=_newest(tuple(own), on) or parse(f"{numbers[0]}.0"), named=".x" not in text)


def _newest(table: tuple[tuple[str, str], ...], on: str) -> Version | None:
    """The newest release of that day, or of that month when only the month is known; None without a day."""
    if not on:
        return None
    known = [parse(name) for name, since in table if since[: len(on)] <= on]
    return max(known) if known else None


def neighbours(version: Version, table: tuple[tuple[str, str], ...]) -> tuple[Version, ...]:
    """The listed releases just before and just after."""
    known = sorted(parse(name) for name, _ in table)
    before = [other for other in known if other < version]
    after = [other for other in known if other > version]
    return (*before[-1:], *after[:1])
