"""Bytes of the pools: keys and values by token, a pool of windows beside it, and slots of recurrent state."""

from functools import lru_cache
from typing import assert_never

from ullage.catalog.tensor_formats import model_dtype
from ullage.domain.architecture import (
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
from ullage.domain.case import Case
from ullage.engines.sglang.resolve import activation_dtype, attention_tensor, rules
from ullage.engines.sglang.shards import stages_of
from ullage.engines.sglang.versions import WINDOW_FAMILIES
from ullage.errors import UnsupportedModelError
from ullage.formulas.sharding import ceil_div
from ullage.frozen import dataclass

# Sixteenths of a byte per cached element; block formats count their scales.
KV_FORMATS = {
    "fp8_e5m2": 16,
    "fp8_e4m3": 16,
    "bf16": 32,
    "bfloat16": 32,
    "float16": 32,
    "mxfp8": 0,  # counted below: 33 bytes for 32 elements
    "fp4_e2m1": 9,
    "nvfp4": 9,
}
MXFP8_ELEMENTS, MXFP8_BYTES = 32, 33
SCALE_BLOCK, SCALE_BYTES = 128, 4  # one fp32 scale for 128 elements of an indexer key or of an fp8 latent
ROPE_BYTES = 2  # the rotary part of an fp8 latent stays in 16 bits
COMPRESSED_SCALES = 8
STATE_PAGES, STATE_RING, STATE_BYTES = 256, 8, 16  # DeepSeek V4: fp32 states of the compressor, two pairs, a ring of 8 per page
RATIO_OF_FOUR = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """The pools of one rank of a stage, bytes per token or slot over the stage's layers.

    ``full`` per token; ``window`` per token of the window pool, which has ``ratio`` of the tokens; ``cell`` is what sizing divides by.
    """

    full: int
    window: int
    ratio: float
    cell: float
    window_tokens: int | None  # the widest window of the window pool
    slot: int  # recurrent state of one slot
    layers: int  # that keep keys and values


def pools(case: Case) -> tuple[Pool, ...]:
    """One for each pipeline stage."""
    ratio = case.settings.number("swa_full_tokens_ratio") or 0.8
    return tuple(
        _pool(
            case.model.architecture.layers[start:end],
            Asked(
                tensor=attention_tensor(case),
                element=model_dtype(activation_dtype(case)).block_bytes,
                kv_dtype=case.settings.text("kv_cache_dtype") or "auto",
                state_dtype=case.settings.text("mamba_ssm_dtype"),
                windows=has_window_pool(case),
                ratio=ratio,
                value_width=rules(case).value_width,
                exact=rules(case).exact_window_cells,
            ),
        )
        for start, end in stages_of(case)
    )


def has_window_pool(case: Case) -> bool:
    """Whether this release gives the windows of this family a pool of their own; otherwise they take as much as full attention."""
    if not rules(case).window_pool or case.settings.flag("disable_hybrid_swa_memory"):
        return False
    name = case.model.architecture.class_name
    return any(case.version.parts >= since and name in names for since, names in WINDOW_FAMILIES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the bytes of a token depend on beside the layers."""

    tensor: int  # ranks that share the heads
    element: int
    kv_dtype: str
    state_dtype: str | None
    windows: bool
    ratio: float
    value_width: bool
    exact: bool


@lru_cache(maxsize=1024)
def _pool(layers: tuple[Layer, ...], asked: Asked) -> Pool:
    mixers = [mixer for layer in layers for mixer in layer.mixers]
    apart = [mixer for mixer in mixers if asked.windows and isinstance(mixer, SlidingAttention | ChunkedAttention)]
    rest = [mixer for mixer in mixers if mixer not in apart] if apart else mixers
    kept = [_token_bytes(mixer, asked) for mixer in rest]
    full, window = sum(kept), sum(_token_bytes(mixer, asked) for mixer in apart)
    slot = sum(_slot_bytes(mixer, asked) for mixer in mixers)
    count = sum(1 for nbytes in kept if nbytes)
    widest = max((_window(mixer) for mixer in apart), default=None)
    if not full:
        full, window, apart, widest = window, 0, [], None
    cell = full + asked.ratio * window if asked.exact else _rough_cell(full, window, count, len(apart), asked.ratio)
    return Pool(full=full, window=window, ratio=asked.ratio, cell=cell, window_tokens=widest, slot=slot, layers=count + len(apart))


def _window(mixer: Mixer) -> int:
    match mixer:
        case SlidingAttention():
            return mixer.window_tokens
        case ChunkedAttention():
            return mixer.chunk_tokens
        case _:
            return 0


def _rough_cell(full: int, window: int, fulls: int, windows: int, ratio: float) -> float:
    """Before 0.5.9: every layer counted as a full one, windows of another shape once more, then shared out by layers."""
    if not windows or not fulls:
        return float(full)
    each = full // fulls
    counted = each * (fulls + windows) + (window if window != each * windows else 0)
    return counted * (ratio * windows + fulls) / (fulls + windows)


def _token_bytes(mixer: Mixer, asked: Asked) -> int:
    match mixer:
        case FullAttention():
            return _pair_bytes(mixer, asked) + _indexer_bytes(mixer.indexer)
        case SlidingAttention() | ChunkedAttention() | CrossAttention():
            return _pair_bytes(mixer, asked)
        case LatentAttention():
            return _latent_bytes(mixer, asked) + _indexer_bytes(mixer.indexer)
        case CompressedAttention():
            return _compressed_bytes(mixer, asked.ratio)
        case Recurrent() | SharedCache():
            return 0
        case _:
            assert_never(mixer)


def _pair_bytes(mixer: FullAttention | SlidingAttention | ChunkedAttention | CrossAttention, asked: Asked) -> int:
    """Key and value of one token in one layer on one rank; before 0.5.5 both as wide as the key."""
    heads = max(1, mixer.kv_heads // asked.tensor)
    return _elements_bytes(heads * (mixer.key_dim + (mixer.value_dim if asked.value_width else mixer.key_dim)), asked)


def _elements_bytes(elements: int, asked: Asked) -> int:
    if asked.kv_dtype == "auto":
        return elements * asked.element
    if asked.kv_dtype not in KV_FORMATS:
        raise UnsupportedModelError(f"kv_cache_dtype {asked.kv_dtype!r} has no known size; known are auto, {', '.join(sorted(KV_FORMATS))}")
    if asked.kv_dtype == "mxfp8":
        return ceil_div(elements, MXFP8_ELEMENTS) * MXFP8_BYTES
    return elements * KV_FORMATS[asked.kv_dtype] // 16


def _indexer_bytes(indexer: Indexer | None) -> int:
    """One fp8 key of the sparse indexer and its scales."""
    return 0 if indexer is None else indexer.key_dim + indexer.key_dim // SCALE_BLOCK * SCALE_BYTES


def _latent_bytes(mixer: LatentAttention, asked: Asked) -> int:
    """One latent for all heads, whole on every rank; with an indexer fp8 latents keep scales and a 16-bit rotary part."""
    if mixer.indexer is not None and asked.kv_dtype == "fp8_e4m3":
        return mixer.latent_dim + mixer.latent_dim // SCALE_BLOCK * SCALE_BYTES + mixer.rope_dim * ROPE_BYTES
    return _elements_bytes(mixer.latent_dim + mixer.rope_dim, asked)


def _compressed_bytes(mixer: CompressedAttention, ratio: float) -> int:
    """DeepSeek V4, per full token: its part of the window pool and of the compressor's states, and the compressed entries."""
    row = mixer.key_dim - mixer.rope_dim + ROPE_BYTES * mixer.rope_dim + COMPRESSED_SCALES
    window = float(row)
    if mixer.ratio == RATIO_OF_FOUR:
        key_dims = mixer.key_dim + (mixer.indexer.key_dim if mixer.indexer else 0)
        window += STATE_RING / STATE_PAGES * STATE_BYTES * key_dims
    entries = (row + _indexer_bytes(mixer.indexer)) / mixer.ratio if mixer.ratio else 0.0
    return round(ratio * window + entries)


def _slot_bytes(mixer: Mixer, asked: Asked) -> int:
    """State of one request: convolution in the activation dtype, the rest in fp32 unless said otherwise."""
    if not isinstance(mixer, Recurrent):
        return 0
    size = model_dtype(asked.state_dtype or mixer.state_dtype or "float32").block_bytes
    return ceil_div(mixer.conv_elements * asked.element + mixer.state_elements * size, asked.tensor)
