"""What the pool holds: blocks, tokens as the engine's own log counts them, sequences, the longest context."""

from functools import partial

from ullage.domain.case import Case
from ullage.domain.ledger import Ledger
from ullage.domain.placement import Parallel
from ullage.domain.plan import Capacity
from ullage.engines.vllm.cache import Pool, in_flight_tokens, pools, spare_states
from ullage.engines.vllm.ranks import Rank, ranks
from ullage.engines.vllm.resolve import rules
from ullage.engines.vllm.versions import Core
from ullage.frozen import replace


def scarcest(case: Case) -> Rank:
    """The rank with the fewest blocks: every rank uses as many as this one has."""
    return min(ranks(case), key=lambda rank: (rank.blocks.expected, rank.blocks.low))


def sequence_blocks(case: Case, pool: Pool, tokens: int) -> int:
    """Blocks one sequence of ``tokens`` takes over all groups of the pool."""
    return pool.blocks_for(tokens, in_flight=in_flight_tokens(case), spare_states=spare_states(case))


def null_blocks(case: Case) -> int:
    """Blocks of the pool that no sequence gets: V1 keeps the first as a placeholder (vllm-project/vllm#35541)."""
    return 1 if rules(case).core is Core.V1 else 0


def usable_blocks(case: Case, blocks: int) -> int:
    """Blocks that sequences can have."""
    return max(0, blocks - null_blocks(case))


def checked_blocks(case: Case, blocks: int) -> int:
    """Blocks that the check at start takes for usable: only newer releases leave the null block out."""
    return max(0, blocks - (1 if rules(case).null_block else 0))


def longest(case: Case, pool: Pool, usable: int) -> int:
    """The longest single sequence that so many blocks hold, by bisection: a longer one never needs fewer blocks."""
    if not pool.groups or sequence_blocks(case, pool, 1) > usable:
        return 0
    growing = [group for group in pool.groups if group.kind != "state" and group.kept_tokens is None]
    if not growing:  # windows and states stop growing at a length, and the pool may be smaller still
        return _bisect(case, pool, usable, case.model.architecture.max_context_tokens or case.settings.integer("max_model_len") or 0)
    if len(growing) == len(pool.groups) == 1:
        return usable * growing[0].block_tokens
    return _bisect(case, pool, usable, usable * max(group.block_tokens for group in growing))


def _bisect(case: Case, pool: Pool, usable: int, most: int) -> int:
    """The largest length of at most ``most`` whose blocks fit ``usable``."""
    in_flight, spare = in_flight_tokens(case), spare_states(case)
    low, high = 1, most
    while low < high:
        middle = (low + high + 1) // 2
        if pool.blocks_for(middle, in_flight=in_flight, spare_states=spare) <= usable:
            low = middle
        else:
            high = middle - 1
    return low


def stated_tokens(case: Case, pool: Pool, blocks: int) -> int:
    """The engine's own figure for the size of its cache in tokens."""
    if not pool.groups:
        return 0
    length = case.settings.integer("max_model_len") or 1
    if rules(case).tokens_by_concurrency:
        need = sequence_blocks(case, pool, length)
        return int(blocks / need * length) if need else 0  # in floating point, as the engine reckons it
    return blocks // len(pool.groups) * pool.block_tokens


def model_token_bytes(case: Case) -> int:
    """Cache bytes of one token over all layers of the whole model, before any division."""
    whole = replace(case, parallel=Parallel(), environment=())
    return sum(pool.token_bytes for pool in pools(whole))


def capacity(case: Case, _ledger: Ledger) -> Capacity:
    """Of the rank that holds least. ``max_sequences`` counts sequences of the asked context, at most ``max_num_seqs``."""
    rank = scarcest(case)
    pool, blocks = rank.pool, rank.blocks
    context = case.workload.context_tokens or case.settings.integer("max_model_len") or 1
    each = sequence_blocks(case, pool, context) if pool.groups else 0
    slots = (case.settings.integer("max_num_seqs") or 1) * case.parallel.data

    def sequences(count: int) -> int:
        return min(slots, usable_blocks(case, count) // each * case.parallel.data) if each else slots

    return Capacity(
        kv_bytes_per_token=model_token_bytes(case),
        kv_cache_bytes=rank.cache,
        kv_blocks=blocks,
        kv_tokens=blocks.map(partial(stated_tokens, case, pool)),
        max_context_tokens=blocks.map(lambda count: longest(case, pool, usable_blocks(case, count))),
        max_sequences=blocks.map(sequences),
        block_tokens=pool.block_tokens,
        needed_bytes=each * pool.block_bytes * -(-case.workload.concurrent_sequences // case.parallel.data),
        withheld_bytes=null_blocks(case) * pool.block_bytes if pool.groups else 0,
    )
