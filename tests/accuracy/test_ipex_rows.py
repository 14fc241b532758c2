"""Every report about IPEX-LLM that can be asked, predicted by rule."""

import pytest
from tests.accuracy.cases_of_rows import Asked
from tests.accuracy.ipex_rows import read
from tests.accuracy.rows import FIELD_LOGS, read_rows

from ullage.domain.plan import Verdict
from ullage.planning.fit import evaluate
from ullage.units import GiB

ASKED = [asked for row in read_rows(FIELD_LOGS) if row.text("engine").startswith("IPEX-LLM") and isinstance(asked := read(row), Asked)]


def test_most_reports_can_be_asked() -> None:
    assert len(ASKED) >= 8


@pytest.mark.parametrize("asked", ASKED, ids=lambda asked: asked.row.id)
def test_a_run_is_never_ruled_out_and_a_failure_never_promised(asked: Asked) -> None:
    verdict = evaluate(asked.engine, asked.case).verdict
    if asked.row.ran:
        assert verdict in {Verdict.FITS, Verdict.TIGHT}
    elif asked.row.failed:
        assert verdict is not Verdict.FITS


@pytest.mark.parametrize("asked", [asked for asked in ASKED if asked.row.number("total_used_gib")], ids=lambda asked: asked.row.id)
def test_the_whole_use_of_a_card_is_within_five_per_cent(asked: Asked) -> None:
    (device,) = evaluate(asked.engine, asked.case).devices
    assert device.peak.expected / GiB == pytest.approx(asked.row.number("total_used_gib"), rel=0.05)
