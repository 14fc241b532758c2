"""A cache that a load filled, and a device that others hold."""

import pytest
from tests.unit.test_diagnose import NOT_FREE, diagnosed

from ullage.domain.cause import Change, Diagnosis, Kind
from ullage.domain.ledger import Purpose
from ullage.domain.plan import Verdict
from ullage.units import GiB

ARGUMENTS = (
    "(APIServer pid=7) INFO 11-21 10:02:23 [utils.py:233] non-default args: {'model_tag': 'Qwen/Qwen3-8B', 'max_model_len': 32768}\n"
)
POOL = "(EngineCore_DP0 pid=121) INFO 11-21 10:03:50 [kv_cache_utils.py:1087] GPU KV cache size: 36,031 tokens\n"
RATE = (
    "(APIServer pid=7) INFO 11-21 10:12:23 [loggers.py:127] Engine 000: Avg prompt throughput: 8123.4 tokens/s, Avg generation throughput: "
    "35.1 tokens/s, Running: {running} reqs, Waiting: 212 reqs, GPU KV cache usage: {usage}%, Prefix cache hit rate: 3.1%\n"
)
PREEMPTED = (
    "(APIServer pid=7) WARNING 11-21 10:12:35 [scheduler.py:1057] Sequence group 12 is preempted by PreemptionMode.RECOMPUTE mode because "
    "there is not enough KV cache space. total_num_cumulative_preemption=51\n"
)


def pressed(running: int, usage: float = 99.8, **options: object) -> Diagnosis:
    early = RATE.format(running=3, usage=12.5)
    return diagnosed(ARGUMENTS + POOL + early + RATE.format(running=running, usage=usage) + PREEMPTED, **options)


def change(found: Diagnosis, setting: str) -> Change:
    return next(one for one in found.changes if one.setting == setting)


@pytest.mark.parametrize("options", [{}, {"gpu": "4090"}])
@pytest.mark.parametrize(("running", "value"), [(29, 16), (32, 16), (33, 32), (2, 1)])
def test_fewer_sequences_than_filled_the_cache_are_offered_and_the_line_that_tells_is_evidence(
    running: int, value: int, options: dict[str, object]
) -> None:
    found = pressed(running, **options)
    assert found.causes[0].kind is Kind.CACHE_PRESSURE
    assert change(found, "max_num_seqs").value == value
    assert f"{running} sequences running, 212 waiting, 99.8% of the cache in use" in [item.says for item in found.causes[0].evidence]


def test_how_many_ran_beside_an_empty_cache_says_nothing() -> None:
    found = pressed(29, 40.0, gpu="4090")
    assert all("running," not in item.says for item in found.causes[0].evidence)


def test_what_gives_the_cache_no_more_room_is_not_offered() -> None:
    found = pressed(29, gpu="4090")
    assert all("tokens in place of" in one.says or one.setting in {"max_num_seqs", "tensor_parallel_size"} for one in found.changes)
    assert not any("frees nothing" in one.says for one in found.changes)
    assert not any(one.setting == "max_model_len" for one in found.changes)


def held(free: float, **options: object) -> Diagnosis:
    said = (
        f"(EngineCore_DP0 pid=121) ERROR [core.py:708] ValueError: Free memory on device ({free:.2f}/23.52 GiB) on startup is "
        "less than desired GPU memory utilization (0.9, 21.17 GiB). Decrease GPU memory utilization or reduce GPU memory used by other "
        "processes.\n"
    )
    return diagnosed(ARGUMENTS.replace("Qwen3-8B", str(options.pop("model_said", "Qwen3-8B"))) + said, **options)


def test_the_largest_share_that_starts_and_fits_beside_the_others_is_offered() -> None:
    found = held(20.0, model_said="Qwen3-1.7B")
    share = change(found, "gpu_memory_utilization")
    assert share.verdict in {Verdict.FITS, Verdict.TIGHT}
    assert isinstance(share.value, float)
    assert 0.7 < share.value <= int(100 * 20 / 23.52) / 100
    assert not share.also
    assert found.budget is not None
    others = next(term for term in found.budget.terms if term.purpose is Purpose.OTHERS)
    assert others.predicted is not None
    assert others.predicted.expected == pytest.approx(3.52 * GiB, rel=0.01)


def test_where_no_share_alone_is_enough_a_second_change_goes_with_it() -> None:
    share = change(held(17.31), "gpu_memory_utilization")
    assert share.verdict in {Verdict.FITS, Verdict.TIGHT}
    assert share.also
    assert isinstance(share.value, float)
    assert share.value <= 0.73
    assert f"{share.also[0][0]} = " in share.says
    assert "no share above 0.73 starts" in share.says


def test_a_share_that_holds_no_weights_is_not_said_to_start() -> None:
    share = change(held(4.0), "gpu_memory_utilization")
    assert share.verdict is Verdict.DOES_NOT_FIT or share.also


def test_without_a_case_the_share_is_the_largest_that_starts() -> None:
    assert change(diagnosed(NOT_FREE), "gpu_memory_utilization").value == int(100 * 60.85 / 79.19) / 100
