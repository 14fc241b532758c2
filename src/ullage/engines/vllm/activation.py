"""The activation peak of the start-up profile: one forward pass over a full batch, then logits and the sampler."""

from functools import lru_cache

from ullage.catalog.tensor_formats import model_dtype
from ullage.domain.architecture import DenseFeedForward, ExpertFeedForward, Layer
from ullage.domain.case import Case, Model
from ullage.domain.ledger import NOTHING, Amount
from ullage.engines.vllm.resolve import activation_dtype, capability, is_linked, kinds_of_layers, rules
from ullage.engines.vllm.towers import seen, trial
from ullage.engines.vllm.versions import Core, Rules
from ullage.formulas.sharding import ceil_div, padded_vocabulary
from ullage.formulas.widths import feed_width, mixer_width, widest_layer
from ullage.frozen import dataclass
from ullage.units import MiB, format_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Peak:
    """The three places where a profile peaks, and the arithmetic of the largest."""

    layer: Amount
    sampler: Amount
    tower: Amount
    because: str

    @property
    def amount(self) -> Amount:
        """The largest of the three, end by end."""
        parts = (self.layer, self.sampler, self.tower)
        return Amount(max(p.low for p in parts), max(p.expected for p in parts), max(p.high for p in parts))

    @property
    def without_sampler(self) -> Amount:
        """The same on a rank that takes no samples."""
        parts = (self.layer, self.tower)
        return Amount(max(p.low for p in parts), max(p.expected for p in parts), max(p.high for p in parts))


def element_bytes(case: Case) -> int:
    """Bytes of one activation."""
    return model_dtype(activation_dtype(case)).block_bytes


def layer_bytes(case: Case, tokens: int) -> int:
    """Peak of one layer over ``tokens`` tokens: tokens x element x (copies x hidden + widest pair). Checked against vllm#10517."""
    rule = rules(case)
    summed = case.parallel.tensor > 1 and not is_linked(case)
    copies = rule.hidden_copies_summed if summed else rule.hidden_copies
    width = copies * case.model.architecture.hidden_size + _widest(case, rule)
    return tokens * (element_bytes(case) * width + _requantised(case)) + _unpacked(case, tokens)


def _widest(case: Case, rule: Rules) -> int:
    """The widest pair of buffers beside the hidden-sized ones; experts' buffers apart where they are kept between layers."""
    if not rule.expert_workspace or not case.model.architecture.is_mixture:
        return widest_layer(case.model, case.parallel.tensor)
    return widest_without_experts(case.model, case.parallel.tensor)


@lru_cache(maxsize=512)
def widest_without_experts(model: Model, tensor: int) -> int:
    """The widest pair of any layer's attention, dense MLP or shared expert."""
    return max((max(mixer_width(layer, tensor), _dense_width(layer, tensor)) for layer in kinds_of_layers(model)), default=0)


def _dense_width(layer: Layer, tensor: int) -> int:
    feed = layer.feed_forward
    if isinstance(feed, DenseFeedForward):
        return feed_width(layer, 0, tensor)
    return ceil_div(3 * feed.shared_intermediate, tensor) if feed is not None else 0


SPLIT_PRODUCTS = 8  # partial sums of the first AWQ kernel
SPLIT_UNTIL, AWQ_MARLIN_SINCE, GPTQ_MARLIN_SINCE = (0, 3), (0, 5, 5), (0, 4, 2)
AMPERE = (8, 0)


def _unpacked(case: Case, tokens: int) -> int:
    """What kernels before Marlin need beside a product of packed weights.

    AWQ: eight partial sums of the product to 0.2, and from 0.3 on the matrix itself in 16 bits, as GPTQ from the start.
    """
    scheme, at, able = case.model.checkpoint.scheme, case.version.parts, capability(case)
    since = next((release for word, release in (("awq", AWQ_MARLIN_SINCE), ("gptq", GPTQ_MARLIN_SINCE)) if scheme.startswith(word)), None)
    if since is None or (at >= since and (able is None or able >= AMPERE)):
        return 0
    hidden = case.model.architecture.hidden_size
    widest = max((_product_width(layer, case.parallel.tensor) for layer in kinds_of_layers(case.model)), default=0)
    if scheme.startswith("awq") and at < SPLIT_UNTIL:
        return (SPLIT_PRODUCTS - 1) * tokens * widest * element_bytes(case)
    return hidden * widest * element_bytes(case)


def _product_width(layer: Layer, tensor: int) -> int:
    """Outputs of the widest product: gate and up together, or one expert's up projection, which early releases kept whole."""
    feed = layer.feed_forward
    if isinstance(feed, ExpertFeedForward):
        return feed.intermediate
    return ceil_div((2 if feed.gated else 1) * feed.intermediate, tensor) if feed is not None else 0


def _requantised(case: Case) -> int:
    """Bytes per token of the 8-bit copy of a down projection's input, where activations are quantised as well."""
    scheme, able = case.model.checkpoint.scheme, capability(case)
    whole = "fp8" in scheme and able is not None and able >= FP8_CARDS
    if not whole and "int8 channel" not in scheme:
        return 0
    return max((ceil_div(_inner(layer), case.parallel.tensor) for layer in kinds_of_layers(case.model)), default=0)


