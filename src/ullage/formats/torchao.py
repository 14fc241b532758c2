"""TorchAO: tensor subclasses of int8, int4 or FP8 weights, stored as their parts."""

from ullage.catalog.tensor_formats import BF16, I8, I32
from ullage.domain.checkpoint import Tensor
from ullage.domain.hyperparameters import Hyperparameters, Json
from ullage.domain.weight_format import Recipe
from ullage.errors import UnsupportedModelError
from ullage.formats._layouts import fp8_channel, groups_of, matrix, scale, stored
from ullage.formats._modules import convert, linears
from ullage.formats._patterns import named
from ullage.formulas.sharding import ceil_div
from ullage.frozen import replace

_INT8 = frozenset({"int8weightonly", "int8dynamicactivationint8weight"})
_INT4 = frozenset({"int4weightonly"})
_FP8 = frozenset({"float8weightonly", "float8dynamicactivationfloat8weight"})
_WORDS: dict[str, dict[str, Json]] = {
    "torchao-int8": {"quant_method": "torchao", "quant_type": "int8_weight_only"},
    "torchao-int4": {"quant_method": "torchao", "quant_type": "int4_weight_only", "quant_type_kwargs": {"group_size": 128}},
    "torchao-fp8": {"quant_method": "torchao", "quant_type": "float8_weight_only"},
}


def reads(config: Hyperparameters) -> bool:
    """Whether the scheme is TorchAO's."""
    return config.raw("quant_method") == "torchao"


def apply(tensors: tuple[Tensor, ...], config: Hyperparameters) -> tuple[tuple[Tensor, ...], str]:
    """Every linear layer but the head and those listed."""
    config.ignore("include_input_output_embeddings", "untie_embedding_weights", "quant_type_kwargs_note")
    config.must_be("include_input_output_embeddings", False)
    name, group = _kind(config)
    chosen = linears(tensors, skip=named(config, "modules_to_not_convert"))
    if name in _INT8:
        return convert(tensors, chosen, lambda weight: _int8(weight, group)), "torchao int8"
    if name in _INT4:
        size = group or 128
        return convert(tensors, chosen, lambda weight: _int4(weight, size)), f"torchao int4 g{size}"
    if name in _FP8:
        return convert(tensors, chosen, fp8_channel), "torchao fp8"
    raise UnsupportedModelError(f"quant_type is {name[:60]!r}; int8, int4 and float8 weights are known")


def _kind(config: Hyperparameters) -> tuple[str, int]:
    """The scheme in letters and digits only, and its group size (0: by row), from either way of writing it."""
    if isinstance(config.raw("quant_type"), str):
        settings = config.child_or_none("quant_type_kwargs")
        word = config.text("quant_type")
    else:
        stated = config.child("quant_type")
        inner = stated.child("default") if stated.has("default") else stated
        settings, word = inner.child_or_none("_data"), inner.text("_type")
    group = settings.integer_or("group_size", 0) if settings is not None else 0
    return word.lower().replace("_", "").removesuffix("config"), group


def _int8(weight: Tensor, group: int) -> tuple[Tensor, ...]:
    rows, columns = matrix(weight)
    return replace(weight, format=I8), scale(weight, "weight_scale", (rows, groups_of(columns, group)), weight.format)


def _int4(weight: Tensor, group: int) -> tuple[Tensor, ...]:
    """Eight weights a 32-bit word, and a scale and a zero in bfloat16 for every group."""
    rows, columns = matrix(weight)
    return (
        stored(weight, "weight_packed", (rows, ceil_div(columns, 8)), I32),
        scale(weight, "weight_scale", (ceil_div(columns, group), rows, 2), BF16),
    )


RECIPE = Recipe(name="torchao", reads=reads, apply=apply, words=tuple(_WORDS), named=_WORDS.get)
