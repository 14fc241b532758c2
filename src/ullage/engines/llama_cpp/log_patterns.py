"""The lines llama.cpp writes about memory, over its builds and forks.

A group is named by the detail it holds and how it is read: ``x_mib`` becomes ``x_bytes`` (MiB, whatever the line calls them), ``x_gib``
likewise, ``x_count`` a whole number called ``x``, ``x_text`` a text called ``x``.
"""

import re
from typing import NamedTuple


class Pattern(NamedTuple):
    """A line of the log: the fact it states and its text."""

    name: str
    text: re.Pattern[str]


def _patterns(name: str, *texts: str) -> tuple[Pattern, ...]:
    return tuple(Pattern(name, re.compile(text)) for text in texts)


_N = r"-?\d{1,15}(?:\.\d{1,6})?"
_D = r"(?P<device_text>[\w.:\[\]-]{1,80})"

ERRORS: tuple[Pattern, ...] = (
    *_patterns(
        "error.device_oom",
        rf"allocating (?P<requested_mib>{_N}) MiB on device (?P<device_count>\d{{1,4}}): (?:cuda|hip)Malloc failed",
        r"(?:CUDA|ROCm|HIP) error: out of memory",
        r"(?:vk::Device::allocateMemory: |vk_)error_?out_?of_?device_?memory|ErrorOutOfDeviceMemory",
        r"UR_RESULT_ERROR_OUT_OF_(?:DEVICE|HOST|)_?(?:MEMORY|RESOURCES)",
        r"Insufficient Memory \(0+8:kIOGPUCommandBufferCallbackErrorOutOfMemory",
        r"(?:cuda|hip)Malloc failed: out of memory",
    ),
    *_patterns(
        "error.host_oom",
        rf"ggml_aligned_malloc: insufficient memory \(attempted to allocate\s+(?P<requested_mib>{_N}) MB\)",
        rf"failed to allocate (?P<requested_mib>{_N}) MB of pinned memory",
    ),
    *_patterns(
        "error.kv_allocation",
        r"failed to allocate buffer for kv cache",
        r"kv cache allocation failed|llama_kv_cache_init\(\) failed",
        r"backend buffer base cannot be NULL",  # a cache of the model's whole length, which the device gave no memory for
    ),
    *_patterns("error.compute_allocation", r"failed to allocate compute (?P<graph_text>pp|tg)? ?buffers"),
    *_patterns("error.state_allocation", r"failed to allocate buffer for rs cache"),
    *_patterns(
        "error.buffer_allocation",
        r"failed to allocate (?P<device_text>\S{1,40}) buffer of size (?P<requested_bytes_count>\d{1,18})",
        r"failed to allocate buffer of size (?P<requested_bytes_count>\d{1,18})",
        r"unable to allocate (?P<device_text>\S{1,40}) buffer",
    ),
    *_patterns(
        "error.context_exceeded",
        r"exceed_context_size_error.{0,200}?n_prompt_tokens\\?\"?: ?"
        r"(?P<prompt_tokens_count>\d{1,9}).{0,80}?n_ctx\\?\"?: ?(?P<context_tokens_count>\d{1,9})",
        r"request \((?P<prompt_tokens_count>\d{1,9}) tokens\) exceeds the available context size \("
        r"(?P<context_tokens_count>\d{1,9}) tokens\)",
        r"the request exceeds the available context size",
    ),
    *_patterns(
        "error.quantized_values",
        r"quantized V cache (?:requires flash_attn|was requested, but this requires Flash)|V cache quantization requires flash_attn",
    ),
    *_patterns(
        "error.cache_type", r"Unsupported cache type:? ?(?P<type_text>\S{0,40})", r"cache type \S+ with block size \d+ does not divide"
    ),
    *_patterns(
        "error.fit", r"failed to fit params to free device memory: (?P<reason_text>.{1,200})", r"was unable to fit model into system memory"
    ),
    *_patterns(
        "error.model_load",
        r"exiting due to model loading error",
        r"error loading model: (?P<reason_text>.{1,200})",
        r"failed to load model",
        r"llama runner process has terminated: (?P<reason_text>.{1,200})",
        r"model requires more system memory \((?P<needed_gib>[\d.]{1,12}) GiB\) than is available"
        r"(?: \((?P<available_gib>[\d.]{1,12}) GiB\))?",
    ),
    *_patterns(
        "error.context",
        r"failed to initialize the context: (?P<reason_text>.{1,200})",
        r"failed to create context with model|failed to create llama_context",
    ),
    *_patterns("error.wrong_cpu", r"Illegal instruction|signal: illegal instruction"),
)

