"""What a fact of a log means: the kind of failure, its family, what it is of, and what relieves it."""

from typing import Final

from ullage.catalog.refusals import REFUSALS
from ullage.domain.cause import Family, Kind, Stage
from ullage.domain.ledger import Purpose
from ullage.domain.plan import Limit

# Facts whose name alone tells, whichever engine said them.
KINDS: Final[dict[str, Kind]] = {
    **dict.fromkeys(("error.kv_too_small", "error.window_pool"), Kind.CACHE_TOO_SMALL),
    **dict.fromkeys(
        (
            "error.no_kv_blocks",
            "error.no_kv_memory",
            "error.no_state",
            "error.pool_footprint",
            "error.no_room_for_cache",
            "error.total_tokens",
            "error.kv_over_profiled",
        ),
        Kind.NO_ROOM_FOR_CACHE,
    ),
    **dict.fromkeys(("error.free_memory", "error.unbalanced", "error.profiling"), Kind.DEVICE_NOT_FREE),
    "error.sampler_warmup": Kind.SAMPLER,
    **dict.fromkeys(("error.graph_capture", "error.graph_oom"), Kind.GRAPHS),
    **dict.fromkeys(("error.kv_allocation", "error.state_allocation"), Kind.CACHE_ALLOCATION),
    **dict.fromkeys(("error.compute_allocation", "error.full_layer_slot"), Kind.ACTIVATIONS),
    **dict.fromkeys(("error.split_too_small", "error.no_room", "error.device_too_small"), Kind.PLACEMENT),
    **dict.fromkeys(("error.host_oom", "error.cpu_oom", "error.host_killed", "error.process_memory"), Kind.HOST),
    "error.shared_memory": Kind.SHARED_MEMORY,
    **dict.fromkeys(("error.allocation_limit", "error.one_block"), Kind.ONE_BLOCK),
    **dict.fromkeys(
        ("error.prompt_too_long", "error.context_exceeded", "error.prompt_over_cache", "error.cache_too_small", "error.cache_full"),
        Kind.REQUEST_TOO_LONG,
    ),
    **dict.fromkeys(("error.input_too_long", "error.job_too_long", "error.request_too_long"), Kind.REQUEST_TOO_LONG),
    **dict.fromkeys(
        ("error.swap_space", "error.prefill_oom", "error.decode_oom", "error.pool_full", "error.request_slots", "retracted", "preemptions"),
        Kind.CACHE_PRESSURE,
    ),
    **dict.fromkeys(
        (
            "error.max_len_over_model",
            "error.batched_tokens",
            "error.heads",
            "error.arguments",
            "error.cache_pages",
            "error.batch_too_small",
            "error.too_many_splits",
            "error.cache_kind",
            "error.chunk_size",
            "error.quantized_values",
            "error.cache_type",
            "error.fp8_cache",
            "error.cache_name",
            "error.attention_name",
            "error.flash_attention_dtype",
            "error.disk_offload",
            "error.dual_chunk",
        ),
        Kind.COMMAND,
    ),
    **dict.fromkeys(("error.wrong_cpu", "error.illegal_instruction"), Kind.ILLEGAL_INSTRUCTION),
    **dict.fromkeys((one.fact for one in REFUSALS), Kind.COMMAND),
    "error.kernel_workspace": Kind.WORKSPACE,
    "error.dispatched": Kind.WEIGHTS,
    "error.missing_library": Kind.MISSING_LIBRARY,
    "error.wrong_module": Kind.WRONG_MODULE,
    "error.device_lost": Kind.DEVICE_LOST,
    **dict.fromkeys(("error.driver", "error.unsupported_gpu"), Kind.DRIVER),
    "error.network": Kind.NETWORK,
    **dict.fromkeys(("error.bug", "error.native", "error.shapes"), Kind.BUG),
}
# Errors that say more of what they mean than their kind does.
REFUSED: Final = {one.fact: one for one in REFUSALS}
# A failed allocation on a device, of which the stage tells what it was for.
ALLOCATIONS: Final = frozenset(
    {"error.torch_oom", "error.device_oom", "error.xpu_oom", "error.memory", "error.buffer_allocation", "error.fit"}
)
# More cache was asked for than was profiled: the engine takes what it profiled, where that is anything.
MAY_BE_REDUCED: Final = frozenset({"error.total_tokens", "error.kv_over_profiled"})
HOST_ALLOCATIONS: Final = frozenset({"error.host_oom", "error.cpu_oom"})
# What stands for an error told elsewhere.
WRAPPERS: Final = frozenset({"wrapper", "error.model_load", "error.context"})

