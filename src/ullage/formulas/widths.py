"""How many elements a token takes while one layer runs: the widest pair of buffers beside the hidden-sized ones."""

from functools import lru_cache

from ullage.domain.architecture import ExpertFeedForward, LatentAttention, Layer, Recurrent
from ullage.domain.case import Model
from ullage.formulas.sharding import ceil_div, kv_heads_per_rank


@lru_cache(maxsize=512)
def widest_layer(model: Model, tensor: int) -> int:
    """Elements per token of the widest pair of buffers in any layer beside the hidden-sized ones, on one of ``tensor`` ranks."""
    architecture = model.architecture
    distinct = set(architecture.layers)
    return max((max(mixer_width(layer, tensor), feed_width(layer, architecture.hidden_size, tensor)) for layer in distinct), default=0)


def mixer_width(layer: Layer, tensor: int) -> int:
    """Projected q, k, v and the attention's output; for recurrent mixers the in-projection and its convolved copy."""
    width = 0
    for mixer in layer.mixers:
        match mixer:
            case Recurrent():
                width = max(width, 3 * ceil_div(mixer.inner_dim, tensor))
            case LatentAttention():
                heads = ceil_div(mixer.query_heads, tensor)
                width = max(width, heads * (2 * mixer.nope_dim + mixer.rope_dim * 2 + 2 * mixer.value_dim))
            case _:
                heads = ceil_div(mixer.query_heads, tensor)
                kv = kv_heads_per_rank(getattr(mixer, "kv_heads", 1), tensor)
                value = getattr(mixer, "value_dim", mixer.key_dim)
                width = max(width, heads * (mixer.key_dim + value) + kv * (mixer.key_dim + value))
    return width


def feed_width(layer: Layer, hidden: int, tensor: int) -> int:
    """Gate and up fused, and their product; experts keep both for every chosen expert of a token."""
    feed = layer.feed_forward
    match feed:
        case None:
            return 0
        case ExpertFeedForward():
            up = ceil_div((2 if feed.gated else 1) * feed.intermediate, tensor)
            inner = ceil_div(feed.intermediate, tensor)
            routed = feed.experts_per_token * (max(up, hidden) + max(inner, hidden))
            return routed + hidden
        case _:
            return ceil_div((3 if feed.gated else 2) * feed.intermediate, tensor)
