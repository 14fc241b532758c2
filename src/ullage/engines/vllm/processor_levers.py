"""What can be changed on a processor: the cache's own size before the share of a memory that everybody uses."""

from collections.abc import Iterator

from ullage.domain.case import Case, Value
from ullage.domain.plan import Lever, Limit
from ullage.engines.vllm.capacity import null_blocks, scarcest, sequence_blocks
from ullage.engines.vllm.processor import SPACE, stated_bytes, takes_bytes
from ullage.engines.vllm.processor_memory import held
from ullage.engines.vllm.ranks import Rank
from ullage.units import GiB, MiB

_COMFORTABLE = 16  # sequences of the whole length that a cache nobody sized is to hold, where there is room
_ROOM_PARTS = 2  # of what is free, the cache takes at most one part in so many unasked


def pool(case: Case) -> Iterator[Lever]:
    """The cache as large as the workload needs, and where nobody asked for more than one sequence as is comfortable."""
    rank = scarcest(case)
    if stated_bytes(case) is not None or not rank.pool.groups or case.settings.has("num_gpu_blocks_override"):
        return
    least, usual = _sizes(case, rank)
    chosen = tuple(dict.fromkeys((usual, least)))
    searched = () if "gpu_memory_utilization" in case.stated else chosen
    if not takes_bytes(case):
        gibs = tuple(dict.fromkeys(str(-(-size // GiB)) for size in chosen))
        yield _lever(SPACE, gibs, gibs)
        return
    yield _lever("kv_cache_memory_bytes", chosen, searched)


def _lever(setting: str, values: tuple[Value, ...], searched: tuple[Value, ...]) -> Lever:
    return Lever(
        setting=setting,
        values=values,
        relieves=frozenset({Limit.CACHE, Limit.WORKSPACE, Limit.HOST}),
        cost="a cache of a stated size, whatever else is free",
        cost_rank=0,
        searched=searched,
    )


def _sizes(case: Case, rank: Rank) -> tuple[int, int]:
    """Bytes for what was asked, and for what is comfortable, in whole MiB."""
    length = max(case.settings.integer("max_model_len") or 1, case.workload.context_tokens or 1)
    null = null_blocks(case)
    each = sequence_blocks(case, rank.pool, length)
    asked = each * max(1, case.workload.concurrent_sequences)
    free = rank.device.total_bytes - rank.device.reserved_bytes - held(case, rank.weights).high * case.parallel.devices
    room = max(0, free // case.parallel.devices // _ROOM_PARTS // rank.pool.block_bytes)
    usual = max(asked, min(each * max(_COMFORTABLE, case.workload.concurrent_sequences), room))
    return _whole((asked + null) * rank.pool.block_bytes), _whole((usual + null) * rank.pool.block_bytes)


def _whole(nbytes: int) -> int:
    return -(-nbytes // MiB) * MiB
