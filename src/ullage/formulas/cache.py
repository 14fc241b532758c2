"""Bytes of attention keys and values, and of recurrent state, that one sequence keeps. What an engine adds to it is the engine's."""

from collections.abc import Sequence
from typing import assert_never

from ullage.catalog.tensor_formats import model_dtype
from ullage.domain.architecture import (
    Architecture,
    ChunkedAttention,
    CompressedAttention,
    CrossAttention,
    FullAttention,
    Indexer,
    LatentAttention,
    Layer,
    Mixer,
    Recurrent,
    SharedCache,
    SlidingAttention,
)
from ullage.domain.checkpoint import TensorFormat


def pair_bytes(mixer: FullAttention | SlidingAttention | ChunkedAttention | CrossAttention, fmt: TensorFormat) -> int:
    """Key and value of one token over all heads of one layer; a format's blocks do not cross from keys to values."""
    return fmt.nbytes(mixer.kv_heads * mixer.key_dim) + fmt.nbytes(mixer.kv_heads * mixer.value_dim)


def _indexer_bytes(indexer: Indexer | None, fmt: TensorFormat) -> int:
    return 0 if indexer is None else fmt.nbytes(indexer.key_dim)


def state_bytes(mixer: Recurrent, *, conv_fmt: TensorFormat, state_fmt: TensorFormat) -> int:
    """The fixed state of one sequence in one recurrent layer."""
    return conv_fmt.nbytes(mixer.conv_elements) + state_fmt.nbytes(mixer.state_elements)


def mixer_tokens(mixer: Mixer, *, tokens: int) -> int:
    """How many of ``tokens`` past tokens a layer keeps an entry of its own for, a compressed entry counting as one."""
    match mixer:
        case FullAttention() | LatentAttention():
            return tokens
        case SlidingAttention():
            return min(tokens, mixer.window_tokens)
        case ChunkedAttention():
            return min(tokens, mixer.chunk_tokens)
        case CompressedAttention():
            return min(tokens, mixer.window_tokens) + (tokens // mixer.ratio if mixer.ratio else 0)
        case CrossAttention():
            return mixer.source_tokens
        case Recurrent() | SharedCache():
            return 0
        case _:
            assert_never(mixer)


def mixer_bytes(
    mixer: Mixer,
    *,
    tokens: int,
    fmt: TensorFormat,
    conv_fmt: TensorFormat | None = None,
    state_fmt: TensorFormat | None = None,
) -> int:
    """What one mixer keeps of one sequence of ``tokens`` tokens, elements stored as ``fmt``.

    ``conv_fmt`` and ``state_fmt`` are for recurrent state and are ``fmt`` unless said. Compressed attention keeps one vector
    (key and value in one) per entry and, where it has an indexer, one indexer key per compressed entry.
    """
    kept = mixer_tokens(mixer, tokens=tokens)
    match mixer:
        case FullAttention():
            return kept * (pair_bytes(mixer, fmt) + _indexer_bytes(mixer.indexer, fmt))
        case SlidingAttention() | ChunkedAttention() | CrossAttention():
            return kept * pair_bytes(mixer, fmt)
        case LatentAttention():
            return kept * (fmt.nbytes(mixer.latent_dim + mixer.rope_dim) + _indexer_bytes(mixer.indexer, fmt))
        case CompressedAttention():
            compressed = tokens // mixer.ratio if mixer.ratio else 0
            return kept * fmt.nbytes(mixer.key_dim) + compressed * _indexer_bytes(mixer.indexer, fmt)
        case Recurrent():
            return state_bytes(mixer, conv_fmt=conv_fmt or fmt, state_fmt=state_fmt or fmt)
        case SharedCache():
            return 0
        case _:
            assert_never(mixer)


def layers_bytes(
    layers: Sequence[Layer],
    *,
    tokens: int,
    fmt: TensorFormat,
    conv_fmt: TensorFormat | None = None,
    state_fmt: TensorFormat | None = None,
) -> int:
    """What some layers keep of one sequence."""
    return sum(
        mixer_bytes(mixer, tokens=tokens, fmt=fmt, conv_fmt=conv_fmt, state_fmt=state_fmt) for layer in layers for mixer in layer.mixers
    )


def sequence_bytes(architecture: Architecture, *, tokens: int, fmt: TensorFormat, state_fmt: TensorFormat | None = None) -> int:
    """What the whole model keeps of one sequence of ``tokens`` tokens: keys and values in ``fmt``, recurrent state in ``state_fmt``.

    ``state_fmt`` None means the model's own dtype, in which the convolution state always is.
    """
    if not architecture.is_decoder:
        return 0
    own = model_dtype(architecture.dtype)
    return layers_bytes(architecture.layers, tokens=tokens, fmt=fmt, conv_fmt=own, state_fmt=state_fmt or own)


def fixed_bytes(architecture: Architecture, *, fmt: TensorFormat, state_fmt: TensorFormat | None = None) -> int:
    """What a sequence keeps before its first token: recurrent state and the cache of encoder tokens."""
    return sequence_bytes(architecture, tokens=0, fmt=fmt, state_fmt=state_fmt)


def bytes_per_token(architecture: Architecture, fmt: TensorFormat) -> int:
    """What one more token adds over all layers while no window or chunk is full; compressed entries are averaged, rounded up."""
    if not architecture.is_decoder:
        return 0
    return sum(_row_bytes(mixer, fmt) for layer in architecture.layers for mixer in layer.mixers)


def _row_bytes(mixer: Mixer, fmt: TensorFormat) -> int:
    match mixer:
        case CompressedAttention():
            every = fmt.nbytes(mixer.key_dim) + _indexer_bytes(mixer.indexer, fmt)
            return fmt.nbytes(mixer.key_dim) + (-(-every // mixer.ratio) if mixer.ratio else 0)
        case CrossAttention() | Recurrent() | SharedCache():
            return 0
        case FullAttention() | SlidingAttention() | ChunkedAttention() | LatentAttention():
            return mixer_bytes(mixer, tokens=1, fmt=fmt)
        case _:
            assert_never(mixer)


def growth_bytes_per_token(architecture: Architecture, fmt: TensorFormat) -> int:
    """What one more token adds in the long run, when every window and chunk is full; compressed entries averaged, rounded up."""
    if not architecture.is_decoder:
        return 0
    total = 0
    for layer in architecture.layers:
        for mixer in layer.mixers:
            match mixer:
                case FullAttention() | LatentAttention():
                    total += _row_bytes(mixer, fmt)
                case CompressedAttention():
                    total += _row_bytes(mixer, fmt) - fmt.nbytes(mixer.key_dim)
                case SlidingAttention() | ChunkedAttention() | CrossAttention() | Recurrent() | SharedCache():
                    pass
                case _:
                    assert_never(mixer)
    return total
