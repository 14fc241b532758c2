"""What one rank holds of a tensor under tensor, pipeline and expert parallelism: what divides and what repeats."""

from math import prod

from ullage.domain.architecture import (
    ChunkedAttention,
    CrossAttention,
    FullAttention,
    Layer,
    SlidingAttention,
)
from ullage.domain.checkpoint import EXPERT_ROLES, Role, Tensor
from ullage.frozen import dataclass

# Megatron-style rules as vLLM, SGLang and TensorRT-LLM apply them: heads and intermediate widths are cut, what every rank needs repeats.
REPEATED_ROLES = frozenset(
    {
        Role.NORM,
        Role.POSITION,
        Role.ROUTER,
        Role.SHARED_ROUTER,
        Role.Q_A,
        Role.KV_A,
        Role.INDEXER,
        Role.EXPERT_LATENT,
        Role.OTHER,
    }
)
VOCABULARY_ROLES = frozenset({Role.EMBEDDING, Role.HEAD})
GROUPED_ROLES = frozenset({Role.K, Role.V})


@dataclass(frozen=True, slots=True, kw_only=True)
class Degrees:
    """How far each kind of tensor is cut: ``tensor`` ways, experts ``expert`` ways (whole experts when ``whole_experts``)."""

    tensor: int
    expert: int
    whole_experts: bool
    vocabulary_multiple: int = 64


def ceil_div(a: int, b: int) -> int:
    """Whole number of ``b`` that hold ``a``."""
    return -(-a // b)


def kv_heads_of(layer: Layer | None) -> int:
    """Key/value heads of a layer's attention; 0 where it has none."""
    if layer is None:
        return 0
    for mixer in layer.mixers:
        if isinstance(mixer, FullAttention | SlidingAttention | ChunkedAttention | CrossAttention):
            return mixer.kv_heads
    return 0


def kv_heads_per_rank(kv_heads: int, tensor: int) -> int:
    """Heads are divided, and repeated when there are more ranks than heads."""
    return max(1, ceil_div(kv_heads, tensor))


def padded_vocabulary(vocab: int, multiple: int) -> int:
    """Rows of the token table after padding."""
    return ceil_div(vocab, multiple) * multiple


def shard_bytes(tensor: Tensor, layer: Layer | None, degrees: Degrees) -> int:
    """Bytes of ``tensor`` on one rank. ``layer`` is the layer it belongs to; fused q/k/v splits by the layer's heads."""
    nbytes, ways = tensor.nbytes, degrees.tensor
    role = tensor.role
    if role in EXPERT_ROLES:
        return ceil_div(nbytes, degrees.expert)
    if role in VOCABULARY_ROLES:
        if not tensor.shape or nbytes == 0:
            return nbytes
        rows = padded_vocabulary(tensor.shape[0], degrees.vocabulary_multiple)
        return ceil_div(nbytes * rows // tensor.shape[0], ways)
    if ways == 1 or role in REPEATED_ROLES or _is_repeated_vector(tensor):
        return nbytes
    if role in GROUPED_ROLES or role is Role.QKV:
        return _grouped_bytes(tensor, layer, ways)
    return ceil_div(nbytes, ways)


# A row-parallel layer adds its bias once, after the sum, so each rank keeps it whole.
_ROW_ROLES = frozenset({Role.O, Role.DOWN, Role.SHARED_DOWN, Role.RECURRENT_OUT})


def _is_repeated_vector(tensor: Tensor) -> bool:
    """Vectors that every rank keeps: biases after a row-parallel sum, one-element scales, and small tower tensors."""
    if len(tensor.shape) > 1:
        return False
    return tensor.role in _ROW_ROLES or prod(tensor.shape) <= 1 or tensor.role in {Role.VISION, Role.PROJECTOR}


def _grouped_bytes(tensor: Tensor, layer: Layer | None, ways: int) -> int:
    heads = kv_heads_of(layer)
    if heads == 0:
        return ceil_div(tensor.nbytes, ways)
    kept = kv_heads_per_rank(heads, ways)
    if tensor.role is not Role.QKV:
        return ceil_div(tensor.nbytes * kept, heads)
    query, key, value = _qkv_rows(layer)
    rows = ceil_div(query, ways) + (key + value) * kept // heads
    return ceil_div(tensor.nbytes * rows, query + key + value)


def _qkv_rows(layer: Layer | None) -> tuple[int, int, int]:
    for mixer in layer.mixers if layer else ():
        if isinstance(mixer, FullAttention | SlidingAttention | ChunkedAttention | CrossAttention):
            return mixer.query_heads * mixer.key_dim, mixer.kv_heads * mixer.key_dim, mixer.kv_heads * mixer.value_dim
    return 1, 0, 0
