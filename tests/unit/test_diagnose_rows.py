"""Whether a change is enough, judged by the size of the allocation that failed."""

import pytest
from tests.unit.test_diagnose import diagnosed, of_file

from ullage.domain.cause import Change, Diagnosis
from ullage.domain.ledger import Purpose
from ullage.domain.plan import Verdict
from ullage.units import GiB, MiB

ARGUMENTS = (
    "(APIServer pid=7) INFO 11-21 10:02:23 [utils.py:233] non-default args: {{'model_tag': 'Qwen/Qwen3-8B', 'model': 'Qwen/Qwen3-8B', "
    "'max_num_seqs': {seqs}, 'max_num_batched_tokens': 4096}}\n"
)
DEATH = (
    "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate {asked}. GPU 0 has a total capacity of 31.50 GiB of which {free} is "
    "free. Of the allocated memory 29.00 GiB is allocated by PyTorch, and 64.00 MiB is reserved by PyTorch but unallocated.\n"
)
STEP = 'Traceback (most recent call last):\n  File "/x/gpu_model_runner.py", line 1, in execute_model\n'


def died(asked: str, free: str, *, seqs: int = 512, step: str = STEP, **options: object) -> Diagnosis:
    return diagnosed(ARGUMENTS.format(seqs=seqs) + step + DEATH.format(asked=asked, free=free), engine="vllm", gpu="5090", **options)


def change(found: Diagnosis, setting: str) -> Change:
    return next(one for one in found.changes if one.setting == setting)


def written(nbytes: int) -> str:
    rounded = -(-nbytes // (2 * MiB)) * 2 * MiB
    return f"{rounded / GiB:.2f} GiB" if rounded >= GiB else f"{rounded / MiB:.2f} MiB"


@pytest.mark.parametrize("each", [2, 4])
@pytest.mark.parametrize("seqs", [512, 640, 1000])
def test_an_allocation_of_rows_of_the_vocabulary_is_of_logits_and_names_the_setting(seqs: int, each: int) -> None:
    found = died(written(seqs * 151936 * each), "64.00 MiB", seqs=seqs)
    assert found.causes[0].term is Purpose.LOGITS
    assert f"{seqs:,} rows (max_num_seqs) x 151,936 tokens of the vocabulary x {each} bytes" in found.causes[0].evidence[0].says
    first = found.changes[0]
    assert first.setting == "max_num_seqs"
    assert first.verdict in {Verdict.FITS, Verdict.TIGHT}


def test_the_rows_are_cut_until_what_failed_fits_in_what_was_free() -> None:
    plenty = change(died("298.00 MiB", "200.00 MiB"), "max_num_seqs")
    little = change(died("298.00 MiB", "22.00 MiB"), "max_num_seqs")
    assert isinstance(plenty.value, int)
    assert isinstance(little.value, int)
    assert 298 * plenty.value / 512 < 200
    assert 298 * little.value / 512 < 22
    assert little.value < plenty.value


def test_an_allocation_of_another_size_is_judged_by_what_is_freed() -> None:
    found = died("311.00 MiB", "22.00 MiB")
    assert found.causes[0].term is not Purpose.LOGITS
    assert "rows" not in found.causes[0].evidence[0].says


def test_an_embedding_that_does_not_fit_is_of_the_weights_though_it_has_as_many_rows_as_a_step() -> None:
    step = 'Traceback (most recent call last):\n  File "/x/loader.py", line 1, in load_model\n'
    assert died(written(4096 * 151936 * 2), "64.00 MiB", step=step).causes[0].term is Purpose.WEIGHTS


def test_the_shipped_sampler_log_is_told_to_take_fewer_sequences() -> None:
    found = change(of_file("vllm_v1_sampler.log"), "max_num_seqs")
    assert (found.value, found.verdict) == (256, Verdict.FITS)
    assert "from 786.0 MiB to 196.5 MiB" in found.says


def test_a_vocabulary_that_is_cut_by_tensor_parallel_makes_rows_of_its_part() -> None:
    said = (
        "[2026-11-20 08:14:02] server_args=ServerArgs(model_path='Qwen/Qwen3-32B', tp_size=2, chunked_prefill_size=8192, device='cuda')\n"
        + STEP.replace("execute_model", "_get_logits")
        + DEATH.format(asked=written(8192 * 151936 // 2 * 2), free="300.00 MiB").replace("31.50", "79.11").replace("29.00", "72.00")
    )
    found = diagnosed(said, engine="sglang")
    assert "8,192 rows (chunked_prefill_size) x 151,936 / 2 tokens of the vocabulary x 2 bytes" in found.causes[0].evidence[0].says
    assert found.changes[0].setting == "chunked_prefill_size"
    assert isinstance(found.changes[0].value, int)
    assert found.changes[0].value <= 8192 * 300 / 1187


def test_a_batch_that_asked_for_all_positions_is_told_a_context_that_fits() -> None:
    said = (
        'Traceback (most recent call last):\n  File "/x/transformers/generation/utils.py", line 2215, in generate\n'
        '  File "/x/transformers/models/llama/modeling_llama.py", line 1210, in forward\n    logits = logits.float()\n'
        + DEATH.format(asked="15.66 GiB", free="1.07 GiB").replace("31.50", "23.64")
    )
    found = diagnosed(said, engine="transformers", model="Llama-3.1-8B-Instruct", gpu="4090", context="32768")
    assert (found.causes[0].term, found.changes[0].setting) == (Purpose.LOGITS, "context")
    assert found.changes[0].verdict is Verdict.FITS
    assert not any(one.setting == "concurrency" for one in found.changes)  # there is one sequence


def test_what_is_not_made_at_all_any_more_is_enough_and_what_an_engine_had_passed_is_no_reason() -> None:
    said = (
        "(APIServer pid=7) INFO 11-21 10:02:23 [utils.py:233] non-default args: {'model_tag': 'Qwen/Qwen2.5-32B-Instruct', 'model': "
        "'Qwen/Qwen2.5-32B-Instruct', 'max_model_len': 32768, 'tensor_parallel_size': 2, 'gpu_memory_utilization': 0.97}\n"
        + STEP.replace("execute_model", "capture_model")
        + DEATH.format(asked="34.00 MiB", free="21.31 MiB").replace("31.50", "23.52")
    )
    found = diagnosed(said, engine="vllm", engine_version="0.11.0", quant="awq")
    assert change(found, "enforce_eager").verdict in {Verdict.FITS, Verdict.TIGHT}
    assert all("refuses to start" not in one.says for one in found.changes)
    assert all(": gpu0 still needs" in one.says for one in found.changes if one.verdict is Verdict.DOES_NOT_FIT)