BY_STAGE: Final[dict[Stage, Kind]] = {
    Stage.START: Kind.DEVICE_NOT_FREE,
    Stage.LOAD: Kind.WEIGHTS,
    Stage.PROFILE: Kind.ACTIVATIONS,
    Stage.CACHE: Kind.CACHE_ALLOCATION,
    Stage.SAMPLER: Kind.SAMPLER,
    Stage.CAPTURE: Kind.GRAPHS,
    Stage.FIRST_PROMPT: Kind.WORKSPACE,
    Stage.UNDER_LOAD: Kind.WORKSPACE,
    Stage.SHUTDOWN: Kind.WORKSPACE,
}
# What host memory was for, by how far the run was; while loading it is the weights.
HOST_BY_STAGE: Final[dict[Stage, Kind]] = {
    Stage.PROFILE: Kind.ACTIVATIONS,
    Stage.CACHE: Kind.CACHE_ALLOCATION,
    Stage.FIRST_PROMPT: Kind.ACTIVATIONS,
    Stage.UNDER_LOAD: Kind.ACTIVATIONS,
}
# How far a run is that dies so, where nothing else tells.
STAGES: Final[dict[Kind, Stage]] = {
    Kind.CACHE_TOO_SMALL: Stage.CACHE,
    Kind.NO_ROOM_FOR_CACHE: Stage.CACHE,
    Kind.DEVICE_NOT_FREE: Stage.START,
    Kind.SAMPLER: Stage.SAMPLER,
    Kind.GRAPHS: Stage.CAPTURE,
    Kind.CACHE_ALLOCATION: Stage.CACHE,
    Kind.PLACEMENT: Stage.LOAD,
    Kind.WEIGHTS: Stage.LOAD,
    Kind.REDUCED: Stage.LOAD,
    Kind.SPILL: Stage.LOAD,
    Kind.CACHE_PRESSURE: Stage.UNDER_LOAD,
    Kind.REQUEST_TOO_LONG: Stage.FIRST_PROMPT,
    Kind.COMMAND: Stage.START,
    Kind.WRONG_MODULE: Stage.START,
    Kind.MISSING_LIBRARY: Stage.START,
}
FAMILIES: Final[dict[Kind, Family]] = {
    **dict.fromkeys((Kind.CACHE_TOO_SMALL, Kind.NO_ROOM_FOR_CACHE), Family.CACHE),
    **dict.fromkeys(
        (
            Kind.WEIGHTS,
            Kind.ACTIVATIONS,
            Kind.SAMPLER,
            Kind.GRAPHS,
            Kind.CACHE_ALLOCATION,
            Kind.WORKSPACE,
            Kind.PLACEMENT,
            Kind.SPILL,
        ),
        Family.DEVICE,
    ),
    Kind.DEVICE_NOT_FREE: Family.OTHERS,
    **dict.fromkeys((Kind.HOST, Kind.SHARED_MEMORY), Family.HOST),
    Kind.ONE_BLOCK: Family.ONE_BLOCK,
    Kind.REQUEST_TOO_LONG: Family.REQUEST,
    **dict.fromkeys((Kind.CACHE_PRESSURE, Kind.REDUCED), Family.PRESSURE),
    Kind.COMMAND: Family.COMMAND,
}
TERMS: Final[dict[Kind, Purpose]] = {
    **dict.fromkeys(
        (
            Kind.CACHE_TOO_SMALL,
            Kind.NO_ROOM_FOR_CACHE,
            Kind.CACHE_ALLOCATION,
            Kind.REQUEST_TOO_LONG,
            Kind.CACHE_PRESSURE,
            Kind.REDUCED,
            Kind.PLACEMENT,
        ),
        Purpose.KV_CACHE,
    ),
    Kind.DEVICE_NOT_FREE: Purpose.OTHERS,
    **dict.fromkeys((Kind.WEIGHTS, Kind.SPILL, Kind.HOST), Purpose.WEIGHTS),
    **dict.fromkeys((Kind.ACTIVATIONS, Kind.ONE_BLOCK), Purpose.ACTIVATIONS),
    Kind.SAMPLER: Purpose.LOGITS,
    Kind.GRAPHS: Purpose.GRAPHS,
    Kind.WORKSPACE: Purpose.WORKSPACE,
    Kind.SHARED_MEMORY: Purpose.COMMUNICATION,
}
LIMITS: Final[dict[Family, Limit]] = {
    Family.CACHE: Limit.CACHE,
    Family.PRESSURE: Limit.CACHE,
    Family.REQUEST: Limit.CACHE,
    Family.DEVICE: Limit.WORKSPACE,
    Family.OTHERS: Limit.WORKSPACE,
    Family.ONE_BLOCK: Limit.WORKSPACE,
    Family.HOST: Limit.HOST,
    Family.COMMAND: Limit.START,
}
SUMMARIES: Final[dict[Kind, str]] = {
    Kind.CACHE_TOO_SMALL: "the cache that is left is shorter than one sequence of the length asked for",
    Kind.NO_ROOM_FOR_CACHE: "weights and the profiled step leave no memory for the cache inside the engine's share",
    Kind.DEVICE_NOT_FREE: "the device was not free: another process, or an earlier run, holds memory the engine was told to use",
    Kind.WEIGHTS: "the weights do not fit on the device",
    Kind.ACTIVATIONS: "the temporaries of one step do not fit beside the weights",
    Kind.SAMPLER: "the sampler's warm-up over all sequences passes what is left outside the engine's share",
    Kind.GRAPHS: "capturing graphs passes what is left outside the engine's share",
    Kind.CACHE_ALLOCATION: "the cache, allocated in full, does not fit beside the weights",
    Kind.WORKSPACE: "a step while serving needs more than is left outside the engine's share",
    Kind.PLACEMENT: "the devices run out while the layers and their cache are laid on them",
    Kind.SPILL: "more is placed on the device than it has, and the rest lies silently in host memory",
    Kind.HOST: "host memory ran out",
    Kind.SHARED_MEMORY: "the container's shared memory is too small",
    Kind.ONE_BLOCK: "one single block is larger than the platform allows, however much is free",
    Kind.REQUEST_TOO_LONG: "a request is longer than what was set up for one sequence; this is a size and no bug",
    Kind.CACHE_PRESSURE: "the cache is full under this load: sequences are put back and computed again",
    Kind.REDUCED: "the engine found that what was asked does not fit and took less",
    Kind.COMMAND: "the command or the configuration is refused; memory has no part in it",
    Kind.ILLEGAL_INSTRUCTION: "not memory: the binary is built for another processor",
    Kind.MISSING_LIBRARY: "not memory: a library is missing or of the wrong build",
    Kind.WRONG_MODULE: "not memory: the module or program named does not exist in this installation",
    Kind.DEVICE_LOST: "not memory, as a rule: the device was lost by its driver",
    Kind.DRIVER: "not memory: driver and framework do not go together, or there is no device",
    Kind.NETWORK: "not memory: ranks lost each other; look for the first of them that died",
    Kind.BUG: "not memory: a fault of the program",
}

