"""Ordinary models read past the length they were trained for: dual chunk attention put on layers that came without it."""

from ullage.domain.architecture import Architecture, DualChunk, FullAttention, Layer
from ullage.errors import UnsupportedModelError
from ullage.frozen import replace


def extended(architecture: Architecture, chunk_tokens: int, local_tokens: int) -> Architecture:
    """The same model with dual chunk attention in every layer, without a length temperature.

    Raises UnsupportedModelError for a chunk that leaves no step, and for layers whose past is not all keys and values of their own.
    """
    if not 0 < local_tokens < chunk_tokens:
        raise UnsupportedModelError(f"dual chunk attention with a chunk of {chunk_tokens} has a local part of 1 to {chunk_tokens - 1}")
    chunks = DualChunk(
        chunk_tokens=chunk_tokens,
        local_tokens=local_tokens,
        original_max_tokens=0,
        sparse=False,
        sparse_threshold_tokens=0,
        sparse_last_queries=0,
    )
    return replace(architecture, layers=tuple(_with(index, layer, chunks) for index, layer in enumerate(architecture.layers)))


def _with(index: int, layer: Layer, chunks: DualChunk) -> Layer:
    mixers = []
    for mixer in layer.mixers:
        if not isinstance(mixer, FullAttention) or mixer.indexer is not None:
            kind = type(mixer).__name__
            raise UnsupportedModelError(f"layer {index} is {kind}: only models with full attention everywhere take dual chunk attention")
        mixers.append(replace(mixer, dual_chunk=chunks))
    return replace(layer, mixers=tuple(mixers))
