"""What earlier runs and workloads say of requests to come."""

import pytest
from tests.runs import CARD, stored_run

from ullage.commands.foreseen import _untold
from ullage.domain.admission import CostModel
from ullage.domain.baseline import Growth, MachineMark, ModelMark
from ullage.domain.foresight import UNENDED
from ullage.domain.guard import GuardRecord
from ullage.domain.workload import LengthBin, Lengths
from ullage.planning.foresight import Life, of_runs, of_workload, seen_answers

COST = CostModel(pool_bytes=1 << 20, steps=tuple((at, at * 100) for at in range(16, 4097, 16)), longest_tokens=4096, most_sequences=8)
MODEL = ModelMark(name="another name", model_type="qwen3", architecture_hash="0123456789abcdef", scheme="bfloat16")
MACHINE = MachineMark(devices=(CARD,))


def record(generated: int, whole_s: float = 3.0, ended: str = "finished", sequences: int = 1, *, was_cut: bool = False) -> GuardRecord:
    said = {"ended": ended, "generated": generated, "whole_s": whole_s, "queue_s": 1.0, "sequences": sequences, "was_cut": was_cut}
    return GuardRecord(**{**dict.fromkeys(GuardRecord._fields, 0), **said})  # type: ignore[arg-type]


def grown(bytes_per_token: float) -> tuple[Growth, ...]:
    return (Growth(device="gpu0", bytes_per_token=bytes_per_token, from_tokens=10, to_tokens=1000, points=9),)


def test_a_run_of_this_model_on_such_a_device_says_lengths_pace_and_growth() -> None:
    figures = seen_answers([record(10 * length) for length in range(1, 11)])
    known = of_runs([stored_run(growth=grown(150.0), figures=figures), stored_run(2, growth=grown(130.0))], MODEL, MACHINE, COST)
    assert known is not None
    assert known.source == "2 earlier runs of this model here"
    assert (len(known.answers), known.answers[-1]) == (100, 100)
    assert 40 <= known.answers[49] <= 70
    assert known.answers == tuple(sorted(known.answers))
    assert known.tokens_per_s == 30.0
    assert known.growth == 1.5


def test_a_pool_that_is_taken_at_the_start_grows_as_the_rules_say() -> None:
    known = of_runs([stored_run(growth=grown(0.5))], MODEL, MACHINE, COST)
    assert known is not None
    assert known.growth == 1.0


def test_runs_of_another_model_or_device_and_runs_that_saw_nothing_say_nothing() -> None:
    other = MachineMark(devices=(CARD.__class__(id="gpu0", kind="cuda", name="Another card", total_bytes=1),))
    assert of_runs([stored_run(growth=grown(100.0))], MODEL, other, COST) is None
    shape = ModelMark(name="m", model_type="qwen3", architecture_hash="f" * 16, scheme="bfloat16")
    assert of_runs([stored_run(growth=grown(100.0))], shape, MACHINE, COST) is None
    assert of_runs([stored_run()], MODEL, MACHINE, COST) is None


def test_a_request_for_several_answers_says_how_long_one_is_and_how_fast_one_comes() -> None:
    assert seen_answers([record(400, sequences=4)] * 9) == seen_answers([record(100)] * 9)


def test_answers_that_were_cut_do_not_tell_when_they_had_ended() -> None:
    figures = seen_answers([record(16, was_cut=True)] * 9 + [record(40)] * 11)
    known = of_runs([stored_run(figures=figures)], MODEL, MACHINE, COST)
    assert known is not None
    assert len(known.answers) == 100
    assert {length for length in known.answers if length < UNENDED} == {40}
    assert Life(0, 300, 1.0, known.answers).stays(41.0) == pytest.approx(9 / 20, abs=0.06)
    assert Life(0, 300, 1.0, known.answers).stays(300.0) == 0
    few_cut = of_runs([stored_run(figures=seen_answers([record(16, was_cut=True)] + [record(40)] * 39))], MODEL, MACHINE, COST)
    assert few_cut is not None
    assert 0 < Life(0, 300, 1.0, few_cut.answers).stays(41.0) <= 0.05


def test_a_few_answers_and_broken_ones_are_no_lengths() -> None:
    assert seen_answers([record(10)] * 7 + [record(10, ended="cancelled")] * 9) == ()


def test_a_workload_gives_the_lengths_and_runs_the_pace() -> None:
    bins = (LengthBin(100, 20, 75), LengthBin(100, 200, 25))
    lengths = Lengths(bins=bins, longest_prompt_tokens=100, longest_output_tokens=200, longest_total_tokens=300)
    alone = of_workload(lengths, None)
    assert (alone.answers.count(20), alone.answers.count(200), alone.tokens_per_s) == (192, 64, None)
    runs = of_runs([stored_run(figures=seen_answers([record(60)] * 8))], MODEL, MACHINE, COST)
    assert of_workload(lengths, runs).tokens_per_s == 30.0


def test_runs_that_are_stored_are_never_said_to_be_missing() -> None:
    assert "no earlier run" in _untold(0)
    assert _untold(1).startswith("1 earlier run of this model is stored here, with too few requests")
    assert _untold(2).startswith("2 earlier runs of this model are stored here")
