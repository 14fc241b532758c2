"""Predicted against published memory of Transformers: the speed tables of the Qwen documents, read as every other row is."""

from statistics import median

import pytest
from tests.accuracy.judged_rows import official_rows
from tests.accuracy.scores import Judged


def tabled() -> tuple[Judged, ...]:
    return tuple(item for item in official_rows().judged["Transformers"] if item.row.text("thread").startswith("QwenLM/Qwen3"))


def errors(release: str | None = None) -> list[float]:
    found = [one for item in tabled() if release in {None, str(item.asked.case.version)} for one in item.comparisons]
    return sorted(abs(one.error) for one in found if one.quantity == "total")


def test_every_row_of_the_tables_is_compared() -> None:
    assert len(errors()) >= 230


def test_half_of_the_rows_are_within_a_third_of_a_per_cent_and_nine_tenths_within_two() -> None:
    found = errors()
    assert median(found) < 0.0033
    assert found[len(found) * 9 // 10] < 0.02
    assert found[-1] < 0.12


@pytest.mark.parametrize(
    ("release", "middle", "most"), [("4.38.0", 0.002, 0.08), ("4.38.2", 0.002, 0.12), ("4.46.0", 0.002, 0.02), ("4.51.3", 0.005, 0.06)]
)
def test_each_release_is_predicted_by_its_own_rules(release: str, middle: float, most: float) -> None:
    found = errors(release)
    summary = f"{release}: {len(found)} rows, median {median(found):.2%}, largest {found[-1]:.2%}"
    assert median(found) < middle, summary
    assert found[-1] < most, summary
