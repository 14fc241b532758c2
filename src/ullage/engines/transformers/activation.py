"""What a forward pass needs beside weights and cache on one device: the widest of its moments.

Nothing is chunked unless ``prefill_chunk_size`` says so: a prompt runs through every layer whole. Which tensors are alive in each
moment was read from the modelling files and checked on a CPU by counting live bytes (tests/oracle/test_transformers_activation.py).
"""

from typing import assert_never

from ullage.domain.architecture import (
    ChunkedAttention,
    CompressedAttention,
    CrossAttention,
    DenseFeedForward,
    ExpertFeedForward,
    FullAttention,
    LatentAttention,
    Layer,
    Mixer,
    Recurrent,
    SharedCache,
    SlidingAttention,
)
from ullage.domain.case import Case
from ullage.domain.ledger import Amount
from ullage.engines.transformers.placement import Share
from ullage.engines.transformers.versions import GPTQ_UNPACK, SAMPLER_COPIES, last_logits_only, repeats_heads, rules
from ullage.engines.transformers.weights import activation_bytes
from ullage.frozen import dataclass
from ullage.units import format_bytes

FLOAT = 4
TOKEN_INDEX_BYTES = 4 * 8  # input, position and cache ids and the padding mask, 64 bits each
RESIDUALS = 3  # the layer's input, the sum after attention, and the normed copy; the token embeddings are a fourth
SPARE_RESIDUALS = 2  # hidden-wide tensors that may not be freed yet at the widest moment; the Qwen2.5 tables show one or two


@dataclass(frozen=True, slots=True)
class Moment:
    """One point of the forward pass: its bytes, and what they are."""

    amount: Amount
    because: str


def exactly(nbytes: int, because: str) -> Moment:
    """A moment without error."""
    return Moment(Amount.exactly(nbytes), because)


def widest(moments: list[Moment]) -> Moment:
    """The moment with the largest expected bytes; the ends are the largest of all."""
    top = max(moments, key=lambda moment: moment.amount.expected)
    low, high = (max(getattr(moment.amount, end) for moment in moments) for end in ("low", "high"))
    return Moment(Amount(min(low, top.amount.expected), top.amount.expected, high), top.because)


def query_tokens(case: Case) -> int:
    """Tokens of one prompt that run together."""
    prompt = case.workload.prompt_tokens or 0
    chunk = case.settings.integer("prefill_chunk_size")
    return min(prompt, chunk) if chunk else prompt


def prefill(case: Case, share: Share) -> Moment:
    """The widest moment of the prompt's forward pass over the layers of a share."""
    tokens = query_tokens(case) * case.workload.concurrent_sequences
    architecture, size = case.model.architecture, activation_bytes(case)
    base = (RESIDUALS + share.has_embedding) * architecture.hidden_size * size + TOKEN_INDEX_BYTES
    base += 2 * size * max((table.dim for table in architecture.rotary), default=0)  # cos and sin of these positions
    found = [exactly(0, "nothing")]
    for layer in dict.fromkeys(architecture.layers[index] for index in share.layers):
        found.extend(_attention_moments(case, layer, tokens, base))
        found.extend(_feed_forward_moments(case, layer, tokens, base))
    unpacked = _unpacked(case, share)
    if unpacked and tokens > 1:
        width = max((_narrow_width(layer) for layer in architecture.layers), default=0)
        held = tokens * (base + width * size)
        because = f"one 8-bit matrix of {unpacked:,} weights unpacked with {GPTQ_UNPACK.value} bytes each beside {format_bytes(held)}"
        low, high = GPTQ_UNPACK.low or 0, GPTQ_UNPACK.high or 0
        found.append(Moment(Amount(held + low * unpacked, held + GPTQ_UNPACK.value * unpacked, held + high * unpacked), because))
    top = widest(found)
    spare = SPARE_RESIDUALS * tokens * architecture.hidden_size * size
    return Moment(Amount(top.amount.low, top.amount.expected, top.amount.high + spare), top.because)


