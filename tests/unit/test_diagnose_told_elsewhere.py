"""Sentences that engines write of memory, of commands and of requests: each alone is understood, whatever else is in the log."""

import pytest
from tests.unit.test_diagnose_forms import diagnosed

from ullage.commands.diagnose import VERB, report
from ullage.domain.cause import Family, Kind, Stage
from ullage.domain.ledger import Purpose

CACHE, DEVICE, COMMAND = Family.CACHE, Family.DEVICE, Family.COMMAND
VLLM_ERROR = "pydantic_core._pydantic_core.ValidationError: 1 validation error for {}\n  Value error, {} [type=value_error, input_value=1]"
TOLD = (
    ("RuntimeError: No enough gpu memory for kv cache.", "lmdeploy", CACHE, Purpose.KV_CACHE),
    ("RuntimeError: No enough gpu memory for state cache.", "lmdeploy", CACHE, Purpose.KV_CACHE),
    ("RuntimeError: No enough gpu memory for runtime.", "lmdeploy", DEVICE, Purpose.ACTIVATIONS),
    ("No enough memory. Update max_prefill_token_num=4096", "lmdeploy", Family.PRESSURE, Purpose.KV_CACHE),
    ("[TensorRT-LLM][ERROR] CUDA runtime error in cudaMallocAsync(ptr, n): out of memory", "tensorrt_llm", DEVICE, Purpose.WEIGHTS),
    ("[TensorRT-LLM] Prompt length (3000) exceeds maximum input length (1024).", "tensorrt_llm", Family.REQUEST, Purpose.KV_CACHE),
    ("vk_error_out_of_device_memory", "llama_cpp", DEVICE, Purpose.WEIGHTS),
    ("hipMalloc failed: 2", None, DEVICE, Purpose.WEIGHTS),
    ('GGML_ASSERT(base != NULL && "backend buffer base cannot be NULL") failed', "llama_cpp", DEVICE, Purpose.KV_CACHE),
    ("ValueError: max_model_len must be a positive integer, got int: -1", None, COMMAND, None),
    ("AssertionError: max_num_seqs must be at least 1", "vllm", COMMAND, None),
    ("ValueError: gpu_memory_utilization must be in (0, 1], got 1.4", "vllm", COMMAND, None),
    ("MemoryError: Memory footprint 123456789 is more than available memory 1234567", "transformers", CACHE, Purpose.KV_CACHE),
    ("terminate called after throwing an instance of 'std::bad_alloc'", None, Family.HOST, Purpose.WEIGHTS),
    ("AssertionError: Torch not compiled with CUDA enabled", None, Family.NOT_MEMORY, None),
    ("RuntimeError: Sleep mode is not supported on current platform.", None, COMMAND, None),
    ("vllm: error: unrecognized arguments: --swap-space 4", "vllm", COMMAND, None),
    (VLLM_ERROR.format("VllmConfig", "what nobody has heard of yet is not supported."), "vllm", COMMAND, None),
    ("  Value error, `page_size` must be one of [16, 32] [type=value_error, input_value=1]", None, COMMAND, None),
    (VLLM_ERROR.format("EngineArgs", "another thing is not supported."), None, COMMAND, None),
    ("ValueError: max_tokens must be at least 1, got 0.", None, Family.REQUEST, Purpose.KV_CACHE),
)


@pytest.mark.parametrize(("text", "engine", "family", "term"), TOLD)
def test_a_sentence_alone_tells_the_engine_the_class_and_the_term(
    text: str, engine: str | None, family: Family, term: Purpose | None
) -> None:
    found = diagnosed(text)
    assert (found.log.engine, found.causes[0].family, found.causes[0].term) == (engine, family, term)


@pytest.mark.parametrize("text", [text for text, _, family, _ in TOLD if family is COMMAND])
def test_a_refused_command_is_refused_at_the_start(text: str) -> None:
    assert diagnosed(text).stage is Stage.START


def test_the_sentence_below_the_headline_of_a_refusal_is_quoted() -> None:
    found = diagnosed(VLLM_ERROR.format("VllmConfig", "what nobody has heard of yet is not supported."))
    assert "heard of yet" in found.causes[0].evidence[1].text


