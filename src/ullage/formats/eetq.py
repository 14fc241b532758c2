"""EETQ: int8 weights with one half-precision scale for every output."""

from ullage.catalog.tensor_formats import F16, I8
from ullage.domain.checkpoint import Tensor
from ullage.domain.hyperparameters import Hyperparameters, Json
from ullage.domain.weight_format import Recipe
from ullage.formats._layouts import matrix, scale, stored
from ullage.formats._modules import convert, linears
from ullage.formats._patterns import named

_WORDS: dict[str, dict[str, Json]] = {"eetq": {"quant_method": "eetq", "weights": "int8"}}


def reads(config: Hyperparameters) -> bool:
    """Whether the scheme is EETQ."""
    return config.raw("quant_method") == "eetq"


def apply(tensors: tuple[Tensor, ...], config: Hyperparameters) -> tuple[tuple[Tensor, ...], str]:
    """Every linear layer but the head and those listed."""
    config.must_be("weights", "int8")
    return convert(tensors, linears(tensors, skip=named(config, "modules_to_not_convert")), _layout), "eetq int8"


def _layout(weight: Tensor) -> tuple[Tensor, ...]:
    rows, columns = matrix(weight)
    return stored(weight, "weight", (columns, rows), I8), scale(weight, "weight_scales", (rows,), F16)


RECIPE = Recipe(name="eetq", reads=reads, apply=apply, words=tuple(_WORDS), named=_WORDS.get)
