"""What a plan's own sizes and release say of an allocation that failed and that no traceback explains."""

import pytest

from ullage.commands.diagnose import VERB, make_diagnosis
from ullage.domain.cause import Diagnosis, Kind
from ullage.domain.ledger import Purpose
from ullage.world import real

START = (
    "python ktransformers/server/main.py --port 10002 --model_path deepseek-ai/DeepSeek-Coder-V2-Instruct --gguf_path /m "
    "--cache_lens 16384 --max_new_tokens 16384\nInjecting model as default\n"
)
FAILED = (
    "torch.cuda.OutOfMemoryError: CUDA out of memory. Tried to allocate {} GiB. GPU 0 has a total capacity of 23.65 GiB of which 3.10 GiB "
    "is free. Of the allocated memory {} GiB is allocated by PyTorch, and 500.00 MiB is reserved by PyTorch but unallocated.\n"
)
OF_THE_FORK = {"mem_fraction_static", "chunked_prefill_size", "kt_num_gpu_experts"}


def diagnosed(text: str, **options: object) -> Diagnosis:
    flags = VERB.flags({"offline": True, **options})
    return make_diagnosis(flags, iter(text.splitlines(keepends=True)), real.world(offline=True))


def test_the_term_that_overflowed_is_the_one_that_holds_a_piece_so_large() -> None:
    found = diagnosed(START + FAILED.format("7.81", "19.00"), engine_version="0.1.4")
    assert found.causes[0].term is Purpose.WORKSPACE
    assert "workspace" in found.causes[0].evidence[0].says
    assert found.budget is not None
    over = [term for term in found.budget.terms if term.overflowed]
    assert [term.purpose for term in over] == [Purpose.WORKSPACE]
    assert over[0].predicted is not None
    assert over[0].predicted.high >= (found.budget.requested_bytes or 0)


def test_temporaries_that_the_engine_counts_under_one_name_only_overflow_under_that() -> None:
    found = diagnosed(START + FAILED.format("7.81", "19.00"))
    assert found.budget is not None
    over = [term for term in found.budget.terms if term.overflowed]
    assert over
    assert all(term.predicted is not None for term in over)


@pytest.mark.parametrize(("held", "kinds"), [("19.00", [Kind.ACTIVATIONS]), ("4.00", [Kind.WEIGHTS, Kind.ACTIVATIONS])])
def test_weights_that_are_all_there_are_no_explanation(held: str, kinds: list[Kind]) -> None:
    found = diagnosed(START + FAILED.format("7.81", held), engine_version="0.1.4")
    assert [cause.kind for cause in found.causes] == kinds


def test_settings_of_another_release_are_not_proposed() -> None:
    old = diagnosed(START + FAILED.format("7.81", "19.00"), engine_version="0.1.4")
    assert not {change.setting for change in old.changes} & OF_THE_FORK
    assert "cache_lens" in {change.setting for change in old.changes}
    fork = diagnosed("ktransformers version 0.5.1\n" + FAILED.format("7.81", "19.00"), engine="ktransformers", engine_version="0.5.1")
    assert {change.setting for change in fork.changes} & OF_THE_FORK


@pytest.mark.parametrize(("release", "offered"), [("0.9.2", ["swap_space"]), ("0.25.0", [])])
def test_swap_space_is_proposed_to_releases_that_have_it(release: str, offered: list[str]) -> None:
    found = diagnosed(
        f"INFO 01-01 10:00:00 [api_server.py:1] vLLM API server version {release}\n"
        "RuntimeError: [enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate "
        "8589934592 bytes. Error code 12 (Cannot allocate memory)\n"
    )
    assert [change.setting for change in found.changes if change.setting == "swap_space"] == offered


BREAKDOWN = (
    "llama_memory_breakdown_print: | memory breakdown [MiB] | total    free     self   model   context   compute    unaccounted |\n"
    "llama_memory_breakdown_print: |   - CUDA0 (RTX 5090)   | 32111 = {} + (33975 = 16386 +   16832 +     756) +      {} |\n"
    "llama_memory_breakdown_print: |   - Host               |                  1234 =   682 +       0 +     552                |\n"
)


@pytest.mark.parametrize(
    ("free", "rest", "kind"),
    [
        (31153, -33017, Kind.REDUCED),
        (0, -1864, Kind.SPILL),
        (17592186042552, 17, Kind.SPILL),
    ],  # before it is loaded, and after; below nothing
)
def test_what_a_device_is_to_hold_is_told_from_what_it_holds(free: int, rest: int, kind: Kind) -> None:
    assert diagnosed(BREAKDOWN.format(free, rest)).causes[0].kind is kind


def test_a_breakdowns_terms_are_those_of_the_device_and_not_of_the_host() -> None:
    budget = diagnosed(BREAKDOWN.format(31153, -33017)).budget
    assert budget is not None
    assert budget.device == "gpu0"
    measured = {term.purpose: (term.measured or 0) >> 20 for term in budget.terms}
    assert measured == {Purpose.WEIGHTS: 16386, Purpose.KV_CACHE: 16832, Purpose.ACTIVATIONS: 756}


S2 = (
    "$ python -m vllm.entrypoints.openai.api_server --model Qwen/Qwen1.5-7B-Chat\n"
    "INFO 04-11 10:00:01 api_server.py:149] vLLM API server version 0.4.0\n"
    "INFO 04-11 10:00:09 model_runner.py:97] Loading model weights took 14.3919 GB\n"
    "ValueError: The model's max seq len (32768) is larger than the maximum number of tokens that can be stored in KV cache (7344). Try "
    "increasing `gpu_memory_utilization` or decreasing `max_model_len` when initializing the engine.\n"
)


def test_without_a_device_what_does_not_depend_on_it_is_said() -> None:
    found = diagnosed(S2)
    assert found.model == "Qwen/Qwen1.5-7B-Chat"
    assert found.causes[0].lacking_bytes == (32768 - 7344) * 512 * 1024
    assert found.budget is not None
    assert found.budget.total_bytes is None
    terms = {term.purpose: term for term in found.budget.terms}
    weights, cache = terms[Purpose.WEIGHTS], terms[Purpose.KV_CACHE]
    assert weights.predicted is not None
    assert weights.measured == pytest.approx(weights.predicted.expected, rel=0.01)
    assert cache.measured == pytest.approx(7344 * 512 * 1024, rel=0.01)
    assert cache.predicted is None
    assert all(change.verdict is None for change in found.changes)
    assert any("--gpu" in note for note in found.notes)
