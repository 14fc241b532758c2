"""The scratch in which a quantised cache becomes numbers, tile by tile; the runtime cuts by the same functions."""

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
