"""Failing reports as logs: the words that are known, alone, and in the whole log that such a run writes.

A whole log has what the engine of that release prints on its way, with the row's own figures, and ends in the row's own error where the
row quotes one, in the engine's sentence for that kind of failure where it only tells of it. The traceback is the way the engine takes
to that failure.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from tests.accuracy.rows import FIELD_LOGS, Row, read_rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """One report as a fragment and as a whole log."""

    row: Row
    fragment: str
    whole: str


def failing() -> tuple[Row, ...]:
    """Every report of a failure for want of memory."""
    return tuple(row for row in read_rows(FIELD_LOGS) if row.failed)


def written(row: Row) -> Written:
    """The report's words, and the log around them."""
    quote = row.text("quote").replace(" ... ", "\n")
    fragment = f"{row.text('reported_error')}\n{quote}\n"
    name = row.text("engine").lower()
    maker = next((make for word, make in _MAKERS if word in name), _plain)
    return Written(row=row, fragment=fragment, whole=maker(row, fragment))


# The functions from the outside in, in which each kind of failure happens.
_VLLM_V1 = ("run_engine_core", "__init__")
_FRAMES_V1 = {
    "oom_weights": (*_VLLM_V1, "init_device", "load_model", "initialize_model", "create_weights"),
    "oom_load": (*_VLLM_V1, "load_model", "load_weights"),
    "oom_startup": (*_VLLM_V1, "_initialize_kv_caches", "determine_available_memory", "profile_run", "_dummy_run", "forward"),
    "oom_activation": (*_VLLM_V1, "_initialize_kv_caches", "determine_available_memory", "profile_run", "_dummy_run", "forward"),
    "oom_warmup": (*_VLLM_V1, "_initialize_kv_caches", "determine_available_memory", "profile_run", "_dummy_run", "forward"),
    "oom_sampler_warmup": (*_VLLM_V1, "_initialize_kv_caches", "initialize_from_config", "compile_or_warm_up_model", "_dummy_sampler_run"),
    "oom_graph_capture": (*_VLLM_V1, "_initialize_kv_caches", "initialize_from_config", "compile_or_warm_up_model", "capture_model"),
    "oom_after_kv": (*_VLLM_V1, "_initialize_kv_caches", "initialize_from_config", "initialize_kv_cache", "_allocate_kv_cache_tensors"),
    "oom_runtime": ("run_busy_loop", "step", "execute_model", "forward"),
    "refused": (*_VLLM_V1, "_initialize_kv_caches", "get_kv_cache_config", "check_enough_kv_cache_memory"),
    "refused_free_memory": (*_VLLM_V1, "_init_executor", "init_device"),
}  # fmt: skip
_FRAMES_V0 = {
    **_FRAMES_V1,
    "oom_startup": (
        "from_engine_args",
        "_initialize_kv_caches",
        "determine_num_available_blocks",
        "profile_run",
        "execute_model",
        "forward",
    ),
    "oom_graph_capture": ("from_engine_args", "_initialize_kv_caches", "initialize_cache", "_warm_up_model", "capture_model", "capture"),
    "refused": ("from_engine_args", "_initialize_kv_caches", "initialize_cache", "raise_if_cache_size_invalid"),
    "oom_runtime": ("run_engine_loop", "step_async", "execute_model", "forward"),
}
_FRAMES_SGLANG = {
    "oom_graph_capture": ("run_scheduler_process", "__init__", "initialize", "init_cuda_graphs", "capture", "capture_one_batch_size"),
    "oom_startup": ("run_scheduler_process", "__init__", "initialize", "init_memory_pool", "_create_buffers"),
    "oom_load": ("run_scheduler_process", "__init__", "initialize", "load_model", "load_weights"),
    "refused": ("run_scheduler_process", "__init__", "initialize", "init_memory_pool"),
    "oom_runtime": ("run_scheduler_process", "event_loop_overlap", "run_batch", "forward_batch_generation", "forward_extend"),
}
_SENTENCES = {
    "refused_no_kv": "ValueError: No available memory for the cache blocks. Try increasing `gpu_memory_utilization` when initializing.",
    "oom_sampler_warmup": "CUDA out of memory occurred when warming up sampler with {seqs} dummy requests. Try lowering `max_num_seqs`.",
}
_OOM = "CUDA out of memory. Tried to allocate 512.00 MiB. GPU 0 has a total capacity of {total} GiB of which 310.25 MiB is free."


def _frames(names: tuple[str, ...]) -> list[str]:
    lines = ["Traceback (most recent call last):"]
    for index, name in enumerate(names):
        lines += [f'  File "/opt/venv/lib/python3.12/site-packages/engine/part_{index}.py", line {100 + index}, in {name}', f"    {name}()"]
    return lines


def _way(table: dict[str, tuple[str, ...]], kind: str) -> tuple[str, ...]:
    return table.get(kind) or table.get(kind.partition("_")[0]) or table.get("oom_startup", ())


