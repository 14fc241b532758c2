"""What the logs of llama.cpp, its forks and Ollama are recognised by, what helps, and which of their own advice misleads."""

from typing import Final

from ullage.domain.cause import NAMED, Advice, FirstAid, Hint, Kind, Stage
from ullage.engines.llama_cpp.log import READS

_DEVICE: Final = frozenset(
    {Kind.WEIGHTS, Kind.CACHE_ALLOCATION, Kind.ACTIVATIONS, Kind.WORKSPACE, Kind.SPILL, Kind.REDUCED, Kind.GRAPHS, Kind.NO_ROOM_FOR_CACHE}
)
_LENGTH: Final = frozenset({Kind.CACHE_ALLOCATION, Kind.REDUCED, Kind.NO_ROOM_FOR_CACHE, Kind.HOST})
_FIRST_AID_HINTS: Final = (
    Hint(kinds=frozenset({Kind.ACTIVATIONS, Kind.ONE_BLOCK}), setting="ubatch_size", cost="slower prefill"),
    Hint(kinds=frozenset({Kind.HOST}), setting="cache_ram", cost="no saved prompts", value=0, stages=frozenset({Stage.UNDER_LOAD})),
    Hint(kinds=frozenset({Kind.HOST}), setting="ubatch_size", cost="slower prefill", stages=frozenset({Stage.PROFILE, Stage.FIRST_PROMPT})),
    Hint(
        kinds=frozenset({Kind.ONE_BLOCK}),
        setting="UR_L0_ENABLE_RELAXED_ALLOCATION_LIMITS",
        cost="only Intel cards read it",
        value="1",
        stated="level_zero",
    ),
    Hint(kinds=_LENGTH, setting="ctx_size", cost="shorter sequences"),
    Hint(kinds=_DEVICE | {Kind.ONE_BLOCK}, setting="n_gpu_layers", cost="layers run on the processor"),
    Hint(
        kinds=frozenset({Kind.HOST}),
        setting="n_gpu_layers",
        cost="memory of the device",
        up=True,
        value="as many as the device holds",
    ),
    Hint(kinds=frozenset({Kind.ACTIVATIONS, Kind.WORKSPACE, Kind.WEIGHTS, Kind.SPILL}), setting="ctx_size", cost="shorter sequences"),
    Hint(
        kinds=_DEVICE,
        setting="tensor_split",
        cost="the other devices hold more",
        value="less for the device that failed",
        stated="other_device",
    ),
    Hint(kinds=_DEVICE - {Kind.WEIGHTS}, setting="n_cpu_moe", cost="experts run on the processor", up=True),
    Hint(kinds=frozenset({Kind.WEIGHTS}), setting="quantisation of the file", cost="fewer bits a weight", value="smaller"),
    Hint(kinds=frozenset({Kind.WEIGHTS}), setting="n_cpu_moe", cost="experts run on the processor", up=True),
    Hint(kinds=frozenset({Kind.CACHE_ALLOCATION, Kind.ACTIVATIONS, Kind.REDUCED}), setting="flash_attn", cost="none", value="on"),
    Hint(kinds=_LENGTH, setting="cache_type_k", cost="coarser keys and values: some quality", value="q8_0"),
    Hint(kinds=_DEVICE | {Kind.HOST, Kind.ONE_BLOCK}, setting="quantisation of the file", cost="fewer bits a weight", value="smaller"),
    Hint(kinds=frozenset({Kind.HOST}), setting="cache_ram", cost="no saved prompts", value=0),
    Hint(kinds=frozenset({Kind.REQUEST_TOO_LONG}), setting="ctx_size", cost="a larger cache", up=True),
    Hint(kinds=frozenset({Kind.REQUEST_TOO_LONG}), setting="n_parallel", cost="fewer sequences at once, each of them longer"),
    Hint(kinds=frozenset({Kind.DEVICE_NOT_FREE}), setting="n_gpu_layers", cost="layers run on the processor"),
    Hint(kinds=frozenset({Kind.ILLEGAL_INSTRUCTION}), setting="build", cost="a binary for this processor", value="GGML_NATIVE=OFF"),
    Hint(kinds=frozenset({Kind.COMMAND}), setting="flash_attn", cost="none where the device has the kernel", value="on", stated=NAMED),
)

FIRST_AID = FirstAid(
    reads=READS,
    signs=(
        r"\bllama[-_](?:server|cli|model_load\w*|kv_cache\w*|context|init_from_model|new_context_with_model|load_model\w*|bench)\b",
        r"\b(?:llm_load_tensors|load_tensors|ggml[-_]\w+|print_info|common_params_fit|memory_breakdown_print|sched_reserve)\b",
        r"(?:build|version): b?(?P<version>\d{3,6}) \(",
        r"-ngl\b|n_gpu_layers|\bn_?ubatch\b|\bcompute buffers?\b|\bvk(?:::|_error_)|slot update_slots|update_slots ?:",
        r"\b(?:UD-)?I?Q\d_(?:K|[01]|X?X?S|M|XL)(?:_\w{1,2})?\b",
        r"\bollama\b|memory\.required\.\w+=|llama runner|\bllama\.cpp\b|\.gguf\b|koboldcpp|llama_params_fit",
        r"(?:CUDA|ROCm|SYCL|Vulkan|Metal)\d?(?:_Host)? (?:KV|model|compute) buffer size|SYCL\d|cudaMalloc failed",
    ),
    hints=_FIRST_AID_HINTS,
    advice=(
        Advice(
            pattern=r"retrying without pipeline parallelism",
            why="this failure is recovered from: it is no death unless another follows",
        ),
    ),
)