FACTS: tuple[Pattern, ...] = (
    *_patterns("pipeline_retry", r"retrying without pipeline parallelism"),
    *_patterns(
        "weights_bytes",
        rf"(?:load_tensors|llm_load_tensors):\s+{_D}\s+(?:model )?buffer size\s*=\s*(?P<weights_mib>{_N}) MiB",
        rf"^\s*{_D}\s+model\s+buffer size\s*=\s*(?P<weights_mib>{_N}) MiB",
    ),
    *_patterns("kv_bytes", rf"{_D} KV buffer size\s*=\s*(?P<kv_mib>{_N}) MiB"),
    *_patterns("state_bytes", rf"{_D} RS buffer size\s*=\s*(?P<state_mib>{_N}) MiB"),
    *_patterns(
        "kv_total_bytes",
        rf"llama_kv_cache\w*: size\s*=\s*(?P<kv_total_mib>{_N}) MiB \(\s*(?P<cells_count>\d{{1,9}}) cells,\s*"
        rf"(?P<layers_count>\d{{1,5}}) layers,"
        rf"\s*(?P<slots_count>\d{{1,5}})(?:/(?P<streams_count>\d{{1,5}}))? seqs\),?\s*K \((?P<keys_type_text>\w+)\):\s+"
        rf"(?P<keys_mib>{_N}) MiB,"
        rf"\s*V \((?P<values_type_text>\w+)\):\s+(?P<values_mib>{_N}) MiB",
        rf"KV self size\s*=\s*(?P<kv_total_mib>{_N}) MiB(?:, K \((?P<keys_type_text>\w+)\):\s+(?P<keys_mib>{_N}) MiB)?",
    ),
    *_patterns("activation_bytes", rf"{_D}\s+compute buffer size\s*=\s*(?P<activation_mib>{_N}) MiB"),
    *_patterns("output_bytes", rf"{_D}\s+output buffer size\s*=\s*(?P<output_mib>{_N}) MiB"),
    *_patterns("offloaded_layers", r"offloaded (?P<offloaded_layers_count>\d{1,5})/(?P<layers_count>\d{1,5}) layers to GPU"),
    *_patterns(
        "device_free_bytes",
        rf"using device (?P<device_text>\S{{1,60}}) \((?P<card_text>.{{1,120}}?)\)(?: \(.{{1,60}}?\))? - "
        rf"(?P<device_free_mib>{_N}) MiB free",
    ),
    *_patterns(
        "total_bytes",
        r"(?:\|\s+- )?(?P<device_text>[\w.:\[\]-]{1,60}) \((?P<card_text>.{0,120}?)\)\s+\|\s*"
        r"(?P<total_mib>\d{1,9}) =\s*(?P<free_mib>\d{1,18})"
        r" \+ \(\s*(?P<self_mib>\d{1,9}) =\s*(?P<weights_mib>\d{1,9}) \+\s*(?P<context_mib>\d{1,9}) \+\s*(?P<activation_mib>\d{1,9})\)"
        r" \+\s*(?P<unaccounted_mib>-?\d{1,18})",
    ),
    *_patterns(
        "host_bytes",
        r"memory_breakdown_print: \|\s+- (?P<device_text>Host)\s+\|\s*(?P<host_mib>\d{1,9}) =\s*"
        r"(?P<weights_mib>\d{1,9}) \+\s*(?P<context_mib>\d{1,9})"
        r" \+\s*(?P<activation_mib>\d{1,9})",
    ),
    *_patterns(
        "projected_bytes",
        r"projected to use (?P<projected_mib>\d{1,9}) MiB of (?P<device_text>host|device) memory vs\.(?: a total of)? "
        r"(?P<available_mib>\d{1,9}) MiB",
    ),
    *_patterns(
        "fit_shortfall_bytes",
        r"cannot meet free memory target of (?P<target_mib>\d{1,9}) MiB, need to reduce device memory by "
        r"(?P<fit_shortfall_mib>\d{1,9}) MiB",
        r"cannot meet free memory targets on all devices, need to use (?P<fit_shortfall_mib>\d{1,9}) MiB less",
    ),
    *_patterns(
        "fitted_context_tokens",
        r"context size reduced from (?P<original_tokens_count>\d{1,12}) to (?P<fitted_context_tokens_count>\d{1,12})"
        r"(?: -> need (?P<saved_mib>\d{1,9}) MiB less)?",
    ),
    *_patterns("stated_context_tokens", r"context size set by user to (?P<stated_context_tokens_count>\d{1,12}) -> no change"),
    *_patterns(
        "fitted_layers",
        r"- (?P<device_text>\S{1,60}) \(.{0,120}?\):\s+(?P<fitted_layers_count>\d{1,5}) layers(?: \(\s*"
        r"(?P<overflowing_count>\d{1,5}) overflowing\))?,"
        r"\s+(?P<used_mib>\d{1,9}) MiB used,\s+(?P<free_mib>-?\d{1,9}) MiB free",
    ),
    *_patterns("file_bytes", rf"(?:model|file) size\s*=\s*(?P<file_mib>{_N}) MiB", rf"(?:model|file) size\s*=\s*(?P<file_gib>{_N}) GiB"),
    *_patterns("slot_tokens", r"n_ctx_seq\s*=\s*(?P<slot_tokens_count>\d{1,12})\s*$", r"n_ctx_slot = (?P<slot_tokens_count>\d{1,12})"),
    *_patterns("context_tokens", r"n_ctx\s*=\s*(?P<context_tokens_count>\d{1,12})\s*$"),
    *_patterns("step_tokens", r"n_ubatch\s*=\s*(?P<step_tokens_count>\d{1,12})\s*$"),
    *_patterns("model_length_tokens", r"n_ctx_train\s*=\s*(?P<model_length_tokens_count>\d{1,12})\s*$"),
    *_patterns("model_scheme", r"file type\s*=\s*(?P<model_scheme_text>[A-Z][A-Z0-9_]{1,12}(?: - (?:Small|Medium|Large))?)(?![\w ])"),
    *_patterns("model_name", r"general\.name\s+(?:str\s+)?=\s+(?P<model_name_text>\S.{0,100})$"),
    *_patterns(
        "model_file", r"loading model '(?P<model_file_text>[^']{1,300}\.gguf)'", r" tensors from (?P<model_file_text>\S{1,300}\.gguf) \("
    ),
    *_patterns("build", r"build: (?P<build_count>\d{1,6}) \(", r"version: (?P<build_count>\d{3,6}) \("),
    *_patterns("ready", r"server is listening on", r"all slots are idle"),
)
