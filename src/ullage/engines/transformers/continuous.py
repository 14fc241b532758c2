"""Continuous batching: one pool of pages, planned from what is free after loading.

The arithmetic is that of ``PagedAttentionMemoryHandler`` of transformers 5.20 to 5.23: what a step of ``max_batch_tokens`` tokens
and ``max_requests_per_batch`` rows of logits needs comes first, the rest becomes pages, each of which also pays for the copies that
attention reads it into. Earlier 5.x releases solve a quadratic with another step size and end within a few per cent of it.
"""

from ullage.domain.architecture import ChunkedAttention, FullAttention, SlidingAttention
from ullage.domain.case import Case
from ullage.engines.transformers.cache import cache_format
from ullage.engines.transformers.placement import shares
from ullage.engines.transformers.versions import BATCH_ROWS, PAGE_TOKENS, last_logits_only, rules
from ullage.engines.transformers.weights import activation_bytes
from ullage.formulas.cache import bytes_per_token
from ullage.formulas.sharding import ceil_div
from ullage.frozen import dataclass

INT32, INT64, FLOAT = 4, 8, 4
BLOCKS_PER_REQUEST = 32  # entries of the block table of the fast decoding path
_FLASH = ("flash_attention_2", "flash_attention_3")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """The plan: what may be used, what a step takes, and the pages of the cache."""

    available: int
    step_bytes: int
    page_bytes: int
    page_tokens: int
    pages: int
    batch_tokens: int

    @property
    def cache_bytes(self) -> int:
        """The one pre-allocated tensor."""
        return max(0, self.pages) * self.page_bytes


def is_continuous(case: Case) -> bool:
    """Whether the pool is used."""
    return case.settings.flag("continuous_batching") is True


def percent(case: Case) -> float:
    """The share of the free memory that is planned with."""
    on_host = bool(case.devices) and case.devices[0].kind in {"cpu", "mps"}
    return case.settings.number("max_memory_percent") or (0.6 if on_host else 0.9)


def plan(case: Case) -> Pool:
    """The pool on the first device; continuous batching runs on one."""
    device = case.devices[0]
    weights = next((share.counted for share in shares(case) if share.device == device.id), 0)
    available = int(max(0, device.total_bytes - weights) * percent(case))
    page = case.settings.integer("page_size") or PAGE_TOKENS.value
    tokens = case.settings.integer("max_batch_tokens") or rules(case).batch_tokens
    page_bytes = page * bytes_per_token(case.model.architecture, cache_format(case))
    step = _fixed(case, page_bytes) + tokens * _per_batch_token(case)
    whole_page = page_bytes + page * _per_cache_token(case)
    said = case.settings.integer("num_blocks")
    pages = said if said is not None else (available - step) // max(1, whole_page)
    if said is None:
        masks = _mask_bytes(case, tokens, pages * page)
        pages -= ceil_div(masks, whole_page + _mask_bytes(case, tokens, (pages + 1) * page) - masks)
    return Pool(
        available=available,
        step_bytes=step + _mask_bytes(case, tokens, max(0, pages) * page) + max(0, pages) * (whole_page - page_bytes),
        page_bytes=page_bytes,
        page_tokens=page,
        pages=pages,
        batch_tokens=tokens,
    )


def _heads(case: Case) -> tuple[int, int, int]:
    """Query heads, key/value heads and head size of the first attention layer."""
    for layer in case.model.architecture.layers:
        for mixer in layer.mixers:
            if isinstance(mixer, FullAttention | SlidingAttention | ChunkedAttention):
                return mixer.query_heads, mixer.kv_heads, mixer.key_dim
    return 0, 0, 0


def _is_flash(case: Case) -> bool:
    return case.settings.text("attn_implementation") in _FLASH


def _groups(case: Case) -> int:
    """Kinds of attention, each with a table of its own."""
    kinds = {type(mixer) for layer in case.model.architecture.layers for mixer in layer.mixers}
    return max(1, len(kinds & {FullAttention, SlidingAttention}))


def _sets(case: Case) -> int:
    """Input and output tensors are doubled for asynchronous steps, the default with flash attention."""
    return 2 if _is_flash(case) else 1


def _heads_read(case: Case) -> int:
    query, kv, _ = _heads(case)
    return 2 * kv if _is_flash(case) else 2 * query + kv


def _per_batch_token(case: Case) -> int:
    query, kv, size = _heads(case)
    element, hidden = activation_bytes(case), case.model.architecture.hidden_size
    sliced = last_logits_only(case.model.architecture.model_type, case.version)
    head = 0 if sliced else hidden * element + case.model.architecture.vocab_size * FLOAT
    attention = element * (hidden + query * size + 2 * kv * size + _heads_read(case) * size)
    table = BLOCKS_PER_REQUEST if _is_flash(case) and _groups(case) == 1 else 0
    return max(head, attention) + _sets(case) * (8 * INT32 + _groups(case) * (table * INT32 + 2 * INT64))


def _per_cache_token(case: Case) -> int:
    return _heads_read(case) * _heads(case)[2] * activation_bytes(case) + _sets(case) * _groups(case) * INT64


def _fixed(case: Case, page_bytes: int) -> int:
    architecture = case.model.architecture
    rows = case.settings.integer("max_requests_per_batch") or BATCH_ROWS.value
    row = architecture.hidden_size * activation_bytes(case) + architecture.vocab_size * FLOAT
    return 2 * page_bytes + (rows * row if last_logits_only(architecture.model_type, case.version) else 0)


def _mask_bytes(case: Case, batch_tokens: int, cache_tokens: int) -> int:
    if _is_flash(case):
        return 0
    kinds = {type(mixer) for layer in case.model.architecture.layers for mixer in layer.mixers}
    masks = 2 if SlidingAttention in kinds else 1
    return _sets(case) * masks * activation_bytes(case) * batch_tokens * (max(0, cache_tokens) + batch_tokens)
