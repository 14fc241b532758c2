"""What a step needs beside weights and cache: the widest of its moments, tensor by tensor as the runtime makes and frees them.

Nothing here grows with the prompt: rows are those of a step. `tests/runtime/test_live_bytes.py` counts the tensors themselves.
"""

from collections.abc import Iterator
from functools import lru_cache

from ullage.domain.architecture import (
    Architecture,
    DenseFeedForward,
    DualChunk,
    ExpertFeedForward,
    FullAttention,
    LatentAttention,
    Layer,
    SlidingAttention,
)
from ullage.engines.runtime.families import FAMILIES, Family
from ullage.engines.runtime.latents import expand_from, expanded_heads
from ullage.frozen import dataclass

ROWS = 512  # rows that wide intermediates are made for at a time; more of them multiply no faster
PIECE_KEYS = 4096  # keys of one call of the attention kernel
WINDOW_ROWS = 512  # queries of one block under a window: its edge needs a mask of so many rows and columns
TILE_ROWS, TILE_KEYS = 256, 1024  # of attention in plain tiles, which holds its scores
FLOAT = 4
_MIXTURE_CUTS = 8  # times ROWS, at most, go to a mixture of experts: two tensors as wide as the model are held for so many rows
_DOUBLE = 8  # angles are made in float64
_INDEX = 8  # of a token id and of a position
Ordinary = FullAttention | SlidingAttention


@dataclass(frozen=True, slots=True)
class Moment:
    """One point of a step: its bytes, and what they are."""

    nbytes: int
    because: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """A step: ``rows`` of prompts, the tokens they see, and the rows that want logits; ``element`` bytes a number."""

    rows: int
    context: int
    wanting: int
    element: int

    @property
    def cut(self) -> int:
        """Rows that something wide is made for."""
        return min(self.rows, ROWS)


@lru_cache(maxsize=512)
def peak(architecture: Architecture, step: Rows, *, head: bool = True) -> Moment:
    """The widest moment of one step through all layers, logits included unless the ``head`` lies on another device."""
    family = FAMILIES.get(architecture.model_type, Family())
    found = [Moment(0, "nothing"), *([_logits(architecture, step, family)] if head else [])]
    for layer in dict.fromkeys(architecture.layers):
        found.extend(_moments(architecture, layer, step, family))
    return max(found, key=lambda moment: moment.nbytes)


