"""What the static cache holds, and how long a sequence the cards could hold with the layers where they balance."""

from ullage.domain.case import Case
from ullage.domain.ledger import Amount, Ledger, Purpose
from ullage.domain.plan import Capacity
from ullage.engines.exllamav3.place import balanced_spans, is_filled, load_of, placing
from ullage.engines.exllamav3.settings import reserve_bytes
from ullage.engines.exllamav3.units import units
from ullage.engines.exllamav3.versions import CONTEXT
from ullage.formulas.exllama import PAGE_TOKENS
from ullage.frozen import replace


def token_bytes(case: Case) -> int:
    """Cache bytes of one token over all layers that keep pages."""
    return sum(unit.cache_bytes for unit in units(case)) // max(1, case.settings.integer("cache_size") or 1)


def capacity(case: Case, planned: Ledger) -> Capacity:
    """Pages are shared by all jobs; one longer sequence than the cache does not run."""
    size = case.settings.integer("cache_size") or 0
    context = case.workload.context_tokens or case.settings.integer("max_seq_len") or 1
    slots = case.settings.integer("max_batch_size") or 1
    kept = max((planned.of(device.id, Purpose.KV_CACHE).expected // 2 for device in case.devices), default=0)
    pages = -(-context // PAGE_TOKENS)
    asked = pages * PAGE_TOKENS * case.workload.concurrent_sequences
    return Capacity(
        kv_bytes_per_token=token_bytes(case),
        kv_cache_bytes=Amount.exactly(kept),
        kv_blocks=Amount.exactly(size // PAGE_TOKENS),
        kv_tokens=Amount.exactly(size),
        max_context_tokens=_longest(case, size),
        max_sequences=Amount.exactly(min(slots, size // max(1, min(pages * PAGE_TOKENS, size)))),
        block_tokens=PAGE_TOKENS,
        needed_bytes=kept if asked <= size or not size else kept * asked // size + 1,
    )


def _longest(case: Case, size: int) -> Amount:
    """Tokens for which every card still has room: where all is placed by filling, with the layers where they balance."""
    modules, load = units(case), load_of(case)
    spans = balanced_spans(replace(case, stated=frozenset())) if is_filled(case) else placing(case).spans
    reserve = reserve_bytes(case) if is_filled(case) else (0,) * len(case.devices)
    found = []
    for spread in ((CONTEXT.high or 0) - CONTEXT.value, 0, (CONTEXT.low or 0) - CONTEXT.value):
        rooms = []
        for at, (first, end) in enumerate(spans):
            kept = sum(unit.cache_bytes for unit in modules[first:end])
            if kept and size:
                each = -(-kept // size)
                rooms.append(max(0, case.devices[at].total_bytes - reserve[at] - spread - load(at, first, end) + kept) // each)
        found.append(min(rooms, default=case.model.architecture.max_context_tokens or size))
    return Amount(*found)