def _attention_moments(case: Case, layer: Layer, tokens: int, base: int) -> list[Moment]:
    size = activation_bytes(case)
    base -= case.model.architecture.hidden_size * size  # the sum after attention is not there yet
    found: list[Moment] = []
    for mixer in layer.mixers:
        turned = rotation_width(mixer) * size if case.model.architecture.rotary else 0
        found.append(exactly(tokens * (base + turned), f"rotating the queries of {tokens:,} tokens: {turned:,} bytes beside {base:,} each"))
        mask = _mask_bytes(case, mixer)
        scores = _score_bytes(case, mixer, tokens)
        width = query_width(mixer) if scores else attention_width(mixer)  # the output comes after the scores
        held = tokens * (base + width * size)
        because = f"attention of {tokens:,} tokens: {width:,} elements of {size} bytes each beside {base:,} bytes of streams"
        copies = case.workload.concurrent_sequences * (case.workload.prompt_tokens or 0) * copied_width(mixer) * size
        if copies and (repeats_heads(case) or mask[0]):
            held += copies
            because += f", {format_bytes(copies)} of keys and values repeated for every query head"
        if scores:
            because += f", {format_bytes(scores)} of scores"
        if mask[0]:
            because += f", {format_bytes(mask[0])} of mask"
        found.append(Moment(Amount(held + scores, held + scores + mask[0], held + scores + mask[1]), because))
    return found


def copied_width(mixer: Mixer) -> int:
    """Elements per past token of keys and values repeated for every query head; none where each head has its own."""
    match mixer:
        case FullAttention() | SlidingAttention() | ChunkedAttention() | CrossAttention():
            return 0 if mixer.query_heads == mixer.kv_heads else mixer.query_heads * (mixer.key_dim + mixer.value_dim)
        case LatentAttention() | CompressedAttention() | SharedCache() | Recurrent():
            return 0
        case _:
            assert_never(mixer)


def _score_bytes(case: Case, mixer: Mixer, tokens: int) -> int:
    """Eager attention, for every head and pair of tokens: raw scores, their float32 softmax, and its float32 input or its result.

    Only CUDA reads float16 into a float32 softmax without a copy (PyTorch, ATen/native/SoftMax.cpp); float32 needs neither.
    """
    if case.settings.text("attn_implementation") != "eager" or isinstance(mixer, Recurrent):
        return 0
    past = mixer.source_tokens if isinstance(mixer, CrossAttention) else case.workload.prompt_tokens or 0
    size = activation_bytes(case)
    fused = case.settings.text("dtype") == "float16" and all(device.kind == "cuda" for device in case.devices)
    third = 0 if size == FLOAT else size if fused else FLOAT
    return tokens * past * mixer.query_heads * (size + FLOAT + third)


def query_width(mixer: Mixer) -> int:
    """Elements per token of the queries, and of latents unfolded to keys and values of every head."""
    match mixer:
        case LatentAttention():
            return attention_width(mixer) - 2 * mixer.query_heads * mixer.value_dim
        case Recurrent():
            return attention_width(mixer)
        case _:
            return mixer.query_heads * mixer.key_dim


def _mask_bytes(case: Case, mixer: Mixer) -> tuple[int, int]:
    """Expected and highest bytes of the mask: flash attention has none, sdpa only for windows, chunks or padding, eager always."""
    kind = case.settings.text("attn_implementation")
    pairs = query_tokens(case) * (case.workload.prompt_tokens or 0)
    window = mixer.window_tokens if isinstance(mixer, SlidingAttention) else None
    if kind == "eager":
        whole = pairs * case.workload.concurrent_sequences * activation_bytes(case)
        return whole, whole
    if kind != "sdpa":
        return 0, 0
    # Newer releases make a mask of truth values, which sdpa turns into numbers.
    one = pairs * (activation_bytes(case) + (1 if rules(case).native_groups else 0))
    prompt = case.workload.prompt_tokens or 0
    needed = one if query_tokens(case) < prompt or (window is not None and prompt >= window) else 0
    padded = one * case.workload.concurrent_sequences if case.workload.concurrent_sequences > 1 else needed
    return needed, max(needed, padded)


def attention_width(mixer: Mixer) -> int:
    """Elements per token of the query, the output and its reordered copy, and of latents unfolded to keys and values of every head."""
    match mixer:
        case FullAttention() | SlidingAttention() | ChunkedAttention() | CrossAttention() | SharedCache():
            return mixer.query_heads * (mixer.key_dim + 2 * mixer.value_dim)
        case LatentAttention():
            return mixer.query_heads * (3 * mixer.nope_dim + 2 * mixer.rope_dim + 3 * mixer.value_dim)
        case CompressedAttention():
            return 2 * mixer.query_heads * mixer.key_dim
        case Recurrent():
            return 6 * mixer.inner_dim
        case _:
            assert_never(mixer)