def _is_sentence(text: str) -> bool:
    """Whether a report quotes an error rather than tells of it."""
    return bool(re.search(r"Error\b.*:|Tried to allocate|is larger than|Not enough memory|No available memory|failed|cannot|can NOT", text))


def _error(row: Row) -> str:
    said, kind = row.text("reported_error"), row.text("error_kind")
    if _is_sentence(said):
        return said
    total = row.text("gpu_mem_gib_reported") or re.sub(r".*?(\d+)GB.*", r"\1.00", row.text("gpu")) or "24.00"
    sentence = _SENTENCES.get(kind)
    if sentence is not None:
        return sentence.format(seqs=row.text("max_num_seqs") or 1024)
    if kind == "refused_kv_too_small":
        length, tokens = row.text("max_model_len") or "131072", row.text("kv_tokens") or "4096"
        return (
            f"ValueError: The model's max seq len ({length}) is larger than the maximum number of tokens that can be stored in KV cache "
            f"({tokens}). Try increasing `gpu_memory_utilization` or decreasing `max_model_len` when initializing the engine."
        )
    if kind == "oom_host":
        return "Killed"
    return _OOM.format(total=total if re.fullmatch(r"[\d.]+", total) else "24.00")


def _given(row: Row, *pairs: tuple[str, str]) -> str:
    return ", ".join(f"'{name}': {row.text(column)}" for name, column in pairs if row.text(column))


def _vllm(row: Row, fragment: str) -> str:
    kind, is_v1 = row.text("error_kind"), "v1" in row.text("engine").lower()
    version = row.text("engine_version") or ("0.11.0" if is_v1 else "0.6.3")
    arguments = _given(
        row,
        ("tensor_parallel_size", "tp"),
        ("gpu_memory_utilization", "gpu_memory_utilization"),
        ("max_model_len", "max_model_len"),
        ("max_num_seqs", "max_num_seqs"),
        ("max_num_batched_tokens", "max_num_batched_tokens"),
    )
    lines = [
        f"INFO 01-14 12:00:01 [api_server.py:1896] vLLM API server version {version}",
        f"INFO 01-14 12:00:01 [utils.py:328] non-default args: {{'model': '{row.text('model')}', {arguments}}}",
        f"INFO 01-14 12:00:20 [gpu_model_runner.py:2602] Starting to load model {row.text('model')}...",
    ]
    if kind not in {"oom_weights", "oom_load", "refused_free_memory"}:
        if row.text("weights_gib"):
            lines.append(
                f"INFO 01-14 12:01:00 [gpu_model_runner.py:2653] Model loading took {row.text('weights_gib')} GiB and 30.1 seconds"
            )
        lines += _sized(row, kind)
    prefix = "ERROR 01-14 12:02:00 [core.py:708] "
    lines += [prefix + text for text in (*_frames(_way(_FRAMES_V1 if is_v1 else _FRAMES_V0, kind)), _error(row))]
    lines += (
        ["RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {'EngineCore_0': 1}"] if is_v1 else []
    )
    lines.append("resource_tracker.py:279: UserWarning: there appear to be 1 leaked shared_memory objects to clean up at shutdown")
    return "\n".join([*lines[:-1], *_quoted(fragment), lines[-1]]) + "\n"


def _quoted(fragment: str) -> list[str]:
    """What the thread quotes beside the error."""
    return [line for line in fragment.split("\n")[1:] if line and re.search(r"\d.*(?:GiB|MiB|GB|blocks|tokens)|allocate", line)]


def _sized(row: Row, kind: str) -> list[str]:
    lines = []
    if row.text("kv_cache_gib") and kind != "oom_activation":
        lines.append(f"INFO 01-14 12:01:30 [gpu_worker.py:298] Available KV cache memory: {row.text('kv_cache_gib')} GiB")
    if row.text("kv_tokens") and not kind.startswith("refused"):
        lines.append(f"INFO 01-14 12:01:31 [kv_cache_utils.py:1087] GPU KV cache size: {row.whole('kv_tokens'):,} tokens")
    if kind == "oom_runtime":
        lines += [
            "INFO:     Application startup complete.",
            "INFO 01-14 12:03:00 [loggers.py:123] Avg prompt throughput: 512.0 tokens/s, Running: 4 reqs, GPU KV cache usage: 11.0%",
        ]
    return lines


