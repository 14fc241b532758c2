"""The options of the fork's servers and benchmark, and of the script for ``generate``: which matter, and what kind of value each takes."""

import difflib
from typing import Final

# Options that become settings, by the value they take. The others are read past.
COUNTED: Final = frozenset({"max_model_len", "max_num_batched_tokens", "max_num_seqs", "block_size", "num_gpu_blocks_override"})
KEPT: Final = (
    *sorted(COUNTED),
    "load_in_low_bit",
    "dtype",
    "gpu_memory_utilization",
    "kv_cache_dtype",
    "swap_space",
    "enable_chunked_prefill",
    "enforce_eager",
    "max_new_tokens",
    "embedding_qtype",
    "cpu_embedding",
    "mixed_precision",
)
PLACED: Final = {"tensor_parallel_size": "tensor", "pipeline_parallel_size": "pipeline"}
SCRIPT_ONLY: Final = frozenset({"max_new_tokens", "embedding_qtype", "cpu_embedding", "mixed_precision", "concurrency", "context"})
SWITCHES: Final = frozenset(
    """
    enforce_eager enable_chunked_prefill trust_remote_code cpu_embedding mixed_precision disable_log_requests disable_log_stats
    enable_prefix_caching disable_custom_all_reduce worker_use_ray engine_use_ray use_v2_block_manager async_engine disable_sliding_window
    disable_frontend_multiprocessing enable_lora skip_tokenizer_init use_beam_search
    """.split()  # noqa: SIM905 - a list of words reads best as words
)
_PASSED: Final = frozenset(
    """
    model tokenizer served_model_name host port device seed dataset num_prompts input_len output_len backend n output_json api_key
    hf_max_batch_size distributed_executor_backend quantization download_dir load_format revision tokenizer_mode chat_template max_logprobs
    uvicorn_log_level response_role max_seq_len_to_capture cpu_offload_gb num_scheduler_steps preemption_mode
    max_context_len_to_capture tokenizer_revision limit_mm_per_prompt guided_decoding_backend prompt
    """.split()  # noqa: SIM905 - as above
)
KNOWN: Final = frozenset({*KEPT, *PLACED, *SWITCHES, *_PASSED, "concurrency", "context"})
SHORT: Final = {"-tp": "tensor_parallel_size", "-pp": "pipeline_parallel_size", "-q": "quantization"}
INSTEAD: Final = {
    "max_num_batched_token": "max_num_batched_tokens",
    "max_num_seq": "max_num_seqs",
    "low_bit": "load_in_low_bit",
    "gpu_memory_util": "gpu_memory_utilization",
    "max_length": "max_model_len",
}


def meant(name: str) -> tuple[str, ...]:
    """The known options a word stands for: itself, or all that begin like it, as the parser completes them."""
    if name in KNOWN:
        return (name,)
    return tuple(sorted(known for known in KNOWN - SCRIPT_ONLY if name and known.startswith(name)))


def nearest(name: str) -> str | None:
    """The nearest right name of a word that is none."""
    return INSTEAD.get(name) or next(iter(difflib.get_close_matches(name, KNOWN, n=1, cutoff=0.6)), None)


def option(name: str) -> str:
    """The option of a setting, as it is written."""
    return "--" + name.replace("_", "-")
