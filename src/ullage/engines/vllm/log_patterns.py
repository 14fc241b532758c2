"""The lines vLLM writes about memory, as patterns over all releases.

A group is named by the detail it holds and how it is read: ``x_gib`` becomes ``x_bytes``, ``x_size`` is a number with its unit and
becomes ``x_bytes``, ``x_percent`` a fraction called ``x``, ``x_count`` a whole number called ``x``, ``x_number`` a number called ``x``,
``x_text`` a text called ``x``. A pattern's own name is that of the detail it is mostly about.
"""

import re

from ullage.frozen import dataclass


@dataclass(frozen=True, slots=True)
class Pattern:
    """A line of the log: the fact it states and its text. A name that is no group's is an event."""

    name: str
    text: re.Pattern[str]


def _pattern(name: str, *texts: str) -> tuple[Pattern, ...]:
    return tuple(Pattern(name, re.compile(text)) for text in texts)


_N = r"-?\d{1,15}(?:\.\d{1,9})?"
_SIZE = rf"{_N} ?(?:[KMGT]i?B|bytes)"

FACTS: tuple[Pattern, ...] = (
    *_pattern("version", r"(?:vLLM API server version|LLM engine \(v)\s*(?P<version_text>\d+(?:\.\d+)+[\w.+]*)"),
    *_pattern(
        "weights_bytes",
        rf"Model loading took (?P<weights_size>{_N} (?:GiB|GB))(?: memory)?(?: and (?P<load_seconds_number>{_N}) seconds)?",
        rf"Loading model weights took (?P<weights_size>{_N} [GM]i?B)",
    ),
    *_pattern(
        "available_kv_bytes",
        rf"model weights take (?P<weights_gib>{_N}) ?GiB; non_torch_memory takes (?P<non_torch_gib>{_N}) ?GiB; PyTorch activation peak "
        rf"memory takes (?P<activation_gib>{_N}) ?GiB; the rest of the memory reserved for KV Cache is (?P<available_kv_gib>{_N}) ?GiB",
        rf"total_gpu_memory=(?P<total_gib>{_N}) ?GiB initial_memory_usage=(?P<initial_gib>{_N}) ?GiB peak_torch_memory="
        rf"(?P<torch_peak_gib>{_N}) ?GiB (?:memory_usage_post_profile=(?P<after_profile_gib>{_N}) ?GiB )?non_torch_memory="
        rf"(?P<non_torch_gib>{_N}) ?GiB kv_cache_size=(?P<available_kv_gib>{_N}) ?GiB"
        rf"(?: gpu_memory_utilization=(?P<utilization_number>{_N}))?",
        rf"Available KV cache memory: (?P<available_kv_gib>{_N}) GiB",
    ),
    *_pattern(
        "budget_bytes",
        rf"total_gpu_memory \((?P<total_gib>{_N}) ?GiB\) x gpu_memory_utilization \((?P<utilization_number>{_N})\) = "
        rf"(?P<budget_gib>{_N}) ?GiB",
    ),
    *_pattern(
        "activation_bytes",
        rf"Total non KV cache memory: (?P<non_kv_gib>{_N}) ?GiB; torch peak memory increase: (?P<activation_gib>{_N}) ?GiB; non-torch "
        rf"forward increase memory: (?P<non_torch_gib>{_N}) ?GiB; weights memory: (?P<weights_gib>{_N}) ?GiB",
        rf"Free memory on device (?:\S+ )?\((?P<free_gib>{_N})/(?P<total_gib>{_N}) GiB\) on startup\. Desired \w+ memory utilization is "
        rf"\((?P<utilization_number>{_N}), (?P<budget_gib>{_N}) GiB\)\. Actual usage is (?:(?P<weights_gib>{_N}) GiB for weights?|"
        rf"(?P<consumed_gib>{_N}) GiB for consumed memory \(weights \+ non-torch\)), (?P<activation_gib>{_N}) GiB for peak activation, "
        rf"(?:(?P<non_torch_gib>{_N}) GiB for non-torch memory, )?and (?P<graph_gib>{_N}) GiB for [A-Za-z ]*?[Gg]raph memory",
    ),
    *_pattern("requests_running", r"SchedulerStats\(num_running_reqs=(?P<requests_running_count>\d+)"),  # told at a death
    *_pattern("kv_blocks", r"# (?:GPU|CUDA|cuda|CPU|XPU) blocks: (?P<kv_blocks_count>\d+)(?:, # CPU blocks: (?P<cpu_blocks_count>\d+))?"),
    *_pattern(
        "kv_tokens",
        r"(?P<device_text>GPU|CPU|XPU|TPU)(?: \+ host)? KV cache size: (?P<kv_tokens_count>[\d,]+) tokens"
        rf"(?:, Maximum concurrency for (?P<max_model_len_count>[\d,]+) tokens per request: (?P<max_concurrency_number>{_N})x)?",
    ),
    *_pattern(
        "max_concurrency",
        rf"Maximum concurrency for (?P<max_model_len_count>[\d,]+) tokens per request: (?P<max_concurrency_number>{_N})x",
    ),
    *_pattern(
        "kv_bytes",
        rf"Initial free memory (?P<free_gib>{_N}) GiB, reserved (?P<kv_gib>{_N}) ?GiB memory for KV Cache as specified by",
        rf"Explicitly set \((?P<kv_gib>{_N})/(?P<total_gib>{_N})\) GiB for KV cache on node (?P<node_count>\d+)",
        rf"Auto set \((?P<kv_gib>{_N})/(?P<total_gib>{_N})\) GiB for KV cache on node (?P<node_count>\d+), with (?P<budget_gib>{_N}) GiB "
        rf"requested memory for the worker\. (?P<non_kv_gib>{_N}) GiB memory was consumed",
        rf"Current kv cache memory in use is (?P<kv_gib>{_N}) GiB",
    ),
    *_pattern(
        "graph_bytes",
        rf"Graph capturing finished in (?P<graph_seconds_number>{_N}) secs, took (?P<graph_gib>{_N}) GiB",
        rf"CUDA graph pool memory: (?P<graph_gib>{_N}) GiB \(actual\), (?P<estimated_graph_gib>{_N}) GiB \(estimated\)",
    ),
    *_pattern("graph_seconds", rf"Graph capturing finished in (?P<graph_seconds_number>{_N}) secs"),
    *_pattern("estimated_graph_bytes", rf"Estimated CUDA graph memory: (?P<estimated_graph_gib>{_N}) GiB"),
    *_pattern(
        "utilization",
        rf"current --gpu-memory-utilization=(?P<utilization_number>{_N}) is equivalent to --gpu-memory-utilization="
        rf"(?P<equivalent_number>{_N})",
    ),
    *_pattern(
        "kv_blocks", r"Overriding num_gpu_blocks=(?P<profiled_blocks_count>\d+) with num_gpu_blocks_override=(?P<kv_blocks_count>\d+)"
    ),
    *_pattern(
        "block_tokens",
        r"Setting attention block size to (?P<block_tokens_count>\d+) tokens",
        r"Setting kv cache block size to (?P<block_tokens_count>\d+) for (?P<backend_text>\S+) backend",
    ),
    *_pattern("mamba_padding", rf"Padding mamba page size by (?P<mamba_padding_percent>{_N})%"),
    *_pattern(
        "padding_layers", rf"Add (?P<padding_layers_count>\d+) padding layers, may waste at most (?P<waste_percent>{_N})% KV cache memory"
    ),
    *_pattern(
        "encoder_tokens",
        r"Encoder cache will be initialized with a budget of (?P<encoder_tokens_count>\d+) tokens, and profiled with "
        r"(?P<items_count>\d+) (?P<modality_text>\w+) items",
    ),
    *_pattern(
        "max_model_len",
        r"Using max model len (?P<max_model_len_count>\d+)",
        rf"Auto-fit max_model_len: reduced from (?P<original_count>\d+) to (?P<max_model_len_count>\d+) to fit in available KV cache "
        rf"memory \((?P<available_size>{_SIZE})\)",
        r"full model context length (?P<max_model_len_count>\d+) fits in available KV cache memory",
    ),
    *_pattern("checkpoint_bytes", rf"Checkpoint size: (?P<checkpoint_gib>{_N}) GiB\. Available RAM: (?P<available_host_gib>{_N}) GiB"),
    *_pattern(
        "sleep_freed_bytes", rf"Sleep mode freed (?P<sleep_freed_gib>{_N}) GiB memory, (?P<in_use_gib>{_N}) GiB memory is still in use"
    ),
    *_pattern("profile_seconds", rf"Memory profiling takes (?P<profile_seconds_number>{_N}) seconds"),
    *_pattern("start_seconds", rf"init engine \([^)]*\) took (?P<start_seconds_number>{_N}) s"),
    *_pattern("preemptions", r"is preempted by PreemptionMode\.\w+ mode.*total_num_cumulative_preemption=(?P<preemptions_count>\d+)"),
)

