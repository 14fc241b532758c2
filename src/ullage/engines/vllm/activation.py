"""The activation peak of the start-up profile: one forward pass over a full batch, then logits and the sampler."""

from dataclasses import dataclass
from functools import lru_cache

from ullage.catalog.tensor_formats import model_dtype
from ullage.domain.architecture import (
    ExpertFeedForward,
    LatentAttention,
    Layer,
    Recurrent,
)
from ullage.domain.case import Case, Model
from ullage.domain.ledger import Amount
from ullage.engines.vllm.resolve import activation_dtype, rules
from ullage.engines.vllm.versions import Core, Rules
from ullage.formulas.sharding import ceil_div, kv_heads_per_rank, padded_vocabulary
from ullage.units import MiB, format_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Peak:
    """The two places where a profile peaks, and the arithmetic of the larger one."""

    layer: Amount
    sampler: Amount
    because: str

    @property
    def amount(self) -> Amount:
        """The larger of the two, end by end."""
        return Amount(*(max(a, b) for a, b in zip(_ends(self.layer), _ends(self.sampler), strict=True)))


def _ends(amount: Amount) -> tuple[int, int, int]:
    return amount.low, amount.expected, amount.high


def element_bytes(case: Case) -> int:
    """Bytes of one activation."""
    return model_dtype(activation_dtype(case)).block_bytes


@lru_cache(maxsize=512)
def widest_layer(model: Model, tensor: int) -> int:
    """Elements per token of the widest pair of buffers in any layer beside the hidden-sized ones."""
    architecture = model.architecture
    distinct = set(architecture.layers)
    return max((max(_mixer_width(layer, tensor), _feed_width(layer, architecture.hidden_size, tensor)) for layer in distinct), default=0)


def _mixer_width(layer: Layer, tensor: int) -> int:
    """Projected q, k, v and the attention's output; for recurrent mixers the in-projection and its convolved copy."""
    width = 0
    for mixer in layer.mixers:
        match mixer:
            case Recurrent():
                width = max(width, 3 * ceil_div(mixer.inner_dim, tensor))
            case LatentAttention():
                heads = ceil_div(mixer.query_heads, tensor)
                width = max(width, heads * (2 * mixer.nope_dim + mixer.rope_dim * 2 + 2 * mixer.value_dim))
            case _:
                heads = ceil_div(mixer.query_heads, tensor)
                kv = kv_heads_per_rank(getattr(mixer, "kv_heads", 1), tensor)
                value = getattr(mixer, "value_dim", mixer.key_dim)
                width = max(width, heads * (mixer.key_dim + value) + kv * (mixer.key_dim + value))
    return width


def _feed_width(layer: Layer, hidden: int, tensor: int) -> int:
    """Gate and up fused, and their product; experts keep both for every chosen expert of a token."""
    feed = layer.feed_forward
    match feed:
        case None:
            return 0
        case ExpertFeedForward():
            up = ceil_div((2 if feed.gated else 1) * feed.intermediate, tensor)
            inner = ceil_div(feed.intermediate, tensor)
            routed = feed.experts_per_token * (max(up, hidden) + max(inner, hidden))
            return routed + hidden
        case _:
            return ceil_div((3 if feed.gated else 2) * feed.intermediate, tensor)


def layer_bytes(case: Case, tokens: int) -> int:
    """Peak of one layer over ``tokens`` tokens: tokens x element x (copies x hidden + widest pair). Checked against vllm#10517."""
    architecture, rule = case.model.architecture, rules(case)
    width = rule.hidden_copies * architecture.hidden_size + widest_layer(case.model, case.parallel.tensor)
    return tokens * element_bytes(case) * width


def profile_peak(case: Case) -> Peak:
    """The activation peak of the profile run on the rank that holds the sampler."""
    architecture, rule = case.model.architecture, rules(case)
    tokens = case.settings.integer("max_num_batched_tokens") or 0
    rows = min(case.settings.integer("max_num_seqs") or 1, tokens)
    layer = layer_bytes(case, tokens) + (rule.activation_base if rule.core is Core.V1 else 0)
    vocab = padded_vocabulary(architecture.vocab_size, 64)
    hidden = tokens * architecture.hidden_size * element_bytes(case)
    low, expected, high = (rows * vocab * tenths // 10 + hidden for tenths in rule.sampler_bytes)
    base = 56 * MiB if rule.core is Core.V1 else 32 * MiB
    sampler = Amount(low, expected + base, high + base)
    mixture_factor = 2 if architecture.is_mixture else 1
    layer_amount = Amount(layer * 19 // 20, layer, layer * 107 // 100 * mixture_factor)
    tower = _tower_bytes(case, tokens)
    return Peak(
        layer=Amount(layer_amount.low, layer_amount.expected, layer_amount.high + tower),
        sampler=Amount(sampler.low, sampler.expected, sampler.high + tower),
        because=_because(case, rule, tokens=tokens, rows=rows, vocab=vocab, layer=layer, sampler=sampler.expected),
    )


def _tower_bytes(case: Case, tokens: int) -> int:
    """What a vision tower may add at the high end: its outputs and one layer over a full budget of image tokens."""
    architecture = case.model.architecture
    if not architecture.encoder_tokens or case.settings.flag("language_model_only"):
        return 0
    return max(tokens, architecture.encoder_tokens) * architecture.hidden_size * element_bytes(case) * 8


def _because(case: Case, rule: Rules, *, tokens: int, rows: int, vocab: int, layer: int, sampler: int) -> str:
    hidden = case.model.architecture.hidden_size
    widest = widest_layer(case.model, case.parallel.tensor)
    if layer >= sampler:
        return (
            f"profile of {tokens:,} batched tokens x {element_bytes(case)} B x ({rule.hidden_copies} x hidden {hidden:,} + widest pair "
            f"{widest:,}) = {format_bytes(layer)}; the sampler over {rows} rows needs {format_bytes(sampler)}"
        )
    return (
        f"profile: sampler over {rows} rows x {vocab:,} vocabulary x {rule.sampler_bytes[1] / 10:g} B + hidden states of {tokens:,} tokens "
        f"= {format_bytes(sampler)}; one layer needs {format_bytes(layer)}"
    )
