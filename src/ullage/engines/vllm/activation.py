"""The activation peak of the start-up profile: one forward pass over a full batch, then logits and the sampler."""

from dataclasses import dataclass

from ullage.catalog.tensor_formats import model_dtype
from ullage.domain.case import Case
from ullage.domain.ledger import Amount
from ullage.engines.vllm.resolve import activation_dtype, rules
from ullage.engines.vllm.versions import Core, Rules
from ullage.formulas.sharding import padded_vocabulary
from ullage.formulas.widths import widest_layer
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
