"""What the static cache holds, and how long a sequence these cards could hold with the layers where they are."""

from ullage.catalog.exllama_options import AUTO
from ullage.domain.case import Case
from ullage.domain.ledger import Amount, Ledger, Phase, Purpose
from ullage.domain.plan import Capacity
from ullage.engines.exllamav2.place import balanced_spans, full_load, temporary_bytes
from ullage.engines.exllamav2.settings import cache_bits, cache_tokens, rules
from ullage.engines.exllamav2.units import HALF, units
from ullage.engines.exllamav2.versions import CONTEXT
from ullage.formulas.exllama import PAGE_TOKENS, layer_token_bytes

_ENDS = ("high", "expected", "low")  # the high end of the need is the low end of what fits


def token_bytes(case: Case) -> int:
    """Keys and values of one token over all layers; windows do not shorten this engine's cache."""
    bits = cache_bits(case)
    return sum(layer_token_bytes(layer, bits) for layer in case.model.architecture.layers)


def capacity(case: Case, planned: Ledger) -> Capacity:
    """The cache is made for so many tokens and never grows; it does not fit where more was asked."""
    tokens, each = cache_tokens(case), token_bytes(case)
    context = case.workload.context_tokens or case.settings.integer("max_seq_len") or 1
    kept = max((planned.of(device.id, Purpose.KV_CACHE).expected for device in case.devices), default=0)
    asked = context * case.workload.concurrent_sequences
    longest = _longest(case, planned)
    block = PAGE_TOKENS if rules(case).dynamic else 1
    return Capacity(
        kv_bytes_per_token=each,
        kv_cache_bytes=Amount.exactly(kept),
        kv_blocks=Amount.exactly(tokens // block),
        kv_tokens=Amount.exactly(tokens),
        max_context_tokens=longest,
        max_sequences=Amount.exactly(tokens // max(1, min(context, tokens))),
        block_tokens=block,
        needed_bytes=kept if asked <= tokens or not tokens else kept * asked // tokens + 1,
    )


def _longest(case: Case, planned: Ledger) -> Amount:
    """Tokens for which the fullest card still has room, layers staying where they are."""
    tokens = max(1, cache_tokens(case))
    if case.settings.text("gpu_split") == AUTO:
        return Amount.exactly(_longest_filled(case, tokens))
    found = []
    for end in _ENDS:
        rooms = []
        for device in case.devices:
            growing = sum(getattr(planned.of(device.id, purpose), end) for purpose in (Purpose.KV_CACHE, Purpose.BUFFERS))
            growing -= getattr(planned.of(device.id, Purpose.BUFFERS), end) // 2  # it stands in two phases
            peak = max(getattr(planned.at(device.id, phase), end) for phase in (Phase.RESIDENT, Phase.PREFILL))
            if planned.of(device.id, Purpose.KV_CACHE).expected:
                per_token = _grown(case, growing, tokens)
                rooms.append(max(0, device.total_bytes - peak + per_token * tokens) // max(1, per_token))
        found.append(min(rooms, default=0))
    return Amount(min(found[:2]), found[1], max(found))


def _grown(case: Case, growing: int, tokens: int) -> int:
    """Bytes a card needs for one token more: its cache, and what a quantised cache keeps unpacked."""
    return -(-(growing + temporary_bytes(case)) // tokens)


def _longest_filled(case: Case, tokens: int) -> int:
    """The same for cards that are filled as the model loads, from the placement that balances them."""
    modules = units(case)
    load = full_load(case, modules, largest_scratch=True)
    spread = (CONTEXT.high or 0) - CONTEXT.value
    rooms = []
    for at, (first, end) in enumerate(balanced_spans(case)):
        kept = sum(unit.cache_bytes for unit in modules[first:end])
        if kept:
            each = _grown(case, kept, tokens) + HALF
            rooms.append(max(0, case.devices[at].total_bytes - spread - load(at, first, end) + each * tokens) // each)
    return min(rooms, default=0)
