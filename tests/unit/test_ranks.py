"""Which rank a figure of a log is of."""

import pytest
from tests.unit.test_serve_record import Kept, ended, recorder, store

from ullage.commands.serve_record import Recorder
from ullage.domain.baseline import OutOfMemory
from ullage.domain.ledger import Purpose
from ullage.domain.placement import Parallel
from ullage.domain.supervision import Kind, Line
from ullage.engines import find
from ullage.planning.ranks import HOST_RANK, rank_of, tagged

__all__ = ["recorder", "store"]  # fixtures
TOOK = "Model loading took 7.6 GiB and 3.2 seconds"
LOADED = "Load weight end. type=X, dtype=torch.bfloat16, avail mem=60.1 GB, mem usage=15.00 GB."


@pytest.mark.parametrize(
    ("engine", "line", "parallel", "rank"),
    [
        ("vllm", f"(Worker_TP1 pid=123) INFO 11-20 10:00:00 [gpu_model_runner.py:3329] {TOOK}", Parallel(tensor=2), 1),
        ("vllm", f"(VllmWorker rank=3 pid=123) INFO 11-20 10:00:00 [gpu_model_runner.py:3329] {TOOK}", Parallel(tensor=4), 3),
        ("vllm", f"(Worker_PP1_TP1 pid=9) INFO 11-20 10:00:00 [gpu_model_runner.py:3329] {TOOK}", Parallel(tensor=2, pipeline=2), 3),
        ("vllm", f"(EngineCore_DP1 pid=9) INFO 11-20 10:00:00 [gpu_model_runner.py:3329] {TOOK}", Parallel(data=2), 1),
        ("vllm", f"INFO 11-20 10:00:00 [gpu_model_runner.py:3329] {TOOK}", Parallel(tensor=2), None),
        ("vllm", f"(Worker_TP0 pid=123) INFO 11-20 10:00:00 [gpu_model_runner.py:3329] {TOOK}", Parallel(), None),
        ("sglang", f"[2026-01-01 10:00:00 TP1] {LOADED}", Parallel(tensor=2), 1),
        ("llama_cpp", "load_tensors:        CUDA1 model buffer size =  4095.05 MiB", Parallel(pipeline=2), 1),
        ("llama_cpp", "load_tensors:   CPU_Mapped model buffer size =  4095.05 MiB", Parallel(pipeline=2), HOST_RANK),
    ],
)
def test_a_figure_is_of_the_worker_that_wrote_it_or_of_the_device_it_names(
    engine: str, line: str, parallel: Parallel, rank: int | None
) -> None:
    fact = find(engine).read_log_line(line)
    assert fact is not None
    assert rank_of(tagged(fact, line, parallel)) == rank


def test_weights_of_every_rank_and_the_card_that_ran_out_are_remembered(recorder: Recorder, store: Kept) -> None:
    lines = (
        f"(Worker_TP0 pid=1) INFO 11-20 10:00:00 [gpu_model_runner.py:3329] {TOOK}",
        f"(Worker_TP1 pid=2) INFO 11-20 10:00:00 [gpu_model_runner.py:3329] {TOOK.replace('7.6', '7.7')}",
        "(Worker_TP1 pid=2) torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 1.50 GiB. GPU 1 has 79.10 GiB in all",
    )
    facts = tuple(fact for line in lines if (fact := recorder.read(line)) is not None)
    for fact in facts:
        recorder.heard(Line(at=2.0, fact=fact))
    recorder.remember(ended(kind=Kind.OUT_OF_MEMORY, facts=facts, code=1))
    (run,) = store.runs.values()
    assert {one.device: round(one.most_bytes / 2**30, 1) for one in run.seen if one.purpose is Purpose.WEIGHTS} == {
        "gpu0": 7.6,
        "gpu1": 7.7,
    }
    (death,) = run.out_of_memory
    assert isinstance(death, OutOfMemory)
    assert death.device == "gpu1"
