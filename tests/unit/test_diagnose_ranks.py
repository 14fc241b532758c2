"""Of several ranks in one log: the budget is that of the one that failed."""

import pytest

from ullage.commands.diagnose import VERB, make_diagnosis
from ullage.domain.cause import Diagnosis
from ullage.domain.ledger import Purpose
from ullage.units import GiB
from ullage.world import real

VLLM = """\
$ vllm serve Qwen/Qwen2.5-72B-Instruct --tensor-parallel-size 4 --gpu-memory-utilization 0.95 --max-model-len 32768
(APIServer pid=1) INFO 10-01 10:00:00 [api_server.py:1] vLLM API server version 0.11.0
(Worker_TP0 pid=10) INFO 10-01 10:00:40 [gpu_model_runner.py:2653] Model loading took 33.9834 GiB and 30.5 seconds
(Worker_TP2 pid=12) INFO 10-01 10:00:40 [gpu_model_runner.py:2653] Model loading took 30.1111 GiB and 31.5 seconds
(Worker_TP1 pid=11) INFO 10-01 10:00:41 [gpu_model_runner.py:2653] Model loading took 31.2222 GiB and 32.5 seconds
(Worker_TP3 pid=13) INFO 10-01 10:00:41 [gpu_model_runner.py:2653] Model loading took 33.9834 GiB and 32.5 seconds
(Worker_TP3 pid=13) INFO 10-01 10:00:50 [gpu_worker.py:298] Available KV cache memory: 38.11 GiB
(EngineCore_DP0 pid=9) INFO 10-01 10:00:51 [kv_cache_utils.py:1087] GPU KV cache size: 499,344 tokens
(APIServer pid=1) INFO:     Application startup complete.
({rank}) ERROR 10-01 10:11:00 [multiproc_executor.py:671] torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 232.00 MiB. \
GPU {card} has a total capacity of 79.19 GiB of which 100.56 MiB is free. Including non-PyTorch memory, this process has 79.00 GiB memory \
in use. Of the allocated memory 72.80 GiB is allocated by PyTorch, and 300.00 MiB is reserved by PyTorch but unallocated.
({after}) ERROR 10-01 10:11:01 [multiproc_executor.py:671] torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 464.00 MiB. \
GPU 3 has a total capacity of 79.19 GiB of which 10.56 MiB is free. Including non-PyTorch memory, this process has 79.10 GiB memory \
in use. Of the allocated memory 72.80 GiB is allocated by PyTorch, and 300.00 MiB is reserved by PyTorch but unallocated.
"""


def diagnosed(text: str) -> Diagnosis:
    return make_diagnosis(VERB.flags({"offline": True}), iter(text.splitlines(keepends=True)), real.world(offline=True))


@pytest.mark.parametrize(
    ("rank", "card", "weights"), [("Worker_TP2 pid=12", 2, 30.1111), ("Worker_TP1 pid=11", 1, 31.2222), ("Launcher pid=3", 1, 31.2222)]
)
def test_the_budget_quotes_the_rank_that_failed_first(rank: str, card: int, weights: float) -> None:
    budget = diagnosed(VLLM.format(rank=rank, card=card, after="Worker_TP3 pid=13")).budget
    assert budget is not None
    assert budget.device == f"gpu{card}"
    assert budget.requested_bytes == 232 << 20
    term = next(term for term in budget.terms if term.purpose is Purpose.WEIGHTS)
    assert term.measured == pytest.approx(weights * GiB, abs=GiB / 1000)
    assert f"{weights}" in term.says


def test_what_the_engine_says_counts_before_what_another_rank_says() -> None:
    budget = diagnosed(VLLM.format(rank="Worker_TP2 pid=12", card=2, after="Worker_TP3 pid=13")).budget
    assert budget is not None
    term = next(term for term in budget.terms if term.purpose is Purpose.KV_CACHE)
    assert "499,344 tokens" in term.says


def test_an_error_without_a_rank_is_of_the_rank_with_its_devices_number() -> None:
    loads = "[2025-08-01 10:00:0{0} TP{0}] Load weight end. type=X, dtype=torch.bfloat16, avail mem=40.0 GB, mem usage={1} GB.\n"
    failed = (
        "Traceback (most recent call last):\ntorch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 1 has a total "
        "capacity of 79.19 GiB of which 1.00 GiB is free. Of the allocated memory 72.80 GiB is allocated by PyTorch, and 300.00 MiB is "
        "reserved by PyTorch but unallocated.\n"
    )
    text = "python -m sglang.launch_server --model-path Qwen/Qwen2.5-72B-Instruct --tp-size 3\n"
    budget = diagnosed(text + "".join(loads.format(rank, 30 + rank) for rank in (0, 1, 2)) + failed).budget
    assert budget is not None
    term = next(term for term in budget.terms if term.purpose is Purpose.WEIGHTS)
    assert term.measured == 31 * GiB


def test_a_device_is_found_by_all_the_degrees_that_its_rank_is_tagged_with() -> None:
    load = "[2025-08-01 10:00:00 {}] Load weight end. type=X, dtype=torch.bfloat16, avail mem=40.0 GB, mem usage={} GB.\n"
    tags = ("PP0 TP0", "PP0 TP1", "PP1 TP0", "PP1 TP1")
    failed = (
        "Traceback (most recent call last):\ntorch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 2 has a total "
        "capacity of 79.19 GiB of which 1.00 GiB is free. Of the allocated memory 72.80 GiB is allocated by PyTorch, and 300.00 MiB is "
        "reserved by PyTorch but unallocated.\n"
    )
    text = "python -m sglang.launch_server --model-path Qwen/Qwen2.5-72B-Instruct --tp-size 2 --pp-size 2\n"
    budget = diagnosed(text + "".join(load.format(tag, 30 + rank) for rank, tag in enumerate(tags)) + failed).budget
    assert budget is not None
    assert next(term.measured for term in budget.terms if term.purpose is Purpose.WEIGHTS) == 32 * GiB


def test_of_many_ranks_the_one_in_the_middle_is_kept_as_well() -> None:
    loads = "".join(
        f"(Worker_TP{rank} pid={100 + rank}) INFO 10-01 10:00:40 [gpu_model_runner.py:2653] Model loading took {10 + rank}.5 GiB and "
        "3.5 seconds\n"
        for rank in range(16)
    )
    failed = (
        "(Worker_TP8 pid=108) ERROR 10-01 10:11:00 [multiproc_executor.py:671] torch.OutOfMemoryError: CUDA out of memory. Tried to "
        "allocate 232.00 MiB. GPU 0 has a total capacity of 79.19 GiB of which 100.56 MiB is free. Including non-PyTorch memory, this "
        "process has 79.00 GiB memory in use. Of the allocated memory 72.80 GiB is allocated by PyTorch, and 300.00 MiB is reserved by "
        "PyTorch but unallocated.\n"
    )
    budget = diagnosed(loads + failed).budget
    assert budget is not None
    assert next(term for term in budget.terms if term.purpose is Purpose.WEIGHTS).measured == round(18.5 * GiB)
