"""First days of the releases of engines beside vLLM, by their packages and tags; months where no day is known."""

import re

from tests.accuracy.releases import Release, release_of

from ullage.domain.case import Version

_SGLANG = """
    0.4.0 2024-12-03, 0.4.1 2024-12-25, 0.4.2 2025-01-27, 0.4.3 2025-02-14, 0.4.4 2025-03-13, 0.4.5 2025-04-07, 0.4.6 2025-04-27,
    0.4.7 2025-06-10, 0.4.8 2025-06-24, 0.4.9 2025-07-06, 0.4.10 2025-07-31, 0.5.1 2025-08-23, 0.5.2 2025-09-11, 0.5.3 2025-10-06,
    0.5.4 2025-10-24, 0.5.5 2025-11-06, 0.5.6 2025-12-03, 0.5.7 2026-01-01, 0.5.8 2026-01-23, 0.5.9 2026-02-23, 0.5.10 2026-04-05,
    0.5.11 2026-05-05, 0.5.12 2026-05-16, 0.5.13 2026-06-11, 0.5.14 2026-06-26, 0.5.15 2026-07-10, 0.5.16 2026-07-25, 0.5.17 2026-08-08,
    0.5.18 2026-08-21, 0.5.19 2026-09-04, 0.5.20 2026-09-18, 0.5.21 2026-10-01, 0.5.22 2026-10-16, 0.5.23 2026-10-30
"""
_EXLLAMAV2 = """
    0.0.13 2024-02-02, 0.0.14 2024-02-24, 0.0.15 2024-03-07, 0.0.16 2024-03-20, 0.0.17 2024-03-31, 0.0.18 2024-04-07, 0.0.19 2024-04-19,
    0.0.20 2024-04-27, 0.0.21 2024-05-11, 0.1.0 2024-05-26, 0.1.5 2024-06-09, 0.1.8 2024-07-24, 0.2.0 2024-08-28, 0.2.4 2024-11-12,
    0.2.8 2025-02-08, 0.2.9 2025-04-26, 0.3.0 2025-05-12, 0.3.1 2025-05-28, 0.3.2 2025-07-14
"""
_EXLLAMAV3 = "0.0.1 2025-04-06, 0.0.2 2025-05-17, 0.0.5 2025-07-10, 0.0.8 2025-10-12, 0.0.20 2026-02, 1.0.0 2026-05, 1.4.1 2026-08"
_TRANSFORMERS = """
    4.30.0 2023-06-08, 4.31.0 2023-07-18, 4.33.0 2023-09-06, 4.35.0 2023-11-02, 4.36.0 2023-12-11, 4.38.0 2024-02-21, 4.40.0 2024-04-18,
    4.42.0 2024-06-27, 4.44.0 2024-08-06, 4.45.0 2024-09-25, 4.46.0 2024-10-24, 4.48.0 2025-01-10, 4.51.0 2025-04-05, 4.53.0 2025-06-26,
    4.56.0 2025-08-29, 5.0.0 2026-01-26
"""
# Builds of llama.cpp by the days of reports that name them, and between them in proportion.
_LLAMA_CPP = """
    1500 2023-11-09, 1900 2024-01-18, 2500 2024-03-22, 2900 2024-05-16, 3500 2024-07-31, 3700 2024-09-09, 4000 2024-11-01, 4400 2024-12-30,
    4600 2025-01-31, 4800 2025-03-01, 5000 2025-03-31, 5150 2025-04-17, 5500 2025-05-27, 5800 2025-07-01, 6000 2025-07-27, 6330 2025-08-31,
    6400 2025-09-06, 6720 2025-10-08, 7000 2025-11-09, 7200 2025-11-30, 7420 2025-12-16, 7900 2026-02-01, 8500 2026-03-24, 8763 2026-04-12,
    9300 2026-05-24, 9620 2026-06-16, 9893 2026-07-11, 10550 2026-08-20, 10840 2026-09-10, 11434 2026-10-20
"""


def _table(text: str) -> tuple[tuple[str, str], ...]:
    return tuple((name, day) for name, day in (entry.split() for entry in text.split(",")))


SGLANG, EXLLAMAV2, EXLLAMAV3 = _table(_SGLANG), _table(_EXLLAMAV2), _table(_EXLLAMAV3)
TRANSFORMERS, LLAMA_CPP = _table(_TRANSFORMERS), _table(_LLAMA_CPP)
_BUILD = re.compile(r"\bb(\d{4,5})\b")


def build_of(text: str, date: str) -> Release | None:
    """The build of llama.cpp that a text names, else the newest of its day; None without either.

    Projects that carry llama.cpp with numbers of their own are dated by the report.
    """
    named = _BUILD.search(text)
    if named:
        return Release(version=Version((int(named[1]),), named[1]), named="era" not in text)
    found = release_of(re.sub(r"\d+(?:\.\d+)+", "", text), date, LLAMA_CPP)
    return Release(version=found.version, named=False) if found else None