def streams(architecture: Architecture, step: Rows) -> int:
    """Alive from the first layer to the last: the hidden rows, token ids and positions, and the angles of every rotary scheme.

    Under dual chunk attention there are up to two more angles of the queries.
    """
    kinds = 2 if FAMILIES.get(architecture.model_type, Family()).local_angles else 1
    dual = architecture.dual_chunk
    if dual is not None:
        kinds += min(2, (step.context - 1) // dual.step_tokens)
    turned = kinds * max((table.dim for table in architecture.rotary), default=0)
    return step.rows * (step.element * (architecture.hidden_size + 2 * turned) + 2 * _INDEX) + step.wanting * _INDEX


def _moments(architecture: Architecture, layer: Layer, step: Rows, family: Family) -> Iterator[Moment]:
    base, hidden = streams(architecture, step), architecture.hidden_size
    norm = _norm(hidden, step, family)
    for mixer in layer.mixers:
        if isinstance(mixer, Ordinary):
            yield from _attention(mixer, step, family, base, hidden)
        elif isinstance(mixer, LatentAttention):
            yield from _latent(mixer, step, family, base, hidden)
    if isinstance(layer.feed_forward, ExpertFeedForward):
        yield from _mixture(layer.feed_forward, step, family, base, hidden)
    if isinstance(layer.feed_forward, DenseFeedForward):
        width = (2 if layer.feed_forward.gated else 1) * layer.feed_forward.intermediate
        inner = layer.feed_forward.intermediate
        kept = step.rows * hidden * step.element if family.parallel else 0
        wide = step.cut * step.element * max(hidden + width + inner, 2 * hidden + inner)
        because = f"MLP: {step.cut:,} rows at a time of {hidden:,} + {width:,} + {inner:,} numbers of {step.element} bytes"
        yield Moment(base + kept + max(norm, wide), f"{because}, beside {base + kept:,} bytes of {step.rows:,} rows")


def mixture_rows(experts: int, per_token: int) -> int:
    """Rows a mixture is given at a time: about ``ROWS`` for each expert, so that reading an expert's weights is paid back."""
    return ROWS * max(1, min(_MIXTURE_CUTS, experts // per_token))


def _mixture(outline: ExpertFeedForward, step: Rows, family: Family, base: int, hidden: int) -> Iterator[Moment]:
    """Norm, router, shared expert, and one routed expert's share of the rows after another."""
    element, rows = step.element, min(step.rows, mixture_rows(outline.experts, outline.experts_per_token))
    cut, picked = min(rows, ROWS), rows * outline.experts_per_token
    yield Moment(base + _norm(hidden, step, family, rows), f"norm of {rows:,} rows before experts")
    held = base + 2 * rows * hidden * element
    wide = cut * max(hidden + 3 * outline.intermediate, 2 * hidden + outline.intermediate)
    shared = cut * max(3 * outline.shared_intermediate, outline.shared_intermediate + hidden) if outline.shared_intermediate else 0
    moving = max(picked * (_INDEX + element) + wide * element, shared * element)
    yield Moment(held + moving, f"experts: up to {cut:,} rows at a time of {outline.intermediate:,} numbers, beside {rows:,} rows")
    chosen = picked * (_INDEX + FLOAT) + cut * outline.experts * 3 * FLOAT
    floats = (cut + outline.experts) * hidden * FLOAT if family.float_router and element != FLOAT else 0
    yield Moment(held + chosen + max(floats, 2 * picked * _INDEX), f"routing of {rows:,} rows over {outline.experts:,} experts")


def _latent(mixer: LatentAttention, step: Rows, family: Family, base: int, hidden: int) -> Iterator[Moment]:
    """Queries and latents of all rows; then the past, absorbed by all heads or expanded for some of them at a time."""
    element, rows, heads = step.element, step.rows, mixer.query_heads
    width, kept = mixer.nope_dim + mixer.rope_dim, mixer.latent_dim + mixer.rope_dim
    held = base + rows * (heads * width + kept) * element
    down = 2 * (mixer.query_latent_dim or 0)
    projecting = max(_norm(hidden, step, family), step.cut * (hidden + down + heads * width) * element)
    yield Moment(held + projecting, f"projections: {heads * width + kept:,} numbers of {element} bytes for each of {rows:,} rows")
    found = rows * heads * mixer.value_dim * element
    first = expand_from(latent=mixer.latent_dim, rope=mixer.rope_dim, nope=mixer.nope_dim, value=mixer.value_dim)
    if first is None or rows < first:
        absorbed = FullAttention(query_heads=heads, kv_heads=1, key_dim=kept, value_dim=kept)
        met = found + rows * heads * kept * element + _merging(absorbed, step, family, None)[0]
        yield Moment(held + met, f"latents met by {rows:,} rows")
        return
    held += 2 * found
    some = expanded_heads(heads, max(rows, PIECE_KEYS), width, element)
    each, sums = rows * some * width, FLOAT * rows * some
    past = step.context - rows
    pieces = [rows, *(min(PIECE_KEYS, past - first) for first in range(0, min(past, 2 * PIECE_KEYS), PIECE_KEYS))]
    for index, keys in enumerate(pieces):
        state = 0 if not index else each * (element if index == 1 else FLOAT) + sums
        making = some * keys * max(width + mixer.nope_dim, 2 * width + mixer.value_dim) * element
        wide = state + max(making, 2 * some * keys * width * element + each * element + sums)
        yield Moment(held + wide, f"latents of {keys:,} keys expanded for {some} heads, beside {held:,} bytes of {rows:,} rows")
    expanded = FullAttention(query_heads=some, kv_heads=some, key_dim=width, value_dim=width)
    merged, why = _merging(expanded, step, family, None)
    yield Moment(held + merged, f"{why}, {some} heads at a time")


def _norm(width: int, step: Rows, family: Family, rows: int | None = None) -> int:
    """While a norm is computed: its input in float32 and a square of it, or its result beside them."""
    rows = step.cut if rows is None else rows
    if family.layer_norms:
        return rows * (width * step.element + 2 * FLOAT)
    if step.element == FLOAT:
        return rows * (width + 2) * FLOAT
    return rows * (2 * width + 3) * FLOAT


def _attention(mixer: Ordinary, step: Rows, family: Family, base: int, hidden: int) -> Iterator[Moment]:
    element, rows = step.element, step.rows
    both = (mixer.query_heads + mixer.kv_heads) * mixer.key_dim
    width = both + mixer.kv_heads * mixer.value_dim
    projected = rows * width * element
    part = step.cut * (hidden + width) * element if rows > ROWS else rows * hidden * element
    norm = _norm(hidden, step, family)
    because = f"projections: {width:,} numbers of {element} bytes for each of {rows:,} rows"
    yield Moment(base + max(projected + part, (projected if rows > ROWS else 0) + norm), because)
    dual = mixer.dual_chunk if isinstance(mixer, FullAttention) else None
    own = rows * both * element if dual is not None else 0
    turning = step.cut * both * element
    heads = _norm(both, step, family) if family.head_norms else 0
    making = step.cut * (2 * mixer.key_dim // 2 + 1) * _DOUBLE
    wide = max(turning + own, heads, making)
    yield Moment(base + projected + wide, f"rotation of {both:,} numbers a row, {step.cut:,} rows at a time")
    output = rows * mixer.query_heads * mixer.value_dim * element
    merged, why = _merging(mixer, step, family, dual)
    held = base + projected + own + output
    if dual is not None and step.context > dual.step_tokens:  # the queries at another angle
        held += block_rows(mixer, step.rows, dual) * mixer.query_heads * mixer.key_dim * element
    yield Moment(held + merged, f"{why}, beside {held:,} bytes of {rows:,} rows projected and attended")


def block_rows(mixer: Ordinary, rows: int, dual: DualChunk | None) -> int:
    """Queries that are attended to together."""
    if isinstance(mixer, SlidingAttention):
        return min(rows, mixer.window_tokens, WINDOW_ROWS)
    return min(rows, dual.step_tokens) if dual is not None else rows


def _merging(mixer: Ordinary, step: Rows, family: Family, dual: DualChunk | None) -> tuple[int, str]:
    """Results of two pieces of the past on their way to one, in float32, and the logarithms of their sums."""
    element, half = step.element, step.element != FLOAT
    block = block_rows(mixer, step.rows, dual)
    each, sums = block * mixer.query_heads * mixer.value_dim, FLOAT * block * mixer.query_heads
    masks = block * block * (element + 3) if isinstance(mixer, SlidingAttention) else 0
    sinks = min(block, ROWS) * each // block * FLOAT + 2 * sums if family.sinks and half else 0
    tiles = _tiles(mixer, step, block) if family.caps_scores else 0
    if step.context <= step.rows and block == step.rows:
        return max(each * element + sums + max(masks, sinks), tiles), f"attention of {block:,} rows to themselves"
    begin = each * (2 * element + (FLOAT if half else 0)) + 4 * sums
    later = each * (FLOAT + element) + (min(block, ROWS) * each // block * FLOAT if half else 0) + 3 * sums
    return max(max(begin, later) + masks, tiles), f"pieces of the past of {block:,} rows merged in float32"


def _tiles(mixer: Ordinary, step: Rows, block: int) -> int:
    """Attention in plain tiles: a tile's scores in float32, its queries, its result and its mask or what earlier pieces came to."""
    rows, past = min(block, TILE_ROWS), step.context - step.rows
    width = mixer.query_heads * mixer.value_dim
    done = (max(1, block // TILE_ROWS) - 1) * TILE_ROWS * width * step.element

    def of(keys: int) -> int:
        floats = keys * mixer.kv_heads * mixer.value_dim + rows * mixer.query_heads * mixer.key_dim if step.element != FLOAT else 0
        return FLOAT * (mixer.query_heads * rows * keys + rows * width + floats) + done

    own = of(min(TILE_KEYS, block)) + rows * min(TILE_KEYS, block) * step.element
    if not past:
        return own
    window = mixer.window_tokens if isinstance(mixer, SlidingAttention) else past
    before = block * width * (step.element if past <= PIECE_KEYS else FLOAT)
    return max(own, of(min(TILE_KEYS, past, window)) + before)


def _logits(architecture: Architecture, step: Rows, family: Family) -> Moment:
    wide = step.wanting * architecture.vocab_size * (step.element + (FLOAT if step.element != FLOAT else 0))
    read = step.wanting * architecture.hidden_size * step.element + _norm(architecture.hidden_size, step, family, step.wanting)
    hidden = step.rows * (architecture.hidden_size * step.element + 2 * _INDEX)
    because = f"logits of {step.wanting:,} rows x {architecture.vocab_size:,} in {step.element} and {FLOAT} bytes"
    return Moment(max(wide + step.wanting * architecture.hidden_size * step.element + 2 * _INDEX * step.rows, hidden + read), because)


@lru_cache(maxsize=512)
def kernel_scratch(architecture: Architecture, *, rows: int, context: int, element: int) -> int:
    """What a processor's attention kernel copies for itself: keys and values of one call for every query head, in 16 bits only."""
    if element == FLOAT or rows < PACKING_ROWS:
        return 0
    found = [0]
    for layer in dict.fromkeys(architecture.layers):
        for mixer in layer.mixers:
            if isinstance(mixer, Ordinary):
                keys = min(PIECE_KEYS, context if isinstance(mixer, FullAttention) else mixer.window_tokens)
                found.append(mixer.query_heads * keys * (mixer.key_dim + mixer.value_dim) * element)
    return max(found)


PACKING_ROWS = 64  # below it PyTorch's kernel packs nothing (ATen/native/cpu/FlashAttentionKernel.cpp, 2.6 to 2.13)
