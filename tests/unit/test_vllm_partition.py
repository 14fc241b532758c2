"""Pipeline stages on unequal cards."""

from dataclasses import replace

from tests.cases import bundled

from ullage.domain.case import Case, Version
from ullage.domain.machine import Device, Machine
from ullage.domain.placement import Parallel
from ullage.domain.plan import Verdict
from ullage.domain.workload import Workload
from ullage.engines import find
from ullage.planning.fit import evaluate
from ullage.planning.search import solve
from ullage.units import GiB

VLLM = find("vllm")


def question(*sizes_gib: float, pipeline: int = 1) -> Case:
    devices = tuple(
        Device(id=f"gpu{index}", kind="cuda", name="card", total_bytes=int(size * GiB), compute_capability=(8, 9))
        for index, size in enumerate(sizes_gib)
    )
    return Case(
        model=bundled("Qwen2.5-14B"),
        engine="vllm",
        version=Version((0, 33, 0), "0.33.0"),
        machine=Machine(devices=devices),
        parallel=Parallel(pipeline=pipeline),
        workload=Workload(context_tokens=8192),
    )


def test_equal_stages_overflow_the_smaller_card_and_a_partition_does_not() -> None:
    equal = evaluate(VLLM, question(23.5, 11.7, pipeline=2))
    assert equal.verdict in {Verdict.DOES_NOT_FIT, Verdict.REFUSED}
    plan = solve(VLLM, question(23.5, 11.7))
    assert plan.verdict in {Verdict.FITS, Verdict.TIGHT}
    first, second = (int(word) for word in dict(plan.command.environment)["VLLM_PP_LAYER_PARTITION"].split(","))
    assert first + second == 48
    assert first > second


def test_equal_cards_need_no_partition() -> None:
    plan = solve(VLLM, question(23.5, 23.5))
    assert "VLLM_PP_LAYER_PARTITION" not in dict(plan.command.environment)


def test_the_partition_is_read_back_to_the_same_ledger() -> None:
    plan = solve(VLLM, question(23.5, 11.7))
    request = VLLM.read_command(plan.command.argv, dict(plan.command.environment), plan.case.version)
    assert request is not None
    again = replace(question(23.5, 11.7), parallel=request.parallel, settings=request.settings, environment=request.environment)
    assert VLLM.ledger(VLLM.resolve(again)) == plan.ledger
