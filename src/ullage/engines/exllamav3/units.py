"""What each module of a model takes when ExLlamaV3 loads it: weights, cache, states of its jobs, and one forward pass."""

from functools import lru_cache

from ullage.catalog.tensor_formats import F16, F32
from ullage.domain.architecture import (
    Architecture,
    ChunkedAttention,
    DenseFeedForward,
    ExpertFeedForward,
    LatentAttention,
    Layer,
    Recurrent,
    SharedCache,
    SlidingAttention,
)
from ullage.domain.case import Case, Model
from ullage.engines.exllamav3.settings import cache_bits, windows_are_slots
from ullage.engines.exllamav3.versions import OUTPUT_TOKENS, WINDOW_SPARE_TOKENS
from ullage.formulas.blocks import Block, BlockKind, blocks
from ullage.formulas.cache import pair_bytes, state_bytes
from ullage.formulas.exllama import TIED_HEAD_BITS, CacheBits, layer_token_bytes, rounded_to_pages
from ullage.frozen import dataclass, replace

HALF, FLOAT = 2, 4
PLAIN_BITS = 16
_CODEBOOK = ".mul1"  # marks tensors in the codebook that the processor's kernels read


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """One module: its weights on the card and on the host, its pages, its states, and what a forward pass takes for a moment.

    ``may_stay``: of the host's part, what stays on the card after all where the experts' codebook is not the one the processor reads.
    """

    block: Block
    weights: int
    host_weights: int = 0
    may_stay: int = 0
    cache_bytes: int = 0
    state_bytes: int = 0
    working: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What of the settings changes a module's size."""

    bits: CacheBits
    tokens: int
    slots: int
    chunk: int
    offloaded: int
    windows_are_slots: bool


def units(case: Case) -> tuple[Unit, ...]:
    """Every module but the token table, in load order."""
    settings = case.settings
    shape = Shape(
        bits=cache_bits(case),
        tokens=settings.integer("cache_size") or 0,
        slots=settings.integer("max_batch_size") or 1,
        chunk=settings.integer("chunk_size") or 1,
        offloaded=settings.integer("cpu_moe_offload_layers") or 0,
        windows_are_slots=windows_are_slots(case),
    )
    return _units(case.model, shape)


@lru_cache(maxsize=64)
def _units(model: Model, shape: Shape) -> tuple[Unit, ...]:
    head_bits = TIED_HEAD_BITS if model.checkpoint.scheme.startswith("exl3") else PLAIN_BITS
    stored = model.checkpoint
    readable = stored.exact and any(tensor.name.endswith(_CODEBOOK) for tensor in stored.tensors)
    found, away = [], shape.offloaded
    for block in blocks(model, head_bits):
        unit = _unit(block, model.architecture, shape)
        if block.expert_bytes and away > 0:
            away -= 1
            moved = block.expert_bytes
            unit = replace(unit, weights=block.nbytes - moved, host_weights=moved, may_stay=0 if readable else moved)
        found.append(unit)
    return tuple(found)


def _unit(block: Block, architecture: Architecture, shape: Shape) -> Unit:
    hidden = architecture.hidden_size
    if block.kind is BlockKind.HEAD:
        return Unit(block=block, weights=block.nbytes, working=(HALF + FLOAT) * architecture.vocab_size * OUTPUT_TOKENS.value)
    if block.layer is None:
        return Unit(block=block, weights=block.nbytes)
    layer = architecture.layers[block.layer]
    if block.kind is BlockKind.FEED_FORWARD:
        return Unit(block=block, weights=block.nbytes, working=_feed_forward(block, layer, hidden, shape))
    slotted = _slots(layer, shape)
    kept = replace(layer, mixers=tuple(mixer for mixer in layer.mixers if not _is_slotted(mixer, shape)))
    return Unit(
        block=block,
        weights=block.nbytes,
        cache_bytes=shape.tokens * layer_token_bytes(kept, shape.bits),
        state_bytes=shape.slots * slotted,
        working=_attention(block, layer, hidden, shape),
    )


def _is_slotted(mixer: object, shape: Shape) -> bool:
    return isinstance(mixer, Recurrent) or (shape.windows_are_slots and isinstance(mixer, SlidingAttention | ChunkedAttention))


def _slots(layer: Layer, shape: Shape) -> int:
    """The state of one job: a window and its spare in half precision, or a recurrent state."""
    total = 0
    for mixer in layer.mixers:
        match mixer:
            case SlidingAttention(window_tokens=window) | ChunkedAttention(chunk_tokens=window) if shape.windows_are_slots:
                total += rounded_to_pages(window + WINDOW_SPARE_TOKENS) * pair_bytes(mixer, F16)
            case Recurrent():
                total += state_bytes(mixer, conv_fmt=F16, state_fmt=F32)
            case _:
                pass
    return total


def _attention(block: Block, layer: Layer, hidden: int, shape: Shape) -> int:
    """Two states, queries, keys and values, and one matrix unpacked to 16 bits, which long inputs are multiplied with."""
    width = matrix = 0
    for mixer in layer.mixers:
        match mixer:
            case Recurrent():
                width, matrix = max(width, 3 * mixer.inner_dim), max(matrix, mixer.inner_dim * hidden)
            case LatentAttention():
                heads = mixer.query_heads * (mixer.nope_dim + mixer.rope_dim)
                width, matrix = max(width, 2 * heads), max(matrix, heads * (mixer.query_latent_dim or hidden))
            case _:
                queries = mixer.query_heads * mixer.key_dim
                keys = 0 if isinstance(mixer, SharedCache) else getattr(mixer, "kv_heads", 1) * 2 * mixer.key_dim
                width, matrix = max(width, 2 * queries + keys), max(matrix, queries * hidden)
    return HALF * (shape.chunk * (2 * hidden + width) + (matrix if block.quantised else 0))


def _feed_forward(block: Block, layer: Layer, hidden: int, shape: Shape) -> int:
    match layer.feed_forward:
        case DenseFeedForward(intermediate=width):
            return HALF * (shape.chunk * 2 * (hidden + width) + (width * hidden if block.quantised else 0))
        case ExpertFeedForward(intermediate=width, experts_per_token=chosen, shared_intermediate=shared):
            inner = max(shared, width) * 2 + chosen * hidden
            return HALF * (shape.chunk * (3 * hidden + inner) + (max(width, shared) * hidden if block.quantised else 0))
        case None:
            return 0