def rotation_width(mixer: Mixer) -> int:
    """Elements per token while positions are worked into the queries: they, two products and the half-turned copy."""
    match mixer:
        case FullAttention() | SlidingAttention() | ChunkedAttention() | SharedCache() | CompressedAttention():
            return 4 * mixer.query_heads * mixer.key_dim
        case LatentAttention():
            return mixer.query_heads * (mixer.nope_dim + 4 * mixer.rope_dim)
        case CrossAttention() | Recurrent():
            return 0
        case _:
            assert_never(mixer)


def _feed_forward_moments(case: Case, layer: Layer, tokens: int, base: int) -> list[Moment]:
    size, part = activation_bytes(case), layer.feed_forward
    match part:
        case None:
            return []
        case DenseFeedForward():
            width = (3 if part.gated else 2) * part.intermediate
            because = f"MLP of {tokens:,} tokens: {width:,} elements of {size} bytes (gate, up and their product) beside {base:,} bytes"
            return [exactly(tokens * (base + width * size), because)]
        case ExpertFeedForward():
            return [_expert_moment(case, part, tokens, base)]
        case _:
            assert_never(part)


def _expert_moment(case: Case, part: ExpertFeedForward, tokens: int, base: int) -> Moment:
    """Since 5.0 all routed rows in one product; before, one expert after another over a one-hot table of 64-bit integers."""
    size, hidden = activation_bytes(case), case.model.architecture.hidden_size
    shared = 3 * part.shared_intermediate * size
    if rules(case).grouped_experts:
        row = max(hidden + 4 * part.intermediate, 4 * hidden)  # gate, up and their product; or the outputs weighted and put in order
        width = part.experts_per_token * row
        because = f"experts of {tokens:,} tokens: {part.experts_per_token} rows of {row:,} elements"
        return exactly(tokens * max(base + width * size, base + shared), f"{because}, {size} bytes each, beside {base:,} bytes")
    table = 8 * part.experts * part.experts_per_token + FLOAT * part.experts
    one = (3 * part.intermediate + 2 * hidden) * size
    rest = tokens * (base + table + hidden * size)
    even = tokens * part.experts_per_token // part.experts
    because = f"experts of {tokens:,} tokens: routing table {table:,} bytes, sum {hidden * size:,}, one expert at a time {one:,} a row"
    return Moment(Amount(rest + even * one, rest + max(2 * even * one, tokens * shared), rest + tokens * max(one, shared)), because)


def _narrow_width(layer: Layer) -> int:
    part = layer.feed_forward
    return 0 if part is None else part.intermediate


def _unpacked(case: Case, share: Share) -> int:
    return share.packed_weights if case.model.checkpoint.scheme.startswith("gptq 8-bit") else 0


def prefill_logits(case: Case, share: Share, *, first: bool) -> Moment:
    """The moment after the last layer: the logits on the head's device, and on the first device the copy that goes back to it."""
    architecture, size = case.model.architecture, activation_bytes(case)
    rows, vocab = case.workload.concurrent_sequences, architecture.vocab_size
    if last_logits_only(architecture.model_type, case.version):
        return decode_logits(case, share)
    every = rows * query_tokens(case)
    cast = FLOAT if rules(case).float_logits else 0
    if share.has_head:
        because = f"logits of all {every:,} positions x {vocab:,}: {size} bytes" + (" and again as float32" if cast else "")
        return exactly(every * (vocab * (size + cast) + architecture.hidden_size * size), because)
    copy = every * vocab * (cast or size) if first else 0
    return exactly(copy, f"logits of all {every:,} positions x {vocab:,} come back to the first device")


def decode_logits(case: Case, share: Share) -> Moment:
    """The last position's logits and what sampling makes of them."""
    if not share.has_head:
        return exactly(0, "the head lies elsewhere")
    rows, vocab = case.workload.concurrent_sequences, case.model.architecture.vocab_size
    own = rows * vocab * activation_bytes(case)
    one = rows * vocab * FLOAT
    copies = (SAMPLER_COPIES.low or 0, SAMPLER_COPIES.value, SAMPLER_COPIES.high or 0)
    because = f"logits of {rows:,} rows x {vocab:,}, and {SAMPLER_COPIES.value} float32 copies while one token is drawn"
    return Moment(Amount(*(own + count * one for count in copies)), because)