# Errors of one request that end the engine.
_ENDS_ALL: Final = frozenset({"error.cache_too_small"})
# Told of an error that is told elsewhere, or by a kernel and a runtime whose word alone does not tell (planning/failure.py).
_ALONE_NOTHING: Final = frozenset({"error.unbalanced", "error.profiling", "error.host_killed", "error.process_memory"})
_OF_WEIGHTS: Final = frozenset({Kind.WEIGHTS, Kind.PLACEMENT, Kind.CACHE_ALLOCATION})
_PLACED: Final = frozenset({"error.buffer_allocation", "error.fit"})
_NO_DEATHS: Final = frozenset({Family.COMMAND, Family.NOT_MEMORY})


def is_of_requests(name: str) -> bool:
    """Whether an error tells of a request that was refused, and so of no reason why an engine ended."""
    return name not in _ENDS_ALL and (KINDS.get(name) is Kind.REQUEST_TOO_LONG or name == "error.pool_full")


def limit_of(name: str) -> Limit | None:
    """What runs out where an engine's reader gives this error; None where it is no want of memory that ends an engine."""
    if name in ALLOCATIONS:
        return Limit.WEIGHTS if name in _PLACED else Limit.WORKSPACE
    kind = KINDS.get(name)
    if kind is None or name in _ALONE_NOTHING or is_of_requests(name):
        return None
    family = FAMILIES.get(kind, Family.NOT_MEMORY)
    if family in _NO_DEATHS:
        return None
    return Limit.WEIGHTS if kind in _OF_WEIGHTS else LIMITS[family]
