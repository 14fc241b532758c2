"""How SGLang divides what the weights leave: slots of state first, then tokens, then requests."""

from ullage.domain.case import Case
from ullage.engines.sglang.cache import Pool
from ullage.engines.sglang.resolve import attention_data, rules
from ullage.frozen import dataclass

UNSIZED_SLOTS = 512
SLOTS_PER_REQUEST = 3
FEWEST_REQUESTS, MOST_REQUESTS = 2048, 4096
SHARE_OF_REQUESTS = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """Of one rank. ``tokens`` are those of full attention; ``window_tokens`` those of the window pool."""

    tokens: int
    window_tokens: int
    slots: int
    cache_bytes: int
    state_bytes: int
    requests: int


def size(case: Case, pool: Pool, rest: int) -> Sizes:
    """The pools of a rank that has ``rest`` bytes for them; nothing where they do not suffice."""
    slots, state = _state(case, pool, rest)
    left = rest - state
    tokens = int(left // cell_bytes(case, pool)) if pool.cell else 0
    return with_tokens(case, pool, tokens, slots=slots, state=state)


def cell_bytes(case: Case, pool: Pool) -> float:
    """What sizing divides by: a token's bytes, and its part of a draft's cache where the release counts it."""
    return pool.cell * (1 + draft_layers(case) / max(1, pool.layers)) if rules(case).draft_budgeted else pool.cell


def draft_layers(case: Case) -> int:
    """Layers of the draft model that keep keys and values: one, as all multi-token-prediction and EAGLE drafts have."""
    return 0 if case.settings.text("speculative_algorithm") in {None, "NGRAM"} else 1


def with_tokens(case: Case, pool: Pool, tokens: int, *, slots: int, state: int) -> Sizes:
    """The sizes for a number of tokens, capped by ``max_total_tokens`` and cut to whole pages."""
    cap, page = case.settings.integer("max_total_tokens"), case.settings.integer("page_size") or 1
    tokens = max(0, min(tokens, cap) if cap is not None else tokens) // page * page
    window = int(tokens * pool.ratio) // page * page if pool.window else 0
    nbytes = (tokens + page) * pool.full + (window + page) * pool.window if tokens else 0
    return Sizes(
        tokens=tokens,
        window_tokens=window,
        slots=slots,
        cache_bytes=nbytes,
        state_bytes=state if tokens or not pool.cell else 0,
        requests=requests(case, tokens, slots if pool.slot else None),
    )


def _state(case: Case, pool: Pool, rest: int) -> tuple[int, int]:
    """Slots and bytes of recurrent state: as said, by the requests, or by --mamba-full-memory-ratio."""
    if not pool.slot:
        return 0, 0
    data, wanted = attention_data(case), case.settings.integer("max_running_requests")
    drafts = case.settings.integer("speculative_num_draft_tokens") or 0
    said = case.settings.integer("max_mamba_cache_size")
    extra = pool.slot * ((wanted or 0) // data + 1) * drafts if drafts else 0
    if said is not None:
        slots = said // data
    elif not rules(case).state_ratio or (case.settings.flag("disable_radix_cache") and wanted is not None):
        slots = max(1, (wanted or UNSIZED_SLOTS) // data)
    else:
        ratio = case.settings.number("mamba_full_memory_ratio") or 0.9
        slots = max(0, int(((rest - extra) * ratio / (1 + ratio) - pool.slot) // pool.slot))
    return slots, (slots + 1) * pool.slot + extra


def requests(case: Case, tokens: int, slots: int | None) -> int:
    """``max_running_requests`` of one rank: as said, else 512 sequences of the whole length within 2048 to 4096."""
    data, said = attention_data(case), case.settings.integer("max_running_requests")
    length = case.settings.integer("context_length") or 1
    found = max(1, said // data) if said is not None else max(FEWEST_REQUESTS, min(MOST_REQUESTS, tokens * SHARE_OF_REQUESTS // length))
    if rules(case).half_requests:
        found = min(found, tokens // 2)
    if slots is not None:
        per_request = 1 if case.settings.flag("disable_radix_cache") or not rules(case).state_ratio else SLOTS_PER_REQUEST
        found = min(found, slots // per_request)
    return found
