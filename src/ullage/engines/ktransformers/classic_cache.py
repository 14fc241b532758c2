"""The static cache of the classic server: as long as ``cache_lens``, whatever is in it."""

from ullage.catalog.tensor_formats import model_dtype
from ullage.domain.architecture import ChunkedAttention, FullAttention, LatentAttention, Layer, SlidingAttention
from ullage.domain.case import Case
from ullage.engines.ktransformers.resolve import BALANCE_SERVE, LOCAL_CHAT, context_of
from ullage.engines.ktransformers.versions import classic_rules
from ullage.formulas.cache import mixer_bytes, pair_bytes
from ullage.formulas.sharding import ceil_div


def page_tokens(case: Case) -> int:
    """Tokens of one page; 1 where the cache is one tensor."""
    if case.settings.text("backend_type") == BALANCE_SERVE:
        return case.settings.integer("page_size") or 256
    return classic_rules(case.version.parts).page_tokens


def cache_tokens(case: Case) -> int:
    """The cache's length in whole pages: ``cache_lens``, or prompt and answer in local_chat."""
    local = case.settings.text("backend_type") == LOCAL_CHAT
    length = context_of(case) if local else case.settings.integer("cache_lens") or context_of(case)
    page = page_tokens(case)
    return ceil_div(length, page) * page


def layer_bytes(case: Case, layer: Layer, tokens: int) -> int:
    """What one layer keeps of ``tokens`` tokens; windows are not cut, and one sequence has the whole cache."""
    fmt, total = model_dtype(case.model.architecture.dtype), 0
    for mixer in layer.mixers:
        match mixer:
            case FullAttention() | SlidingAttention() | ChunkedAttention():
                total += tokens * pair_bytes(mixer, fmt)
            case LatentAttention():
                total += tokens * fmt.nbytes(mixer.latent_dim + mixer.rope_dim)
            case _:
                total += mixer_bytes(mixer, tokens=tokens, fmt=fmt)
    return total


def cache_bytes(case: Case, first: int, end: int, tokens: int) -> int:
    """What the layers from ``first`` to before ``end`` keep."""
    return sum(layer_bytes(case, layer, tokens) for layer in case.model.architecture.layers[first:end])


def token_bytes(case: Case) -> int:
    """What one more token adds over all layers."""
    layers = case.model.architecture.layers
    return cache_bytes(case, 0, len(layers), 2) - cache_bytes(case, 0, len(layers), 1)
