"""EXL2 (ExLlamaV2): rows of mixed bits with four-bit scales, so many bits a weight on average, scales included."""

from fractions import Fraction

from ullage.catalog.tensor_formats import F16, I16, I32
from ullage.domain.checkpoint import Part, Tensor
from ullage.domain.hyperparameters import Hyperparameters, Json
from ullage.domain.weight_format import Recipe
from ullage.formats._exllama import apply_bits, meaning
from ullage.formats._layouts import matrix, scale, stored
from ullage.formulas.sharding import ceil_div

# Inputs that share a scale, as the converter usually chooses: fewer where there are fewer bits.
_GROUP_OF_BITS = ((Fraction(4), 128), (Fraction(3), 64), (Fraction(0), 32))
_WORD_BITS = 32
_SCALE_BITS = 4


def reads(config: Hyperparameters) -> bool:
    """Whether the scheme is EXL2."""
    return config.raw("quant_method") == "exl2"


def apply(tensors: tuple[Tensor, ...], config: Hyperparameters) -> tuple[tuple[Tensor, ...], str]:
    """All linear layers at the average, the head at its own number of bits."""
    return apply_bits(tensors, config, _layout)


def _layout(weight: Tensor, bits: Fraction) -> tuple[Tensor, ...]:
    """The average counts the scales, so the weights themselves get what the scales leave."""
    rows, columns = matrix(weight)
    groups = ceil_div(columns, next(group for least, group in _GROUP_OF_BITS if bits >= least))
    scales = ceil_div(groups * rows * _SCALE_BITS, _WORD_BITS)
    words = int(rows * columns * bits) // _WORD_BITS
    return (
        stored(weight, "q_weight", (max(words - scales, 1),), I32),
        scale(weight, "q_scale", (groups, ceil_div(rows * _SCALE_BITS, _WORD_BITS)), I32),
        scale(weight, "q_scale_max", (groups,), F16),
        stored(weight, "q_groups", (2 * groups,), I16, Part.INDEX),
        stored(weight, "q_invperm", (columns,), I32, Part.INDEX),
    )


def named(word: str) -> dict[str, Json] | None:
    """``exl2-4.0bpw``."""
    return meaning(word, "exl2")


RECIPE = Recipe(name="exl2", reads=reads, apply=apply, words=tuple(f"exl2-{bits}bpw" for bits in ("3.0", "4.0", "5.0", "6.0")), named=named)
