"""A real process reads a real prompt: what the system counts for it against the plan."""

import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import median

import pytest
from tests.runtime.real_model import bfloat16_directory, smollm2_file
from tests.runtime.test_predicted_memory import model, planned

from ullage.domain.ledger import Phase
from ullage.domain.provenance import Constant
from ullage.engines.runtime import ENGINE
from ullage.engines.runtime.ledger import PASSING
from ullage.engines.runtime.versions import GGUF_TOKEN, PROCESS, READING, STEPPING, TOKEN

ROOT = Path(__file__).parents[2]
WITHIN = 0.05


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The real model in bfloat16."""
    return str(bfloat16_directory(tmp_path_factory.mktemp("smollm2")))


def read(path: str, tokens: int, chunk: int = 1024, weights: str = "native") -> dict[str, int]:
    """What a process of its own took for one prompt."""
    script = ROOT / "tools" / "runtime_reading.py"
    done = subprocess.run(
        [sys.executable, str(script), path, "bfloat16", str(tokens), str(chunk), weights],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env={**os.environ, "OMP_WAIT_POLICY": "passive"},
    )
    found = json.loads(done.stdout)
    assert found["finished"][-1] == "length"
    return dict(found)


def promised(path: str, tokens: int, chunk: int = 1024, weights: str = "native") -> int:
    case = planned(model(path), tokens + 1, dtype="bfloat16", chunk=chunk, weights=weights)
    return ENGINE.ledger(case).at("cpu", Phase.PREFILL).expected


def test_the_process_takes_what_the_plan_says_at_4k(folder: str) -> None:
    seen = read(folder, 4096)
    assert seen["peak"] == pytest.approx(promised(folder, 4096), rel=WITHIN)


@pytest.mark.parametrize("weights", ["native", "int8", "int4"])
def test_a_packed_file_takes_what_the_plan_says(weights: str) -> None:
    path = str(smollm2_file())
    assert read(path, 1024, weights=weights)["peak"] == pytest.approx(promised(path, 1024, weights=weights), rel=WITHIN)


@pytest.mark.slow
@pytest.mark.skipif(not os.environ.get("ULLAGE_LONG_TESTS"), reason="takes minutes: set ULLAGE_LONG_TESTS=1")
@pytest.mark.parametrize(("tokens", "layers"), [(16_384, 8), (65_536, 2)])
def test_the_process_takes_what_the_plan_says_of_long_prompts(tmp_path: Path, tokens: int, layers: int) -> None:
    """Some layers of the real model: attention over a long past takes minutes a layer, and what is held is of one layer at a time."""
    few = str(bfloat16_directory(tmp_path, layers=layers))
    assert read(few, tokens)["peak"] == pytest.approx(promised(few, tokens), rel=WITHIN)


def holds(constant: Constant, seen: list[int]) -> None:
    """A constant is in the middle of what was measured, and its ends are beyond it."""
    assert constant.low is not None
    assert constant.high is not None
    assert constant.low <= min(seen) <= max(seen) <= constant.high
    assert constant.value == pytest.approx(median(seen), rel=WITHIN)


def test_the_process_is_as_large_as_was_measured() -> None:
    record = json.loads((ROOT / "tests" / "data" / "runtime_process.json").read_text())
    holds(PROCESS, [run["process_bytes"] for run in record["runs"]])
    holds(STEPPING, [run["stepping_bytes"] for run in record["runs"]])
    for constant, form in ((TOKEN, "tokenizer.json"), (GGUF_TOKEN, "gguf")):
        holds(constant, [one["bytes"] // one["entries"] for one in record["vocabularies"] if one["form"] == form])
    holds(READING, [one["bytes"] // one["entries"] for one in record["readings"]])


def test_a_process_that_is_ready_takes_what_the_plan_says_of_loading(folder: str) -> None:
    for path in (folder, str(smollm2_file())):
        case = planned(model(path), 1025, dtype="bfloat16", chunk=1024)
        ledger = ENGINE.ledger(case)
        passing = next(entry.amount.expected for entry in ledger.entries if entry.because == PASSING)
        assert read(path, 64)["ready"] == pytest.approx(ledger.at("cpu", Phase.LOAD).expected - passing, rel=WITHIN)
