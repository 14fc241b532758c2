"""A real llama.cpp server on a processor against its plan: every buffer it names, and its whole resident set."""

from pathlib import Path

import pytest
from tests.llama_cpp_cases import cpu

from ullage import wire
from ullage.architectures import read
from ullage.domain.case import Case, Model
from ullage.domain.hyperparameters import Hyperparameters
from ullage.domain.ledger import Ledger, Phase, Purpose
from ullage.domain.observation import Counting, Observation
from ullage.domain.placement import Parallel
from ullage.engines.llama_cpp import ENGINE
from ullage.engines.llama_cpp.versions import PROCESS, version
from ullage.formats import checkpoint
from ullage.units import MiB

FILE = Path(__file__).parents[1] / "data" / "observations" / "llama_cpp-11549-cpu-smollm2-135m-q4_1-4096-x4.json"
OBSERVED = wire.from_wire(Observation, wire.loads(FILE.read_bytes()))
BESIDE = (Purpose.KV_CACHE, Purpose.ACTIVATIONS)


def promised() -> Ledger:
    """The stored run asked as a question; weights are those of its file, as seen."""
    run = OBSERVED.run
    assert isinstance(run.configuration, dict)
    blueprint = read(Hyperparameters(run.configuration))
    model = Model(
        name="m",
        source="observation",
        architecture=blueprint.architecture,
        checkpoint=checkpoint(blueprint, None),
        parameters=sum(tensor.elements for tensor in blueprint.tensors),
    )
    case = Case(
        model=model,
        machine=cpu(OBSERVED.site.total_bytes / (1024 * MiB)),
        engine="llama_cpp",
        version=version(run.version),
        settings=run.settings,
        parallel=Parallel(),
        workload=run.workload,
    )
    return ENGINE.ledger(ENGINE.resolve(case))


@pytest.mark.parametrize("purpose", BESIDE)
def test_each_buffer_is_what_the_engine_said(purpose: Purpose) -> None:
    seen = OBSERVED.at(Phase.RESIDENT)
    assert seen is not None
    assert promised().of("cpu", purpose).expected == seen.of(purpose)


@pytest.mark.parametrize("phase", [Phase.PREFILL, Phase.DECODE])
def test_what_is_left_of_its_resident_set_is_the_process_itself(phase: Phase) -> None:
    seen, ledger = OBSERVED.at(phase), promised()
    assert OBSERVED.counting is Counting.PROCESSES
    assert seen is not None
    logits = [one for one in ledger.entries if one.purpose is Purpose.LOGITS and one.phase in {Phase.RESIDENT, phase}]
    known = seen.of(Purpose.WEIGHTS) + sum(seen.of(one) for one in BESIDE) + sum(one.amount.expected for one in logits)
    assert PROCESS.low is not None
    assert PROCESS.high is not None
    assert PROCESS.low <= seen.peak_allocated_bytes - known <= PROCESS.high


def test_slots_that_have_sampled_keep_what_they_weighed() -> None:
    before, after = OBSERVED.at(Phase.PREFILL), OBSERVED.at(Phase.DECODE)
    assert before is not None
    assert after is not None
    kept = next(one for one in promised().entries if one.purpose is Purpose.LOGITS and one.phase is Phase.DECODE)
    three_of_four = kept.amount.expected * 3 // 4  # one slot had answered before
    assert after.peak_allocated_bytes - before.peak_allocated_bytes == pytest.approx(three_of_four, abs=1.5 * MiB)
