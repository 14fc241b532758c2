"""What is said of an allocation that failed beside other processes on the device."""

import pytest

from ullage.commands.diagnose import VERB, make_diagnosis
from ullage.domain.cause import Diagnosis, Kind
from ullage.domain.ledger import Purpose
from ullage.domain.plan import Verdict
from ullage.world import real

START = "$ vllm serve Qwen/Qwen2.5-72B-Instruct --tensor-parallel-size 4 --gpu-memory-utilization 0.95 --max-model-len 32768\n"
LOADED = (
    "(Worker_TP{0} pid=1{0}) INFO 10-01 10:00:40 [gpu_model_runner.py:2653] Model loading took {1} GiB and 30.5 seconds\n"
    "(Worker_TP{0} pid=1{0}) INFO 10-01 10:00:50 [gpu_worker.py:298] Available KV cache memory: {2} GiB\n"
)
SERVING = (
    "(APIServer pid=1) INFO:     Application startup complete.\n"
    "(APIServer pid=1) INFO 10-01 10:10:51 [loggers.py:127] Engine 000: Avg prompt throughput: 3000.0 tokens/s, Avg generation "
    "throughput: 200.0 tokens/s, Running: 20 reqs, Waiting: 3 reqs, GPU KV cache usage: 88.0%, Prefix cache hit rate: 0.0%\n"
)
FAILED = (
    "(Worker_TP2 pid=12) ERROR 10-01 10:11:00 [multiproc_executor.py:671] torch.OutOfMemoryError: CUDA out of memory. Tried to allocate "
    "232.00 MiB. GPU 2 has a total capacity of 79.19 GiB of which 100.56 MiB is free. {}Including non-PyTorch memory, this process has "
    "{} GiB memory in use. Of the allocated memory 36.00 GiB is allocated by PyTorch, and 500.00 MiB is reserved by PyTorch but "
    "unallocated.\n"
)


def diagnosed(text: str) -> Diagnosis:
    return make_diagnosis(VERB.flags({"offline": True}), iter(text.splitlines(keepends=True)), real.world(offline=True))


def of_four(listed: str, own: str) -> Diagnosis:
    loaded = "".join(LOADED.format(rank, 33.98, 38.1) for rank in (0, 2, 1, 3))
    return diagnosed(START + loaded + SERVING + FAILED.format(listed, own))


@pytest.mark.parametrize(("held", "own"), [("40.00", "39.00"), ("5.00", "74.10")])
def test_others_that_hold_more_than_was_lacking_are_the_cause_of_a_process_within_its_share(held: str, own: str) -> None:
    found = of_four(f"Process 777 has {held} GiB memory in use. ", own)
    assert [cause.kind for cause in found.causes] == [Kind.DEVICE_NOT_FREE, Kind.WORKSPACE]
    assert f"others hold {held} GiB, this process {own} GiB of its share of 75.23 GiB" in found.causes[0].evidence[0].says
    assert found.changes[0].setting == "other processes"
    assert found.changes[0].verdict in {Verdict.TIGHT, Verdict.FITS}
    assert found.budget is not None
    assert [term.purpose for term in found.budget.terms if term.overflowed] == [Purpose.OTHERS]


def test_what_others_hold_is_taken_off_the_room_before_a_smaller_share_is_said_to_fit() -> None:
    found = of_four("Process 777 has 40.00 GiB memory in use. ", "39.00")
    share = next(change for change in found.changes if change.setting == "gpu_memory_utilization")
    assert share.verdict is Verdict.DOES_NOT_FIT
    little = of_four("Process 777 has 5.00 GiB memory in use. ", "74.10")
    share = next(change for change in little.changes if change.setting == "gpu_memory_utilization")
    assert share.verdict in {Verdict.TIGHT, Verdict.FITS}
    assert isinstance(share.value, float)
    assert share.value * 79.19 <= 79.19 - 5.0


def test_others_are_second_beside_a_process_above_its_share() -> None:
    found = of_four("Process 777 has 0.50 GiB memory in use. ", "78.50")
    assert [cause.kind for cause in found.causes] == [Kind.WORKSPACE, Kind.DEVICE_NOT_FREE]
    assert "other processes" in [change.setting for change in found.changes[:3]]


@pytest.mark.parametrize("listed", ["", "Process 777 has 90.00 MiB memory in use. "])
def test_others_that_hold_less_than_was_lacking_are_no_cause(listed: str) -> None:
    found = of_four(listed, "79.00")
    assert [cause.kind for cause in found.causes] == [Kind.WORKSPACE]
    assert "other processes" not in [change.setting for change in found.changes]


def test_a_smaller_share_is_not_paired_with_another_value_of_itself() -> None:
    found = diagnosed(
        "python -m sglang.launch_server --model-path Qwen/Qwen2.5-7B-Instruct --mem-fraction-static 0.85\n"
        "[2025-08-01 10:00:01] Load weight end. type=Qwen2ForCausalLM, dtype=torch.bfloat16, avail mem=8.0 GB, mem usage=14.30 GB.\n"
        "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 1.00 GiB. GPU 0 has a total capacity of 23.65 GiB of which 200.00 "
        "MiB is free. Process 99 has 6.00 GiB memory in use. Including non-PyTorch memory, this process has 17.40 GiB memory in use. Of "
        "the allocated memory 16.80 GiB is allocated by PyTorch, and 100.00 MiB is reserved by PyTorch but unallocated.\n"
    )
    assert {cause.kind for cause in found.causes} == {Kind.ACTIVATIONS, Kind.DEVICE_NOT_FREE}
    assert found.changes[0].setting == "other processes"  # nothing else is known to be enough
    assert all(change.setting not in dict(change.also) for change in found.changes)