ERRORS: tuple[Pattern, ...] = (
    *_pattern(
        "error.kv_too_small",
        r"max seq len \((?P<max_model_len_count>\d+)\) is larger than the maximum number of tokens that can be stored in KV cache "
        r"\((?P<kv_tokens_count>\d+)\)",
        rf"max seq len \((?P<max_model_len_count>\d+)\), \(?(?P<needed_size>{_N} (?:GiB|GB)) KV cache is needed(?:, which is larger than "
        rf"the available KV cache memory \((?P<available_size>{_N} (?:GiB|GB))\))?"
        r"(?:.*?the estimated maximum model length is (?P<estimated_max_model_len_count>\d+))?",
    ),
    *_pattern(
        "error.no_kv_blocks",
        r"No available memory for the cache blocks",
        r"Cannot auto-fit max_model_len: not enough",
        rf"worker already uses (?P<used_gib>{_N}) GiB \(model weights and runtime\), more than the (?P<budget_gib>{_N}) GiB of",
    ),
    *_pattern(
        "error.free_memory",
        rf"[Ff]ree memory on device (?:(?P<device_text>[\w:]+) )?\((?P<free_gib>{_N})/(?P<total_gib>{_N}) GiB\) on startup is less than "
        rf"desired \w+ memory utilization \((?P<utilization_number>{_N}), (?P<budget_gib>{_N}) GiB\)",
        rf"Available memory on node (?P<node_count>\d+) \((?P<free_gib>{_N})/(?P<total_gib>{_N}) GiB\) on startup is less than desired "
        rf"\w+ memory utilization \((?P<utilization_number>{_N}), (?P<budget_gib>{_N}) GiB\)",
        rf"Available memory on node (?P<node_count>\d+) \((?P<free_gib>{_N})/(?P<total_gib>{_N}) GiB\) on kv cache allocation is less than "
        rf"requested memory for kv \((?P<requested_gib>{_N}) GiB\)",
        rf"Available memory on node (?P<node_count>\d+) \((?P<free_gib>{_N})/(?P<total_gib>{_N}) GiB\)",
    ),
    *_pattern(
        "error.profiling",
        rf"Error in memory profiling\b\.?(?: Initial free memory:? (?P<initial_free_size>{_N}(?: GiB)?), current free memory:? "
        rf"(?P<free_size>{_N}(?: GiB)?))?",
    ),
    *_pattern("error.sampler_warmup", r"out of memory occurred when warming up sampler with (?P<max_num_seqs_count>\d+) dummy requests"),
    *_pattern(
        "error.max_len_over_model",
        rf"User-specified max_model_len \((?P<max_model_len_count>\d+)\) is greater than the derived max_model_len "
        rf"\(\w+=(?P<model_number>{_N})",
    ),
    *_pattern(
        "error.batched_tokens",
        r"max_num_batched_tokens \((?P<max_num_batched_tokens_count>\d+)\) is smaller than max_model_len \((?P<max_model_len_count>\d+)\)",
        r"max_num_batched_tokens \((?P<max_num_batched_tokens_count>\d+)\) must be greater than or equal to max_num_seqs "
        r"\((?P<max_num_seqs_count>\d+)\)",
    ),
    *_pattern(
        "error.heads",
        r"Total number of attention heads \((?P<heads_count>\d+)\) must be divisible by tensor parallel size "
        r"\((?P<tensor_parallel_size_count>\d+)\)",
    ),
    *_pattern("error.cpu_oom", r"DefaultCPUAllocator: (?:can't|not enough) .*?you tried to allocate (?P<requested_size>\d+ bytes)"),
    *_pattern(
        "error.dual_chunk",
        r"got an unexpected keyword argument '(?P<argument_text>layer_idx|dual_chunk_attention_config)'",
        r"please set VLLM_ATTENTION_BACKEND to DUAL_CHUNK_FLASH_ATTN",
    ),
    *_pattern(
        "error.prompt_too_long",
        r"Input prompt \((?P<prompt_count>\d+) tokens\).*is too long and exceeds",
        r"maximum context length is (?P<max_model_len_count>\d+) tokens\. However, (?:your prompt contains|you requested) (?:at least )?"
        r"(?P<prompt_count>\d+)",
        r"item with length (?P<prompt_count>\d+), which exceeds the pre-allocated encoder cache size (?P<encoder_tokens_count>\d+)",
    ),
    *_pattern("error.arguments", r"error: (?P<message_text>unrecognized arguments: .*|ambiguous option: .*|argument .*)"),
)

# What stands for an error told elsewhere, and what a server says when it stops as it should.
WRAPPERS: tuple[Pattern, ...] = _pattern(
    "wrapper",
    r"Engine core initialization failed",
    r"Worker failed with error",
    r"WorkerProc (?:hit an exception|initialization failed)",
    r"EngineCore (?:encountered|hit|failed|exception)",
    r"Engine(?:Dead|Core)?Error: EngineCore encountered",
    r"Engine process failed to start",
    r"Worker proc \S+ died unexpectedly \(exit code: (?:None|(?P<exit_code_count>-?\d+))\)",
    r"AsyncEngineDeadError|MQEngineDeadError|EngineDeadError",
)
BENIGN: tuple[Pattern, ...] = _pattern(
    "benign",
    r"leaked (?:shared_memory|semaphore) objects to clean up at shutdown",
    r"destroy_process_group\(\) was not called",
    r"process group has NOT been destroyed",
    r"Parent process exited, terminating worker",
    r"Exception ignored in: <",
    r"(?:Shutting down FastAPI HTTP server|Application shutdown complete|Finished server process)",
    r"nanobind: leaked",
)
