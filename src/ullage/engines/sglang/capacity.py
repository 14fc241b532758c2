"""What the pools hold: tokens as SGLang's own log counts them, sequences, the longest context."""

from ullage.domain.case import Case
from ullage.domain.ledger import NOTHING, Amount, Ledger
from ullage.domain.placement import Parallel
from ullage.domain.plan import Capacity
from ullage.engines.sglang.cache import pools
from ullage.engines.sglang.ranks import Rank, ranks
from ullage.engines.sglang.resolve import attention_data
from ullage.engines.sglang.sizing import Sizes
from ullage.formulas.sharding import ceil_div
from ullage.frozen import replace


def scarcest(case: Case) -> Rank:
    """The rank whose pool holds the fewest bytes; all hold as many tokens."""
    return min(ranks(case), key=lambda rank: (rank.sizes.tokens, rank.sizes.cache_bytes))


def replicas(case: Case) -> int:
    """Pools that serve different requests: replicas of the model, or ranks of data-parallel attention."""
    return case.parallel.data * attention_data(case)


def sequence_tokens(case: Case, tokens: int) -> int:
    """Tokens of the pool one sequence takes, whole pages."""
    page = case.settings.integer("page_size") or 1
    return ceil_div(tokens, page) * page


def needed_bytes(case: Case, rank: Rank) -> int:
    """Cache of one device for the sequences asked for; none where no length was asked. A window costs its share of the pool."""
    tokens = case.workload.context_tokens
    if tokens is None or not rank.pool.cell:
        return 0
    each = ceil_div(case.workload.concurrent_sequences, replicas(case)) * sequence_tokens(case, tokens)
    return round(each * (rank.pool.full + rank.pool.ratio * rank.pool.window))


def model_token_bytes(case: Case) -> int:
    """Cache bytes of one token over all layers of the whole model, before any division."""
    whole = replace(case, parallel=Parallel(), environment=(), settings=case.settings.without("enable_dp_attention", "dp_size"))
    return sum(pool.full + pool.window for pool in pools(whole))


def capacity(case: Case, _ledger: Ledger) -> Capacity:
    """Of the rank that holds least. ``max_sequences`` counts sequences of the asked length, at most ``max_running_requests``."""
    page = case.settings.integer("page_size") or 1
    if not case.devices:
        return Capacity(
            kv_bytes_per_token=model_token_bytes(case),
            kv_cache_bytes=NOTHING,
            kv_blocks=NOTHING,
            kv_tokens=NOTHING,
            max_context_tokens=NOTHING,
            max_sequences=NOTHING,
            block_tokens=page,
        )
    rank = scarcest(case)
    tokens = rank.tokens
    counts = [_sequences(case, rank, sizes) for sizes in (rank.low, rank.sizes, rank.high)]
    length = case.model.architecture.max_context_tokens or case.settings.integer("context_length") or 0
    longest = tokens if rank.pool.cell else Amount(*(length if sizes.slots else 0 for sizes in (rank.low, rank.sizes, rank.high)))
    return Capacity(
        kv_bytes_per_token=model_token_bytes(case),
        kv_cache_bytes=rank.cache,
        kv_blocks=Amount(tokens.low // page, tokens.expected // page, tokens.high // page),
        kv_tokens=tokens,
        max_context_tokens=longest,
        max_sequences=Amount(*counts),
        block_tokens=page,
        needed_bytes=needed_bytes(case, rank),
    )


def _sequences(case: Case, rank: Rank, sizes: Sizes) -> int:
    length = case.workload.context_tokens or case.settings.integer("context_length") or 1
    fitting = sizes.tokens // sequence_tokens(case, length) if rank.pool.cell else sizes.requests
    return max(0, min(fitting, sizes.requests)) * replicas(case)
