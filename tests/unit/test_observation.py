"""Observations as values."""

from dataclasses import replace

import pytest

from ullage import wire
from ullage.domain.case import Settings
from ullage.domain.ledger import Phase, Purpose
from ullage.domain.observation import Counting, Held, Observation, Reading, Run, Site
from ullage.domain.workload import Workload
from ullage.errors import MalformedFileError

SEEN = Observation(
    name="transformers-5.23.0-nvidia-a100-m-bfloat16-sdpa-dynamic-2048",
    run=Run(
        engine="transformers",
        version="5.23.0",
        model="org/m",
        configuration={"model_type": "llama", "hidden_size": 64, "rope_scaling": None, "layer_types": ["full_attention"]},
        settings=Settings.of({"dtype": "bfloat16", "prefill_chunk_size": 512, "do_sample": False}),
        workload=Workload(context_tokens=2064, prompt_tokens=2048),
    ),
    site=Site(
        kind="cuda", device="NVIDIA A100", total_bytes=1 << 36, torch="2.13.0", date="2026-11-21", driver="580", compute_capability=(8, 0)
    ),
    counting=Counting.ALLOCATOR,
    readings=(
        Reading(phase=Phase.RESIDENT, peak_allocated_bytes=100, held=(Held(purpose=Purpose.WEIGHTS, nbytes=100),)),
        Reading(phase=Phase.DECODE, peak_allocated_bytes=140, peak_reserved_bytes=200, device_used_bytes=300),
    ),
)


def test_an_observation_comes_back_equal_over_the_wire() -> None:
    assert wire.from_wire(Observation, wire.loads(wire.dumps(wire.to_wire(SEEN)))) == SEEN


def test_a_reading_is_found_by_its_phase_and_its_bytes_by_purpose() -> None:
    resident = SEEN.at(Phase.RESIDENT)
    assert resident is not None
    assert (resident.of(Purpose.WEIGHTS), resident.of(Purpose.KV_CACHE)) == (100, 0)
    assert SEEN.at(Phase.PREFILL) is None


@pytest.mark.parametrize("change", [{"phase": "lunch"}, {"peak_allocated_bytes": "many"}, {"held": [{"purpose": "tea", "nbytes": 1}]}])
def test_a_reading_of_something_else_is_refused(change: dict[str, object]) -> None:
    data = wire.to_wire(replace(SEEN, readings=SEEN.readings[:1]))
    data["value"]["readings"][0].update(change)  # type: ignore[index,call-overload,union-attr]
    with pytest.raises(MalformedFileError, match="Observation"):
        wire.from_wire(Observation, data)
