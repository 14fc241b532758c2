"""The scratch in which a quantised cache becomes numbers, tile by tile; the runtime cuts by the same functions."""

from collections.abc import Iterator
from functools import lru_cache

from ullage.domain.architecture import Architecture, FullAttention, LatentAttention, SlidingAttention
from ullage.engines.runtime.pages import Rows
from ullage.engines.runtime.transient import FLOAT, PIECE_KEYS

TILE_BYTES = 4 << 20  # of numbers in float32 that single queries meet: what stays in a core's own memory is multiplied fastest
SCORED_KEYS = 16384  # keys whose logits are held at a time, in float32
_LEAST_KEYS = 64


def tile_keys(pairs: int, width: int) -> int:
    """Keys of one tile for so many sequences times heads, a power of two."""
    keys = max(_LEAST_KEYS, TILE_BYTES // (pairs * width * FLOAT))
    return min(SCORED_KEYS, 1 << (keys.bit_length() - 1))


def single_rows_bytes(*, lanes: int, kv_heads: int, query_heads: int, key_dim: int, value_dim: int, context: int) -> int:
    """Scratch of single queries of ``lanes`` sequences: a tile of numbers (and what int4 has on its way), and the logits."""
    pairs, keys = lanes * kv_heads, min(context, SCORED_KEYS)
    widest = max(min(keys, tile_keys(pairs, width)) * width for width in (key_dim, value_dim or key_dim))
    return FLOAT * (2 * pairs * widest + lanes * query_heads * keys)


def block_bytes(*, kv_heads: int, key_dim: int, value_dim: int, context: int, element: int) -> int:
    """Scratch of a block of queries: the keys and values of one call as numbers of ``element`` bytes, and one of them on its way."""
    keys = min(context, PIECE_KEYS)
    return kv_heads * keys * (key_dim + value_dim + max(key_dim, value_dim)) * element


def _rows(architecture: Architecture) -> Iterator[tuple[int, Rows]]:
    """Query heads and what is kept of a token, for each kind of layer."""
    for layer in dict.fromkeys(architecture.layers):
        for mixer in layer.mixers:
            if isinstance(mixer, FullAttention | SlidingAttention):
                yield mixer.query_heads, Rows(heads=mixer.kv_heads, key_dim=mixer.key_dim, value_dim=mixer.value_dim)
            elif isinstance(mixer, LatentAttention):
                yield mixer.query_heads, Rows(heads=1, key_dim=mixer.latent_dim + mixer.rope_dim, value_dim=0)


@lru_cache(maxsize=256)
def unpacking_bytes(architecture: Architecture, *, sequences: int, context: int, element: int) -> tuple[int, int]:
    """Scratch of the widest layer whose cache is quantised: of a block of a prompt, and of single queries of so many sequences."""
    blocks = [
        block_bytes(kv_heads=row.heads, key_dim=row.key_dim, value_dim=row.value_dim, context=context, element=element)
        for _, row in _rows(architecture)
    ]
    singles = [
        single_rows_bytes(
            lanes=sequences, kv_heads=row.heads, query_heads=heads, key_dim=row.key_dim, value_dim=row.value_dim, context=context
        )
        for heads, row in _rows(architecture)
    ]
    return max(blocks, default=0), max(singles, default=0)
