"""What vLLM's logs are recognised by, what helps when it died, and which of its own advice misleads."""

from typing import Final

from ullage.domain.cause import NAMED, Advice, FirstAid, Hint, Kind, Stage
from ullage.domain.ledger import Purpose
from ullage.engines.vllm.log import READS

_CACHE: Final = frozenset({Kind.CACHE_TOO_SMALL, Kind.NO_ROOM_FOR_CACHE})
_STEP: Final = frozenset({Kind.ACTIVATIONS, Kind.WORKSPACE})
_OVER: Final = frozenset({Kind.GRAPHS, Kind.WORKSPACE, Kind.CACHE_ALLOCATION})
_RUNNING: Final = frozenset({Stage.FIRST_PROMPT, Stage.UNDER_LOAD})
_AFTER_LOADING: Final = frozenset(Stage) - {Stage.LOAD}  # or nobody knows
_NO_SWAP: Final = (0, 17, 2)  # the first release without --swap-space
_SIZING: Final = frozenset({Stage.CACHE, *_RUNNING})
_SEQUENCES: Final = frozenset({Kind.SAMPLER, Kind.ACTIVATIONS, Kind.GRAPHS})


def _hint(kinds: frozenset[Kind] | Kind, setting: str, cost: str, *, up: bool = False, value: str | bool | int | None = None) -> Hint:
    return Hint(kinds=kinds if isinstance(kinds, frozenset) else frozenset({kinds}), setting=setting, cost=cost, up=up, value=value)


def _during(stages: frozenset[Stage], setting: str, cost: str) -> Hint:
    """What helps against too little host memory at these stages, where the processor serves."""
    return Hint(kinds=frozenset({Kind.HOST}), setting=setting, cost=cost, stages=stages)


_HINTS: Final = (
    Hint(
        kinds=frozenset({Kind.NO_ROOM_FOR_CACHE}),
        setting="VLLM_MEMORY_PROFILER_ESTIMATE_CUDAGRAPHS",
        cost="graphs are not counted beforehand: leave room for them with a smaller share",
        value="0",
        since=(0, 18),
        when=Purpose.GRAPHS,
    ),
    Hint(kinds=_CACHE, setting="max_num_batched_tokens", cost="slower prefill of long prompts", when=Purpose.ACTIVATIONS),
    _hint(Kind.CACHE_TOO_SMALL, "max_model_len", "shorter sequences"),
    _hint(_CACHE, "gpu_memory_utilization", "less room for what the profile does not see", up=True),
    _hint(Kind.WEIGHTS, "quantization", "fewer bits a weight: some quality", value="awq"),
    _hint(_CACHE | {Kind.WEIGHTS}, "tensor_parallel_size", "more devices", up=True),
    Hint(kinds=_CACHE, setting="VLLM_CPU_KVCACHE_SPACE", cost="host memory; only where the processor serves", up=True, stated=NAMED),
    _hint(Kind.NO_ROOM_FOR_CACHE, "enforce_eager", "slower decoding without CUDA graphs", value=True),
    Hint(
        kinds=frozenset({Kind.WEIGHTS}),
        setting="dtype",
        cost="16 bits for what was 32",
        value="half",
        only_from=("float", "float32", "fp32"),
    ),
    _hint(Kind.NO_ROOM_FOR_CACHE, "quantization", "fewer bits a weight: some quality", value="awq"),
    _hint(_CACHE, "kv_cache_dtype", "8-bit keys and values: some quality on long contexts", value="fp8"),
    _hint(_OVER, "gpu_memory_utilization", "a smaller cache"),
    _hint(Kind.GRAPHS, "enforce_eager", "slower decoding without CUDA graphs", value=True),
    _hint(_SEQUENCES, "max_num_seqs", "fewer sequences at once"),
    _hint(_STEP, "max_num_batched_tokens", "slower prefill of long prompts"),
    _hint(_STEP, "max_num_seqs", "fewer sequences at once"),
    _hint(Kind.ACTIVATIONS, "max_model_len", "shorter sequences"),
    Hint(
        kinds=frozenset({Kind.WORKSPACE, Kind.ACTIVATIONS}),
        setting="max_model_len",
        cost="shorter sequences",
        stated="length_tokens",
    ),
    *(
        Hint(kinds=_STEP, setting="limit_mm_per_prompt", cost="fewer or smaller images in a request; a text model has none", stated=stated)
        for stated in ("over_device", "pictures")
    ),
    _hint(Kind.ACTIVATIONS, "enforce_eager", "slower decoding without CUDA graphs", value=True),
    _hint(Kind.SAMPLER, "gpu_memory_utilization", "a smaller cache"),
    _hint(Kind.SAMPLER, "max_model_len", "shorter sequences"),
    _hint(Kind.CACHE_ALLOCATION, "enforce_eager", "slower decoding without CUDA graphs", value=True),
    _hint(Kind.CACHE_ALLOCATION, "max_model_len", "shorter sequences"),
    _hint(Kind.WEIGHTS, "cpu_offload_gb", "weights cross the bus at every step", up=True),
    _hint(Kind.NO_ROOM_FOR_CACHE, "max_num_batched_tokens", "slower prefill of long prompts"),
    _hint(Kind.NO_ROOM_FOR_CACHE, "max_num_seqs", "fewer sequences at once"),
    _hint(Kind.DEVICE_NOT_FREE, "gpu_memory_utilization", "a smaller cache"),
    Hint(
        kinds=frozenset({Kind.DEVICE_NOT_FREE}),
        setting="VLLM_CPU_KVCACHE_SPACE",
        cost="a cache of that size: the share of the memory is not looked at; only where the processor serves",
        value="GiB that are free beside the weights",
        stated="node",
    ),
    Hint(
        kinds=frozenset({Kind.HOST, Kind.CACHE_ALLOCATION}),
        setting="VLLM_CPU_KVCACHE_SPACE",
        cost="a smaller cache; only where the processor serves",
        stated="node",
    ),
    _during(_RUNNING, "max_num_batched_tokens", "slower prefill of long prompts"),
    _during(_RUNNING, "max_num_seqs", "fewer sequences at once"),
    _during(_SIZING, "kv_cache_memory_bytes", "a smaller cache; only where the processor serves"),
    _during(_SIZING, "VLLM_CPU_KVCACHE_SPACE", "a smaller cache; only where the processor serves"),
    Hint(kinds=frozenset({Kind.HOST}), setting="swap_space", cost="no swapped blocks", stages=_AFTER_LOADING, before=_NO_SWAP),
    _during(_AFTER_LOADING, "gpu_memory_utilization", "a smaller cache, where host and device share one memory"),
    Hint(kinds=frozenset({Kind.CACHE_PRESSURE}), setting="swap_space", cost="host memory", up=True, stated="swap", before=_NO_SWAP),
    _hint(Kind.CACHE_PRESSURE, "max_num_seqs", "fewer sequences at once"),
    _hint(Kind.CACHE_PRESSURE, "gpu_memory_utilization", "less room for what the profile does not see", up=True),
    _hint(Kind.CACHE_PRESSURE, "tensor_parallel_size", "more devices", up=True),
    _hint(Kind.CACHE_PRESSURE, "kv_cache_dtype", "8-bit keys and values: some quality on long contexts", value="fp8"),
    _hint(Kind.ONE_BLOCK, "max_num_batched_tokens", "slower prefill of long prompts"),
    _hint(Kind.ONE_BLOCK, "max_model_len", "shorter sequences"),
    *(
        Hint(kinds=frozenset({Kind.REQUEST_TOO_LONG}), setting=name, cost="a larger cache of pictures", up=True, stated="encoder_tokens")
        for name in ("limit_mm_per_prompt", "max_num_batched_tokens")  # the larger of one picture and one step
    ),
    _hint(Kind.REQUEST_TOO_LONG, "max_model_len", "more cache a sequence", up=True),
)

