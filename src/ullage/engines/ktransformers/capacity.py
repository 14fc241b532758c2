"""How long and how many: the classic cache is as long as it was told, the pool of kt-kernel holds what is left."""

from collections.abc import Callable

from ullage.domain.case import Case
from ullage.domain.ledger import Amount, Ledger, Purpose
from ullage.domain.plan import Capacity
from ullage.engines.ktransformers import classic
from ullage.engines.ktransformers.classic_cache import cache_tokens, page_tokens, token_bytes
from ullage.engines.ktransformers.kernel_pool import cache_format, pool, request_rows
from ullage.engines.ktransformers.kernel_pool import token_bytes as pool_token_bytes
from ullage.engines.ktransformers.resolve import context_of, longest
from ullage.engines.ktransformers.versions import Product, product
from ullage.formulas.placement import longest_run
from ullage.frozen import replace

STEP = 256  # lengths tried, in tokens


def capacity(case: Case, planned: Ledger) -> Capacity:
    """What the cache of the case holds."""
    return _classic(case, planned) if product(case) is Product.CLASSIC else _kernel(case)


def _classic(case: Case, planned: Ledger) -> Capacity:
    tokens, least = cache_tokens(case), [planned.of(device.id, Purpose.KV_CACHE) for device in case.devices]
    page = page_tokens(case)
    rows = max(1, tokens // max(1, context_of(case)))
    return Capacity(
        kv_bytes_per_token=token_bytes(case),
        kv_cache_bytes=min(least, key=lambda held: held.expected),
        kv_blocks=Amount.exactly(tokens // page),
        kv_tokens=Amount.exactly(tokens),
        max_context_tokens=Amount.exactly(tokens) if _fits(case, planned, "high") else longest_context(case),
        max_sequences=Amount.exactly(rows if case.settings.has("max_batch_size") else 1),
        block_tokens=page,
    )


def longest_context(case: Case) -> Amount:
    """The longest cache whose whole prompt fits the GPUs, everything else as it is."""
    low, expected, high = (_longest(case, end) for end in ("high", "expected", "low"))
    return Amount(min(low, expected), expected, max(expected, high))


def _longest(case: Case, end: str) -> int:
    steps = max(1, max(longest(case), context_of(case)) // STEP)
    return longest_run(0, steps, lambda count: _fits_at(case, count * STEP, end)) * STEP


def _fits_at(case: Case, tokens: int, end: str) -> bool:
    work = replace(case.workload, context_tokens=tokens, prompt_tokens=None)
    asked = replace(case.with_settings(cache_lens=tokens), workload=work)
    return _fits(asked, classic.ledger(asked), end)


def _fits(case: Case, planned: Ledger, end: str) -> bool:
    need: Callable[[Amount], int] = lambda amount: int(getattr(amount, end))  # noqa: E731 - one word for which end is meant
    return all(need(planned.peak(device.id)) <= device.total_bytes for device in case.devices)


def _kernel(case: Case) -> Capacity:
    pools = [pool(case, device) for device in case.devices]
    least = min(pools, key=lambda found: found.tokens.expected)
    page, context = case.settings.integer("page_size") or 1, context_of(case)
    asked = case.workload.concurrent_sequences * context
    tokens = least.tokens
    return Capacity(
        kv_bytes_per_token=pool_token_bytes(case.model.architecture.layers, cache_format(case)),
        kv_cache_bytes=least.cache,
        kv_blocks=tokens.map(lambda part: part // page),
        kv_tokens=tokens,
        max_context_tokens=tokens,
        max_sequences=tokens.map(lambda part: min(part // context, request_rows(case, part))),
        block_tokens=page,
        needed_bytes=asked * least.token_bytes,
    )
