"""What a model is, as far as memory can tell: layers, what each keeps per token or per sequence, and how wide it is."""

from functools import cached_property

from ullage.frozen import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class DualChunk:
    """Dual chunk attention (arXiv 2402.17463): positions are clamped so that no distance passes the trained length."""

    chunk_tokens: int
    local_tokens: int
    original_max_tokens: int
    sparse: bool  # vertical-slash sparse prefill above the threshold
    sparse_threshold_tokens: int
    sparse_last_queries: int

    @property
    def step_tokens(self) -> int:
        """The real chunk length s = c - w."""
        return self.chunk_tokens - self.local_tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Indexer:
    """The sparse indexer beside a cache: one key per token, and the tokens it selects."""

    heads: int
    key_dim: int
    selected_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FullAttention:
    """Keys and values of every past token; with an indexer each token keeps one key more and attends to a selection."""

    query_heads: int
    kv_heads: int
    key_dim: int
    value_dim: int
    dual_chunk: DualChunk | None = None
    indexer: Indexer | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SlidingAttention:
    """Keys and values of the last ``window_tokens`` tokens."""

    query_heads: int
    kv_heads: int
    key_dim: int
    value_dim: int
    window_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkedAttention:
    """Keys and values since the start of the current chunk of ``chunk_tokens`` (Llama 4)."""

    query_heads: int
    kv_heads: int
    key_dim: int
    value_dim: int
    chunk_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LatentAttention:
    """Multi-head latent attention: one latent and one rotary key per token, shared by all heads."""

    query_heads: int
    latent_dim: int
    rope_dim: int
    nope_dim: int
    value_dim: int
    query_latent_dim: int | None = None
    indexer: Indexer | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CompressedAttention:
    """A window of recent tokens plus one entry for every ``ratio`` older tokens (DeepSeek V4); ratio 0 keeps the window only."""

    query_heads: int
    key_dim: int
    rope_dim: int
    window_tokens: int
    ratio: int
    indexer: Indexer | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CrossAttention:
    """Keys and values of the encoder's or the tower's tokens, none of the text's."""

    query_heads: int
    kv_heads: int
    key_dim: int
    value_dim: int
    source_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Recurrent:
    """A state of fixed size per sequence: Mamba, gated delta net, Kimi delta attention, RWKV, lightning attention.

    ``conv_elements`` is kept in the model's dtype; ``state_elements`` in the engine's state dtype. ``heads`` is what tensor
    parallelism divides by. ``state_dtype`` is what the configuration asks the state to be kept in; None leaves it to the engine.
    """

    kind: str
    heads: int
    conv_elements: int
    state_elements: int
    inner_dim: int
    state_dtype: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedCache:
    """Attention that reads the cache of an earlier layer and keeps none of its own; ``source_layer`` is that layer."""

    query_heads: int
    key_dim: int
    value_dim: int
    source_layer: int


Mixer = (
    FullAttention | SlidingAttention | ChunkedAttention | LatentAttention | CompressedAttention | CrossAttention | Recurrent | SharedCache
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DenseFeedForward:
    """An MLP; ``gated`` ones have gate and up."""

    intermediate: int
    gated: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpertFeedForward:
    """A mixture of experts with optional always-active shared width."""

    experts: int
    experts_per_token: int
    intermediate: int
    shared_intermediate: int = 0
    gated: bool = True


FeedForward = DenseFeedForward | ExpertFeedForward


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One decoder layer. Most have one mixer; parallel hybrids have two, NAS models may have none; a layer may lack the MLP."""

    mixers: tuple[Mixer, ...]
    feed_forward: FeedForward | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RotaryTable:
    """A cos/sin table an engine may build: ``positions`` rows of ``dim`` elements in the model's dtype."""

    dim: int
    positions: int


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """A model's shape. ``max_context_tokens`` is None where the configuration sets no length.

    Without slots, so that what every candidate of a search asks is worked out once.
    """

    name: str
    model_type: str
    class_name: str
    hidden_size: int
    vocab_size: int
    layers: tuple[Layer, ...]
    tied_embeddings: bool
    max_context_tokens: int | None
    dtype: str  # "bfloat16", "float16", "float32"
    rotary: tuple[RotaryTable, ...] = ()
    encoder_tokens: int = 0  # image or audio tokens of one item at most, 0 for text models
    encoder_patches: int = 0  # what the tower works on for such an item
    encoder_frames: int = 1  # how many images' tokens a video may have at most
    is_decoder: bool = True  # False: an encoder that keeps no cache

    def __repr__(self) -> str:
        """Short, as there are dozens of layers."""
        return f"<Architecture {self.model_type}: {len(self.layers)} layers of width {self.hidden_size}>"

    @cached_property
    def is_mixture(self) -> bool:
        """Whether any layer routes to experts."""
        return any(isinstance(layer.feed_forward, ExpertFeedForward) for layer in self.layers)

    @cached_property
    def recurrent_kinds(self) -> frozenset[str]:
        """The kinds of recurrent mixers in any layer."""
        return frozenset(mixer.kind for layer in self.layers for mixer in layer.mixers if isinstance(mixer, Recurrent))

    @cached_property
    def dual_chunk(self) -> DualChunk | None:
        """The dual chunk settings of the first layer that has them."""
        for layer in self.layers:
            for mixer in layer.mixers:
                if isinstance(mixer, FullAttention) and mixer.dual_chunk is not None:
                    return mixer.dual_chunk
        return None