FP8_CARDS = (8, 9)


def _inner(layer: Layer) -> int:
    feed = layer.feed_forward
    return feed.intermediate if isinstance(feed, DenseFeedForward) else 0


def expert_workspace(case: Case, tokens: int) -> Amount:
    """Buffers of the fused experts that stay allocated from the first mixture layer on: what both products of all chosen experts take.

    Two buffers of tokens x experts per token x the wider of the hidden and the inner side. Kernels of four-bit floats manage without.
    """
    architecture = case.model.architecture
    if not rules(case).expert_workspace:
        return NOTHING
    hidden, found = architecture.hidden_size, 0
    ways = 1 if case.parallel.expert else case.parallel.tensor
    for layer in kinds_of_layers(case.model):
        feed = layer.feed_forward
        if isinstance(feed, ExpertFeedForward):
            inner = ceil_div(feed.intermediate, ways)
            both = max(inner, hidden) + max((2 if feed.gated else 1) * inner, hidden)
            found = max(found, tokens * feed.experts_per_token * both * element_bytes(case))
    if "fp4" in case.model.checkpoint.scheme:
        return Amount(0, 0, found)
    return Amount(found * 9 // 10, found, found * 11 // 10)


def profile_peak(case: Case) -> Peak:
    """The activation peak of the profile run on the rank that holds the sampler."""
    architecture, rule = case.model.architecture, rules(case)
    element = element_bytes(case)
    tokens = case.settings.integer("max_num_batched_tokens") or 0
    rows = min(case.settings.integer("max_num_seqs") or 1, tokens)
    layer = layer_bytes(case, tokens) + (rule.activation_base if rule.core is Core.V1 else 0)
    vocab = padded_vocabulary(architecture.vocab_size, 64)
    hidden = tokens * architecture.hidden_size * element
    low, expected, high = (rows * vocab * tenths // 10 + hidden for tenths in rule.sampler_bytes)
    base = 56 * MiB if rule.core is Core.V1 else 32 * MiB
    factor = 2 if architecture.is_mixture and not rule.expert_workspace else 1
    tower = seen(case, element)
    kept = expert_workspace(case, tokens) + Amount(tower.kept // 2, tower.kept, tower.kept * 2)
    return Peak(
        layer=Amount(layer * 19 // 20, layer, layer * (108 if rule.core is Core.V1 else 125) * factor // 100 + _at_worst(case, tokens))
        + kept,
        sampler=Amount(low, expected + base, high + base) + kept,
        tower=tower.peak,
        because=_because(case, rule, tokens=tokens, rows=rows, vocab=vocab, layer=layer, sampler=expected + base, kept=kept.expected)
        if tower.peak.expected <= max(layer, expected + base) + kept.expected
        else _because_tower(case, tower.peak.expected),
    )


def _at_worst(case: Case, tokens: int) -> int:
    """What a release may need besides: fp8 products made in fp32 where CUDA is old, and unchunked scores of a sparse indexer on ROCm."""
    worst = 0
    if rules(case).core is Core.V0 and case.version.parts < (0, 7) and "fp8" in case.model.checkpoint.scheme:
        worst += 4 * tokens * max((_product_width(layer, case.parallel.tensor) for layer in kinds_of_layers(case.model)), default=0)
    if case.machine.devices[0].kind == "rocm":
        mixers = (mixer for layer in kinds_of_layers(case.model) for mixer in layer.mixers)
        indexed = any(getattr(mixer, "indexer", None) is not None for mixer in mixers)
        worst += 4 * tokens * (case.settings.integer("max_model_len") or 0) if indexed else 0
    return worst


def _because_tower(case: Case, peak: int) -> str:
    tried = trial(case)
    items, tokens = (tried.items, tried.tokens) if tried else (0, 0)
    return f"profile: the tower over {items} item(s) of {tokens:,} tokens = {format_bytes(peak)}"


def _because(case: Case, rule: Rules, *, tokens: int, rows: int, vocab: int, layer: int, sampler: int, kept: int) -> str:
    hidden = case.model.architecture.hidden_size
    widest = _widest(case, rule)
    more = f", and {format_bytes(kept)} of experts' buffers and tower outputs stay beside it" if kept else ""
    if layer >= sampler:
        return (
            f"profile of {tokens:,} batched tokens x {element_bytes(case)} B x ({rule.hidden_copies} x hidden {hidden:,} + widest pair "
            f"{widest:,}) = {format_bytes(layer)}; the sampler over {rows} rows needs {format_bytes(sampler)}{more}"
        )
    return (
        f"profile: sampler over {rows} rows x {vocab:,} vocabulary x {rule.sampler_bytes[1] / 10:g} B + hidden states of {tokens:,} tokens "
        f"= {format_bytes(sampler)}; one layer needs {format_bytes(layer)}{more}"
    )
