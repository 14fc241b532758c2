"""Quanto: int8 or FP8 weights by row, int4 and int2 weights in groups of 128."""

from collections.abc import Callable

from ullage.catalog.tensor_formats import FP8_E4M3, I8, U8
from ullage.domain.checkpoint import Part, Tensor
from ullage.domain.hyperparameters import Hyperparameters, Json
from ullage.domain.weight_format import Recipe
from ullage.errors import UnsupportedModelError
from ullage.formats._layouts import groups_of, matrix, scale, stored
from ullage.formats._modules import convert, linears
from ullage.formats._patterns import named
from ullage.formulas.sharding import ceil_div
from ullage.frozen import replace

_GROUP = 128
_WORDS: dict[str, dict[str, Json]] = {f"quanto-{kind}": {"quant_method": "quanto", "weights": kind} for kind in ("int8", "int4", "float8")}


def reads(config: Hyperparameters) -> bool:
    """Whether the scheme is Quanto's."""
    return config.raw("quant_method") == "quanto"


def apply(tensors: tuple[Tensor, ...], config: Hyperparameters) -> tuple[tuple[Tensor, ...], str]:
    """Every linear layer but the head and those listed."""
    config.ignore("activations")
    kind = config.text("weights")
    layouts: dict[str, Callable[[Tensor], tuple[Tensor, ...]]] = {
        "int8": lambda weight: (replace(weight, format=I8), _row_scale(weight)),
        "float8": lambda weight: (replace(weight, format=FP8_E4M3), _row_scale(weight)),
        "int4": lambda weight: _grouped(weight, 4),
        "int2": lambda weight: _grouped(weight, 2),
    }
    if kind not in layouts:
        raise UnsupportedModelError(f"weights is {kind[:40]!r}; {', '.join(layouts)} are known")
    return convert(tensors, linears(tensors, skip=named(config, "modules_to_not_convert")), layouts[kind]), f"quanto {kind}"


def _row_scale(weight: Tensor) -> Tensor:
    return scale(weight, "weight._scale", (weight.shape[-2], 1), weight.format)


def _grouped(weight: Tensor, bits: int) -> tuple[Tensor, ...]:
    rows, columns = matrix(weight)
    groups = groups_of(columns, _GROUP)
    return (
        stored(weight, "weight._data", (rows, ceil_div(columns * bits, 8)), U8),
        scale(weight, "weight._scale", (rows, groups), weight.format),
        stored(weight, "weight._shift", (rows, groups), weight.format, Part.ZERO),
    )


RECIPE = Recipe(name="quanto", reads=reads, apply=apply, words=tuple(_WORDS), named=_WORDS.get)