def _sglang(row: Row, fragment: str) -> str:
    kind = row.text("error_kind")
    given = f"mem_fraction_static={row.text('gpu_memory_utilization') or 0.88}, tp_size={row.text('tp') or 1}"
    stamp = "[2025-07-01 12:00:00 TP0] "
    lines = [
        f"[2025-07-01 12:00:00] server_args=ServerArgs(model_path='{row.text('model')}', {given})",
        f"{stamp}Load weight begin. avail mem={row.text('gpu_mem_gib_reported') or '78.50'} GB",
    ]
    if row.text("weights_gib"):
        lines.append(
            f"{stamp}Load weight end. type=Model, dtype=torch.bfloat16, avail mem=9.00 GB, mem usage={row.text('weights_gib')} GB."
        )
    if kind == "oom_graph_capture":
        lines += [
            f"{stamp}KV Cache is allocated. #tokens: 100000, K size: 4.00 GB, V size: 4.00 GB",
            f"{stamp}Memory pool end. avail mem=3.10 GB",
            f"{stamp}Capture cuda graph begin. This can take up to several minutes. avail mem=3.10 GB",
        ]
    said = row.text("reported_error")
    error = (
        said
        if _is_sentence(said) or "Not enough" in said
        else "RuntimeError: Not enough memory. Please try to increase --mem-fraction-static."
    )
    if not kind.startswith("refused") and not _is_sentence(said):
        error = "Exception: Capture cuda graph failed: CUDA out of memory." if kind == "oom_graph_capture" else _error(row)
    text = [f"{stamp}Scheduler hit an exception: Traceback (most recent call last):", *_frames(_way(_FRAMES_SGLANG, kind))[1:], error]
    return (
        "\n".join(
            [
                *lines,
                *text,
                *_quoted(fragment),
                "Killed" if kind == "oom_host" else "[2025-07-01 12:00:09] Received sigquit from a child process.",
            ]
        )
        + "\n"
    )


def _llama_cpp(row: Row, fragment: str) -> str:
    kind = row.text("error_kind")
    lines = [
        "build: 5280 (4f8ad01a) with cc (Ubuntu 13.3.0) 13.3.0 for x86_64-linux-gnu",
        "llama_model_load_from_file_impl: using device CUDA0 (NVIDIA GeForce RTX 3090) - 23871 MiB free",
        f"print_info: general.name = {row.text('model')}",
        "load_tensors: loading model tensors, this can take a while... (mmap = true)",
    ]
    if kind == "oom_compute_buffer" and "cudaMalloc" not in fragment:
        lines += [
            "llama_kv_cache_init: CUDA0 KV buffer size = 1024.00 MiB",
            "ggml_backend_cuda_buffer_type_alloc_buffer: allocating 3300.00 MiB on device 2: cudaMalloc failed: out of memory",
        ]
    if kind == "oom_alloc_4gb_limit":
        lines.append("ggml_sycl: maximum memory allocation size of the device is exceeded by SYCL0 buffer of 4389.00 MiB")
    lines += fragment.strip().split("\n")
    if kind == "oom_compute_buffer":
        lines += [
            "ggml_gallocr_reserve_n: failed to allocate CUDA0 buffer of size 9332336640",
            "graph_reserve: failed to allocate compute buffers",
        ]
    if kind.startswith("oom"):
        lines += ["common_init_from_params: failed to create context with model 'model.gguf'", "main: exiting due to model loading error"]
    return "\n".join(lines) + "\n"


def _framework(row: Row, fragment: str) -> str:
    """Programs around PyTorch whose own words are few: the traceback and the error."""
    kind, name = row.text("error_kind"), row.text("engine").lower()
    way = {
        "oom_weights": ("<module>", "from_pretrained", "_load_pretrained_model", "set_module_tensor_to_device"),
        "oom_load": ("<module>", "load_autosplit", "load_autosplit_gen"),
        "oom_activation": ("<module>", "generate", "greedy_search", "forward"),
        "oom_runtime": ("<module>", "generate", "forward"),
        "oom_startup": ("<module>", "prefill_and_generate", "chunk_prefill", "forward_chunck"),
        "oom_alloc_4gb_limit": ("<module>", "generate", "forward"),
    }.get(kind, ())
    first = {
        "ktransformers": "Injecting model.layers.0 as ktransformers.operators.experts",
        "exllama": f"Loading model with {row.text('engine')}",
    }
    start = next(
        (text for word, text in first.items() if word in name),
        "import intel_extension_for_pytorch as ipex  # ipex_llm" if "ipex" in name else "",
    )
    if "ipex" in name and kind in {"oom_runtime", "oom_activation"} and not _is_sentence(row.text("reported_error")):
        error = "RuntimeError: XPU out of memory. Tried to allocate 1.16 GiB (GPU 0; 15.11 GiB total capacity; 13.80 GiB already allocated)"
    else:
        error = _error(row)
    return "\n".join([start, *_frames(way), error, *_quoted(fragment)]) + "\n"


def _plain(row: Row, fragment: str) -> str:
    """An engine of which nothing is known: what the thread says, and how it ended."""
    return f"{fragment}{_error(row)}\n"


_MAKERS: tuple[tuple[str, Callable[[Row, str], str]], ...] = (
    ("tt-xla", _plain),
    ("verl", _plain),
    ("ipex-llm vllm", _framework),
    ("vllm", _vllm),
    ("aphrodite", _vllm),
    ("sglang", _sglang),
    ("llama.cpp", _llama_cpp),
    ("ollama", _llama_cpp),
    ("koboldcpp", _llama_cpp),
    ("exllama", _framework),
    ("ktransformers", _framework),
    ("ipex", _framework),
    ("transformers", _framework),
)