@pytest.mark.parametrize(
    ("text", "engine"),
    [
        ("[TensorRT-LLM][INFO] [MemUsageChange] Allocated 48.30 GiB for max tokens in paged KV cache (98912).", "tensorrt_llm"),
        ("[TensorRT-LLM][INFO] Using 132608 tokens in paged KV cache.", "tensorrt_llm"),
        ("[1] Allocate 69524783104 bytes for k/v cache.", "tensorrt_llm"),
        ("retrying without pipeline parallelism", "llama_cpp"),
    ],
)
def test_what_tells_a_size_or_is_recovered_from_is_a_line_of_the_engine_and_no_failure(text: str, engine: str) -> None:
    found = diagnosed(text)
    assert (found.log.engine, found.causes) == (engine, ())


@pytest.mark.parametrize(
    "text",
    [
        "INFO 11-21 10:02:23 [parallel.py:1] num_heads must be divisible by the tensor parallel size; padding",
        "WARNING: block_size must be a power of 2; 24 is taken as 32",
        "WARNING 11-21 10:02:23 [platform.py:1] A cache of 8 bits is not supported on this platform: 16 are taken",
    ],
)
def test_what_only_names_a_bound_is_no_refusal(text: str) -> None:
    assert not diagnosed(text).causes


def test_a_pool_that_was_measured_is_in_the_budget() -> None:
    found = diagnosed("[TensorRT-LLM][INFO] [MemUsageChange] Allocated 2.00 GiB for max tokens in paged KV cache (98912).")
    assert found.budget is not None
    assert [(term.purpose, term.measured) for term in found.budget.terms] == [(Purpose.KV_CACHE, 2 << 30)]


@pytest.mark.parametrize("text", ["Killed", "zsh: killed     python serve.py", "[1]  + 12345 killed     python serve.py"])
def test_a_kill_without_an_engine_offers_what_any_program_can_do(text: str) -> None:
    found = diagnosed(text)
    assert found.causes[0].kind is Kind.HOST
    assert [change.setting for change in found.changes] == ["other processes", "quantisation of the model", "host memory"]
    assert found.notes == ("the log does not tell which engine wrote it: say it with --engine",)


def test_a_kill_of_an_engine_that_is_known_is_met_with_its_own_settings() -> None:
    found = diagnosed("INFO 11-21 10:02:23 [api_server.py:1] vLLM API server version 0.8.0\nKilled")
    assert "swap_space" in [change.setting for change in found.changes]


def test_lifting_the_limit_that_guards_a_machine_stands_behind_what_takes_less() -> None:
    found = diagnosed(
        "RuntimeError: MPS backend out of memory (MPS allocated: 16.45 GB, other allocations: 1.20 GB, max allowed: 18.13 GB). Tried to "
        "allocate 1.25 GB on private pool. Use PYTORCH_MPS_HIGH_WATERMARK_RATIO=0.0 to disable upper limit for memory allocations (may "
        "cause system failure)."
    )
    assert [change.setting for change in found.changes].index("PYTORCH_MPS_HIGH_WATERMARK_RATIO") == 2
    assert "PYTORCH_MPS_HIGH_WATERMARK_RATIO=0.0" in found.misleading[0].text


ENDS = (
    "main: exiting due to model loading error",
    "Error: llama runner process has terminated: exit status 2",
    "RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}",
)


@pytest.mark.parametrize("text", ENDS)
def test_an_end_whose_reason_is_not_in_the_log_is_an_end_and_no_good_news(text: str) -> None:
    found = diagnosed(f"something else\n{text}")
    assert not found.causes
    assert found.ended is not None
    assert found.ended.line == 2
    assert report(found, VERB.flags({})).exit_code == 1


def test_an_end_whose_reason_is_told_is_not_told_twice() -> None:
    assert diagnosed(f"ggml_vulkan: ErrorOutOfDeviceMemory\n{ENDS[0]}").ended is None


def test_an_end_after_which_a_server_came_up_is_none() -> None:
    assert diagnosed(f"{ENDS[0]}\nmain: server is listening on http://127.0.0.1:8080").ended is None
