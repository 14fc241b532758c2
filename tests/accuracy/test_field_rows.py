"""Predictions against what people measured. The bounds are the levels reached; docs/accuracy.md has every figure behind them."""

import pytest
from tests.accuracy.judged_rows import field_rows
from tests.accuracy.models_of_rows import model_of
from tests.accuracy.releases import VLLM, parse, release_of
from tests.accuracy.rows import FIELD_LOGS, OFFICIAL_TABLES, read_rows
from tests.accuracy.scores import Comparison, Judged, percentile, summarise, verdicts


def judged() -> tuple[Judged, ...]:
    return field_rows().judged["vLLM"]


def comparisons() -> list[Comparison]:
    return [item for one in judged() if not one.asked.rough for item in one.comparisons]


def settled() -> list[Comparison]:
    return [item for item in comparisons() if item.settled]


def test_every_row_is_judged_or_has_a_reason() -> None:
    rows = field_rows()
    assert sum(len(found) for found in rows.judged.values()) + len(rows.unjudged) == len(read_rows(FIELD_LOGS)) == 247
    assert len(read_rows(OFFICIAL_TABLES)) == 304
    assert all(item.why.strip() for item in rows.unjudged)
    assert len(judged()) >= 110


# Of reports that say what sets the figure: quantity, rows at least, median, 90th percentile, covered at least.
LEVELS = [
    ("weights", 65, 0.0002, 0.006, 0.90),
    ("activations", 46, 0.003, 0.02, 0.95),
    ("non-torch", 46, 0.01, 0.08, 0.97),
    ("outside", 35, 0.001, 0.015, 1.0),
    ("graphs", 39, 0.09, 0.75, 0.94),
    ("KV bytes", 46, 0.0005, 0.005, 0.95),
    ("KV blocks", 39, 0.0005, 0.007, 0.97),
    ("KV tokens", 41, 0.0005, 0.006, 0.95),
]


@pytest.mark.parametrize(("quantity", "count", "median", "p90", "coverage"), LEVELS)
def test_settled_rows_are_met(quantity: str, count: int, median: float, p90: float, coverage: float) -> None:
    found = summarise(quantity, settled())
    assert found.count >= count
    assert found.median <= median
    assert found.p90 <= p90
    assert found.coverage >= coverage


# Of all reports, those that leave the utilisation, the length, the scheme or the release open among them.
OPEN_LEVELS = [("weights", 0.0002, 0.90), ("activations", 0.004, 0.92), ("KV bytes", 0.001, 0.88), ("KV tokens", 0.004, 0.87)]


@pytest.mark.parametrize(("quantity", "median", "coverage"), OPEN_LEVELS)
def test_all_rows_are_met_at_the_median_and_mostly_covered(quantity: str, median: float, coverage: float) -> None:
    found = summarise(quantity, comparisons())
    assert found.median <= median
    assert found.coverage >= coverage


def test_failures_are_foreseen() -> None:
    found = verdicts(judged())
    assert found.failures >= 40
    assert found.recall >= 0.95


def test_runs_are_not_called_impossible() -> None:
    found = verdicts(judged())
    assert found.runs >= 70
    assert found.false_alarms == 0
    assert len(found.refused) / found.runs < 0.03


class TestReadingRows:
    @pytest.mark.parametrize(
        ("text", "date", "version", "named"),
        [
            ("0.6.4+ (PR 10511)", "2024-12-14", "0.6.4", True),
            ("0.24.0", "", "0.24.0", True),
            ("0.6.4.post1", "", "0.6.4", True),
            ("2026-09 main", "2026-09-16", "0.29.0", False),
            ("0.8.x (2025-04)", "2025-04-24", "0.8.4", False),
            ("0.19", "2026-04-13", "0.19.0", True),
            ("0.20.1rc1.dev16", "2026-05-04", "0.20.0", False),
            ("0.1.dev20073", "2026-08-30", "0.28.0", False),
            ("", "2024-04-16", "0.4.0", False),
        ],
    )
    def test_a_release_is_read_from_text_and_date(self, text: str, date: str, version: str, *, named: bool) -> None:
        found = release_of(text, date, VLLM)
        assert found is not None
        assert found.version.parts == parse(version).parts
        assert found.named is named

    def test_no_text_and_no_date_are_no_release(self) -> None:
        assert release_of("", "", VLLM) is None

    @pytest.mark.parametrize(
        ("row_id", "name", "scheme"),
        [
            ("F0095", "meta-llama/Llama-3.3-70B-Instruct", "compressed-tensors int8 channel"),
            ("F0107", "meta-llama/Llama-3.3-70B-Instruct", "compressed-tensors fp8 channel"),
            ("F0024", "Qwen/Qwen1.5-7B-Chat", "gptq 4-bit g128"),
            ("F0079", "openai/gpt-oss-20b", "mxfp4"),
            ("F0035", "Qwen/Qwen3.5-27B", "gptq 4-bit g128"),
        ],
    )
    def test_a_model_and_its_scheme_are_read_from_names(self, row_id: str, name: str, scheme: str) -> None:
        row = next(row for row in read_rows(FIELD_LOGS) if row.id == row_id)
        found = model_of(row)
        assert not isinstance(found, str)
        assert (found.model.name, found.model.checkpoint.scheme) == (name, scheme)

    def test_no_row_is_named_outside_the_tests_of_reading(self) -> None:
        """No rule may know a row."""
        sources = [path for path in FIELD_LOGS.parent.parent.joinpath("accuracy").glob("*.py") if not path.name.startswith("test_")]
        assert [path.name for path in sources if "F0" in path.read_text(encoding="utf-8")] == []

    def test_a_percentile_is_a_value_of_the_list(self) -> None:
        assert percentile([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0], 0.9) == 0.9
        assert percentile([], 0.9) == 0
