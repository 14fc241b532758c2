"""Every engine beside vLLM against what people measured. The bounds are the levels reached; docs/accuracy.md says why one is missed."""

import pytest
from tests.accuracy.judged_rows import FAMILIES, Rows, field_rows, official_rows
from tests.accuracy.llama_cpp_rows import scheme_word
from tests.accuracy.release_days import LLAMA_CPP, build_of
from tests.accuracy.releases import parse
from tests.accuracy.rows import FIELD_LOGS, OFFICIAL_TABLES, read_rows
from tests.accuracy.scores import Comparison, Judged, summarise, verdicts

ENGINES = tuple(dict.fromkeys(family.title for family in FAMILIES if family.title not in {"vLLM", "not known"}))


def judged(rows: Rows) -> tuple[Judged, ...]:
    return tuple(item for title in ENGINES for item in rows.judged[title])


def comparisons(rows: Rows, title: str) -> list[Comparison]:
    return [item for one in rows.judged[title] if not one.asked.rough for item in one.comparisons]


def test_every_row_is_judged_or_has_a_reason_and_no_engine_is_without_a_reader() -> None:
    for rows, path in ((field_rows(), FIELD_LOGS), (official_rows(), OFFICIAL_TABLES)):
        assert sum(len(found) for found in rows.judged.values()) + len(rows.unjudged) == len(read_rows(path))
        assert [item.row.id for item in rows.unjudged if "without a reader" in item.why] == []
    assert len(judged(field_rows())) >= 77
    assert len(judged(official_rows())) >= 260


# Engine, quantity, settled only, rows at least, median, covered at least.
LEVELS = [
    ("llama.cpp and Ollama", "KV bytes", True, 8, 0.0001, 0.87),
    ("llama.cpp and Ollama", "KV tokens", True, 2, 0.0, 1.0),
    ("llama.cpp and Ollama", "compute buffer", True, 8, 0.001, 0.87),
    ("llama.cpp and Ollama", "host", True, 4, 0.002, 1.0),
    ("llama.cpp and Ollama", "weights", True, 3, 0.004, 0.66),
    ("llama.cpp and Ollama", "logged total", True, 1, 0.001, 1.0),
    ("KTransformers", "weights", False, 1, 0.01, 1.0),
    ("KTransformers", "bytes a token", True, 1, 0.001, 1.0),
    ("ExLlamaV2 and ExLlamaV3", "total", False, 6, 0.021, 1.0),
    ("IPEX-LLM", "total", True, 3, 0.01, 1.0),
    ("SGLang", "graphs", True, 2, 0.46, 1.0),
    ("SGLang", "weights", True, 2, 0.33, 1.0),
]


@pytest.mark.parametrize(("title", "quantity", "settled", "count", "median", "coverage"), LEVELS)
def test_field_rows_are_met(title: str, quantity: str, count: int, median: float, coverage: float, *, settled: bool) -> None:
    found = summarise(quantity, [item for item in comparisons(field_rows(), title) if item.settled or not settled])
    assert found.count >= count
    assert found.median <= median
    assert found.coverage >= coverage


def test_published_totals_of_transformers_are_within_their_aims() -> None:
    everything = comparisons(official_rows(), "Transformers")
    found, settled = summarise("total", everything), summarise("total", [item for item in everything if item.settled])
    assert (found.count, settled.count) >= (250, 238)
    assert found.median <= 0.002
    assert found.p90 <= 0.029
    assert found.coverage >= 0.87
    assert settled.coverage >= 0.9


def test_failures_are_foreseen_and_runs_not_called_impossible() -> None:
    found = verdicts((*judged(field_rows()), *judged(official_rows())))
    assert found.failures >= 24
    assert found.recall >= 0.95
    assert found.runs >= 280
    assert len(found.too_strict) + len(found.refused) <= 0.01 * found.runs
    assert len(found.missed_plainly) <= 3
    assert len(found.strict_plainly) <= 3
    assert len(found.aside) <= 30


@pytest.mark.parametrize(
    ("text", "date", "build", "named"),
    [
        ("b8763", "", 8763, True),
        ("b2500-era", "", 2500, False),
        ("2025-03 (PR 259)", "2025-03-16", 4800, False),
        ("0.13.3", "2026-01-15", 7420, False),
    ],
)
def test_a_build_is_read_from_text_and_day(text: str, date: str, build: int, *, named: bool) -> None:
    found = build_of(text, date)
    assert found is not None
    assert (found.version.parts, found.named) == ((build,), named)
    assert build_of("", "") is None


def test_builds_come_after_each_other() -> None:
    numbers, days = [parse(name) for name, _ in LLAMA_CPP], [day for _, day in LLAMA_CPP]
    assert numbers == sorted(numbers)
    assert days == sorted(days)


@pytest.mark.parametrize(
    ("row_id", "word", "exact"),
    [("F0309", "q4_k_m", True), ("F0161", "q4_k_m", False), ("F0286", "iq2_m", False), ("F0019", "f16", True), ("F0403", "", False)],
)
def test_a_file_type_is_read_from_names(row_id: str, word: str, *, exact: bool) -> None:
    row = next(row for row in read_rows(FIELD_LOGS) if row.id == row_id)
    assert scheme_word(row) == (word, exact)
