"""Each rank's share of the budget: what is fixed, and how many blocks the profile leaves for the cache."""

from functools import lru_cache

from ullage.domain.case import Case
from ullage.domain.ledger import NOTHING, Amount
from ullage.domain.machine import Device
from ullage.engines.vllm import overhead, processor, processor_memory
from ullage.engines.vllm.activation import profile_peak
from ullage.engines.vllm.cache import Pool, pools
from ullage.engines.vllm.resolve import rules
from ullage.engines.vllm.shards import RankWeights, offloaded, rank_weights
from ullage.frozen import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Rank:
    """One device's part: its stage, what is fixed inside the budget, and what the cache gets."""

    device: Device
    weights: RankWeights
    pool: Pool
    budget: int
    fixed: Amount  # inside the budget, beside the cache
    cache: Amount  # bytes of the cache, whole blocks
    blocks: Amount


def budget_bytes(case: Case, device: Device) -> int:
    """``gpu_memory_utilization`` of the total, not of what is free, rounded up."""
    fraction = case.settings.number("gpu_memory_utilization") or 0.0
    return -int(-device.total_bytes * fraction // 1)


def ranks(case: Case) -> tuple[Rank, ...]:
    """Every device of the placement, in order: data-parallel replicas of pipeline stages of tensor-parallel ranks."""
    return _ranks(case)


@lru_cache(maxsize=64)
def _ranks(case: Case) -> tuple[Rank, ...]:
    weights, stage_pools = rank_weights(case), pools(case)
    if processor.on_processor(case):
        return _on_processor(case, weights, stage_pools)
    shared = _shared(case)
    found, known = [], {}
    for index, device in enumerate(case.devices):
        stage = (index // case.parallel.tensor) % case.parallel.pipeline
        key = (stage, device.total_bytes, device.reserved_bytes)
        if key not in known:
            known[key] = _rank(case, device, weights[stage], stage_pools[stage], shared)
        like = known[key]
        found.append(
            Rank(
                device=device,
                weights=like.weights,
                pool=like.pool,
                budget=like.budget,
                fixed=like.fixed,
                cache=like.cache,
                blocks=like.blocks,
            )
        )
    return tuple(found)


def _on_processor(case: Case, weights: tuple[RankWeights, ...], stage_pools: tuple[Pool, ...]) -> tuple[Rank, ...]:
    """Every worker on the one processor: each takes its own share of the same memory."""
    device, found = case.machine.devices[0], []
    for index in range(case.parallel.devices):
        stage = (index // case.parallel.tensor) % case.parallel.pipeline
        pool, fixed = stage_pools[stage], processor_memory.held(case, weights[stage])
        blocks = _processor_blocks(case, pool, device, fixed)
        found.append(
            Rank(
                device=device,
                weights=weights[stage],
                pool=pool,
                budget=processor.share_bytes(case, device),
                fixed=fixed,
                cache=_of_blocks(blocks, pool),
                blocks=blocks,
            )
        )
    return tuple(found)


def _processor_blocks(case: Case, pool: Pool, device: Device, fixed: Amount) -> Amount:
    if not pool.groups:
        return NOTHING
    override, said = case.settings.integer("num_gpu_blocks_override"), processor.stated_bytes(case)
    if override is not None:
        return Amount.exactly(override)
    if said is not None:
        return Amount.exactly(said // pool.block_bytes)
    sizes = (processor.unstated_bytes(case, device, held) for held in (fixed.high, fixed.expected, fixed.low))
    return Amount(*(max(0, size // pool.block_bytes) for size in sizes))


def _of_blocks(blocks: Amount, pool: Pool) -> Amount:
    return blocks.map(lambda count: count * pool.block_bytes)


def _shared(case: Case) -> Amount:
    """What every rank has alike inside the budget, beside weights and cache."""
    fixed = profile_peak(case).amount + overhead.non_torch(case)[1] + overhead.network_inside(case)
    fixed += Amount.exactly(overhead.runner_buffers(case))
    if rules(case).graphs_budgeted:
        fixed += overhead.graphs(case)
    return fixed


def _rank(case: Case, device: Device, weights: RankWeights, pool: Pool, shared: Amount) -> Rank:
    parameters = max(0, weights.nbytes - offloaded(case))
    fixed = shared + Amount.exactly(parameters)
    if rules(case).context_inside:
        fixed += Amount.exactly(device.reserved_bytes) + (NOTHING if rules(case).core == "V0" else overhead.context(case))
    budget = budget_bytes(case, device)
    blocks = _blocks(case, pool, budget, fixed)
    return Rank(device=device, weights=weights, pool=pool, budget=budget, fixed=fixed, cache=_of_blocks(blocks, pool), blocks=blocks)


def _blocks(case: Case, pool: Pool, budget: int, fixed: Amount) -> Amount:
    if not pool.groups:
        return NOTHING
    override, said = case.settings.integer("num_gpu_blocks_override"), case.settings.integer("kv_cache_memory_bytes")
    if override is not None:
        return Amount.exactly(override)
    if said is not None:
        return Amount.exactly(said // pool.block_bytes)
    low, expected, high = ((budget - part) // pool.block_bytes for part in (fixed.high, fixed.expected, fixed.low))
    return Amount(max(low, 0), max(expected, 0), max(high, 0))


def is_capped(case: Case) -> bool:
    """Whether the cache has a stated size instead of filling what is left."""
    if processor.on_processor(case):
        sized = processor.stated_bytes(case) is not None or processor.sizing(case) is not processor.Sizing.SHARE
        return sized or case.settings.integer("num_gpu_blocks_override") is not None
    return case.settings.integer("num_gpu_blocks_override") is not None or case.settings.integer("kv_cache_memory_bytes") is not None
