"""What one layer asks of the paged cache: bytes of a token or of a state, by kind of layer and format of the cache."""

from ullage.domain.architecture import (
    ChunkedAttention,
    CompressedAttention,
    CrossAttention,
    FullAttention,
    Indexer,
    LatentAttention,
    Mixer,
    Recurrent,
    SharedCache,
    SlidingAttention,
)
from ullage.errors import UnsupportedModelError
from ullage.formulas.sharding import ceil_div, kv_heads_per_rank
from ullage.frozen import dataclass

# Bytes of one cached element, and extra bytes per head and token for key and value together.
KV_FORMATS = {
    "auto": (None, 0),
    "float16": (2, 0),
    "half": (2, 0),
    "bfloat16": (2, 0),
    "float32": (4, 0),
    "fp8": (1, 0),
    "fp8_e4m3": (1, 0),
    "fp8_e5m2": (1, 0),
    "fp8_inc": (1, 0),
    "fp8_per_token_head": (1, 8),
    "int8": (1, 0),
    "int8_per_token_head": (1, 8),
}
# Four-bit caches: values that share one more byte for a scale, and extra bytes per head, token, and key or value.
PACKED_FORMATS = {"nvfp4": (16, 0), "int4_per_token_head": (0, 8)}
# Latent caches with a layout of their own: bytes per token.
LATENT_FORMATS = {"fp8_ds_mla": 656, "nvfp4_ds_mla": 352}
INDEXER_KEY_EXTRA = 4  # one fp32 scale beside an fp8 indexer key
PADDED_LATENT_HEAD = 256  # before 0.7.1 MLA kept keys and values of every head, padded to this width
CONVOLUTION_ROWS = 3  # rows a convolution of four taps keeps, as in every published hybrid; drafted tokens add theirs
STATE_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}
ALWAYS_WIDE = frozenset({"kimi_delta_attention"})  # states vLLM keeps in fp32 whatever is asked


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """What one layer asks of the pool. ``token_bytes`` per token, or ``state_bytes`` per sequence; ``kept_tokens`` bounds a window."""

    kind: str  # "full", "sliding", "chunked", "latent", "state", "compressed"
    token_bytes: int = 0
    state_bytes: int = 0
    kept_tokens: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """How one rank keeps its cache: degree, bytes of an activation, dtypes as said, and how many tokens a step drafts."""

    tensor: int
    element: int
    kv_dtype: str
    latent: bool  # MLA keeps the latent
    state_dtype: str | None = None  # mamba_ssm_cache_dtype, where it was said
    convolution_dtype: str | None = None  # mamba_cache_dtype, where it was said
    drafted: int = 0


def spec_of(mixer: Mixer, fmt: Format) -> Spec | None:  # noqa: PLR0911 - one answer for each kind of mixer
    """What a mixer asks for; None where it keeps nothing of the text."""
    match mixer:
        case FullAttention():
            return Spec(kind="full", token_bytes=_pair_bytes(mixer, fmt) + _indexer_bytes(mixer.indexer))
        case SlidingAttention():
            return Spec(kind="sliding", token_bytes=_pair_bytes(mixer, fmt), kept_tokens=mixer.window_tokens)
        case ChunkedAttention():
            return Spec(kind="chunked", token_bytes=_pair_bytes(mixer, fmt), kept_tokens=mixer.chunk_tokens)
        case LatentAttention():
            return Spec(kind="latent", token_bytes=_latent_bytes(mixer, fmt))
        case CompressedAttention():
            return Spec(kind="compressed", token_bytes=_compressed_bytes(mixer, fmt))
        case Recurrent():
            return Spec(kind="state", state_bytes=_state_bytes(mixer, fmt))
        case CrossAttention() | SharedCache():
            return None


def _pair_bytes(mixer: FullAttention | SlidingAttention | ChunkedAttention, fmt: Format) -> int:
    """Key and value of one token in one layer on one rank."""
    heads = kv_heads_per_rank(mixer.kv_heads, fmt.tensor)
    if fmt.kv_dtype in PACKED_FORMATS:
        share, extra = PACKED_FORMATS[fmt.kv_dtype]
        return heads * sum(dim // 2 + (dim // share if share else 0) + extra for dim in (mixer.key_dim, mixer.value_dim))
    size, extra = kv_format(fmt.kv_dtype)
    return heads * ((mixer.key_dim + mixer.value_dim) * (size or fmt.element) + extra)


def kv_format(kv_dtype: str) -> tuple[int | None, int]:
    """Bytes of an element, None for the activations' own, and what a head and token has besides. Raises UnsupportedModelError."""
    if kv_dtype in LATENT_FORMATS:
        return 1, 0
    if kv_dtype not in KV_FORMATS:
        known = ", ".join(sorted((*KV_FORMATS, *LATENT_FORMATS, *PACKED_FORMATS)))
        raise UnsupportedModelError(f"kv_cache_dtype {kv_dtype!r} has no known size; known are {known}")
    return KV_FORMATS[kv_dtype]


def _latent_bytes(mixer: LatentAttention, fmt: Format) -> int:
    """One latent for all heads, repeated on every rank; before 0.7.1 padded keys and values of each head instead."""
    size, _ = kv_format(fmt.kv_dtype)
    if not fmt.latent:
        return 2 * ceil_div(mixer.query_heads, fmt.tensor) * PADDED_LATENT_HEAD * (size or fmt.element)
    sparse_fp8 = mixer.indexer is not None and fmt.kv_dtype.startswith("fp8")
    layout = "fp8_ds_mla" if sparse_fp8 else fmt.kv_dtype
    own = LATENT_FORMATS.get(layout, (mixer.latent_dim + mixer.rope_dim) * (size or fmt.element))
    return own + _indexer_bytes(mixer.indexer)


def _indexer_bytes(indexer: Indexer | None) -> int:
    """One fp8 key of the sparse indexer and its scale."""
    return 0 if indexer is None else indexer.key_dim + INDEXER_KEY_EXTRA


def _compressed_bytes(mixer: CompressedAttention, fmt: Format) -> int:
    """One entry for every ``ratio`` tokens, averaged over the tokens; the window itself is small and counted by the token."""
    size, _ = kv_format(fmt.kv_dtype)
    entry = mixer.key_dim * (size or fmt.element)
    if mixer.ratio == 0:
        return 0
    return ceil_div(entry + _indexer_bytes(mixer.indexer), mixer.ratio)


def _state_bytes(mixer: Recurrent, fmt: Format) -> int:
    """The convolution's rows, with one more for each drafted token, and the state, each in its own dtype; cut by rank."""
    narrow = STATE_BYTES.get(fmt.convolution_dtype or "", fmt.element)
    asked = fmt.state_dtype or mixer.state_dtype or fmt.convolution_dtype or ""
    wide = STATE_BYTES["float32"] if mixer.kind in ALWAYS_WIDE else STATE_BYTES.get(asked, fmt.element)
    convolution = mixer.conv_elements * (CONVOLUTION_ROWS + fmt.drafted) // CONVOLUTION_ROWS
    return ceil_div(convolution * narrow, fmt.tensor) + ceil_div(mixer.state_elements * wide, fmt.tensor)
