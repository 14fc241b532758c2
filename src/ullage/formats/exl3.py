"""EXL3 (ExLlamaV3): trellis-coded tiles of 16 by 16 weights and one scale for every input and output."""

from fractions import Fraction

from ullage.catalog.tensor_formats import F16, I16
from ullage.domain.checkpoint import Tensor
from ullage.domain.hyperparameters import Hyperparameters, Json
from ullage.domain.weight_format import Recipe
from ullage.formats._exllama import apply_bits, meaning
from ullage.formats._layouts import matrix, scale, stored
from ullage.formulas.sharding import ceil_div

_TILE = 16


def reads(config: Hyperparameters) -> bool:
    """Whether the scheme is EXL3."""
    return config.raw("quant_method") == "exl3"


def apply(tensors: tuple[Tensor, ...], config: Hyperparameters) -> tuple[tuple[Tensor, ...], str]:
    """All linear layers at the average, the head at its own number of bits."""
    return apply_bits(tensors, config, _layout)


def _layout(weight: Tensor, bits: Fraction) -> tuple[Tensor, ...]:
    """A tile of b bits a weight is 16*b words of 16 bits; an average between two whole numbers is rounded to a word."""
    rows, columns = matrix(weight)
    return (
        stored(weight, "trellis", (ceil_div(columns, _TILE), ceil_div(rows, _TILE), round(_TILE * bits)), I16),
        scale(weight, "suh", (columns,), F16),
        scale(weight, "svh", (rows,), F16),
    )


def named(word: str) -> dict[str, Json] | None:
    """``exl3-4.0bpw``."""
    return meaning(word, "exl3")


RECIPE = Recipe(name="exl3", reads=reads, apply=apply, words=tuple(f"exl3-{bits}bpw" for bits in ("2.0", "3.0", "4.0", "5.0")), named=named)