FIRST_AID = FirstAid(
    reads=READS,
    fills_budget=True,
    signs=(
        r"vLLM (?:API server )?version v?(?P<version>\d[\w.+]*)",
        r"LLM engine \(v(?P<version>\d[\w.+]*)\)",
        r"vllm[/\\](?:engine|worker|v1|model_executor|entrypoints|attention|executor|lora|utils|platforms)",
        r"\bvllm serve\b|vllm\.(?:entrypoints|_C)|\(EngineCore\w* pid=|\(VllmWorker|\(RayWorker|\(APIServer pid=|\(Worker_\w+ pid=",
        r"\b(?:worker/\w+|core|multiproc_executor|multiproc_worker_utils|kv_cache_utils|async_llm_engine)\.py:\d+\]|cumem_allocator",
        r"aphrodite[/\\]|RayWorkerAphrodite|non_torch_memory takes|enforce-eager|\bvllm(?:==|-)\d|lack of CPU swap space",
        r"\[(?:gpu_worker|core|gpu_model_runner|kv_cache_utils)\.py:\d+\]",
        r"^(?:DEBUG|INFO|WARNING|ERROR|CRITICAL) \d+-\d+ \d+:\d+:\d+ \[?[\w./]{1,80}\.py:\d+\]|\bMQ(?:LLM)?Engine\w*",
        r"gpu_memory_utilization|max_num_batched_tokens|--gpu-memory-utilization|\bblock_manager\b|\bEngineCore\b|\bVLLM_[A-Z]|\bvLLM\b",
        r"\bVllmConfig\b|^vllm: error",
        r"No available memory for the cache blocks|raise_if_cache_size_invalid|max_num_seqs|# (?:GPU|CUDA|cuda) blocks: ",
    ),
    hints=_HINTS,
    arguments=(
        r"args: Namespace\((?P<said>.*)\)",
        r"non-default args: \{(?P<said>.*)\}",
        r"LLM engine \(v[^)]*\) with config: (?P<said>.*)",
    ),
    advice=(
        Advice(
            pattern=r"Try increasing `?gpu_memory_utilization`?",
            why="raising it helps only as far as the card goes; it also takes the room that graphs and prefills need outside the budget",
            kinds=frozenset({Kind.CACHE_TOO_SMALL, Kind.NO_ROOM_FOR_CACHE}),
            gives="share",
        ),
        Advice(
            pattern=r"--kv-cache-memory=-?\d+",
            why="releases 0.28 to 0.33 count the memory of CUDA graphs twice in this figure; what was allocated is right",
        ),
        Advice(
            pattern=r"expandable_segments|PYTORCH_(?:CUDA_|HIP_)?ALLOC_CONF",
            why="this is about fragments of the allocator; the log shows too few of them to make up for what is missing",
            gives="unallocated",
        ),
    ),
)
