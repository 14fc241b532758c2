"""bitsandbytes: four bits with a scale for every 64 weights, themselves quantised or not, or eight bits by row."""

from ullage.catalog.tensor_formats import F32, I8, U8
from ullage.domain.checkpoint import Tensor
from ullage.domain.hyperparameters import Hyperparameters, Json
from ullage.domain.weight_format import Recipe
from ullage.errors import UnsupportedModelError
from ullage.formats._layouts import scale, stored
from ullage.formats._modules import convert, linears
from ullage.formats._patterns import named
from ullage.formulas.sharding import ceil_div
from ullage.frozen import replace

_BLOCK = 64
_NESTED_BLOCK = 256
_MAP_ENTRIES = 16
_NESTED_MAP_ENTRIES = 256
_METHODS = frozenset({"bitsandbytes", "bitsandbytes_4bit", "bitsandbytes_8bit"})
_WORDS: dict[str, dict[str, Json]] = {
    "nf4": {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": False},
    "nf4-double": {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True},
    "fp4": {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "fp4", "bnb_4bit_use_double_quant": False},
    "int8": {"quant_method": "bitsandbytes", "load_in_8bit": True},
}


def reads(config: Hyperparameters) -> bool:
    """Whether the scheme is that of bitsandbytes."""
    return config.raw("quant_method") in _METHODS or config.raw("load_in_4bit") is True or config.raw("load_in_8bit") is True


def apply(tensors: tuple[Tensor, ...], config: Hyperparameters) -> tuple[tuple[Tensor, ...], str]:
    """Every linear layer but the head and those listed in ``llm_int8_skip_modules``."""
    config.ignore("_load_in_4bit", "_load_in_8bit", "bnb_4bit_compute_dtype", "llm_int8_enable_fp32_cpu_offload")
    config.ignore("llm_int8_has_fp16_weight", "llm_int8_threshold", "bnb_4bit_quant_storage")
    chosen = linears(tensors, skip=named(config, "llm_int8_skip_modules"))
    if config.flag("load_in_8bit", default=False):
        return convert(tensors, chosen, _int8), "bitsandbytes int8"
    config.must_be("load_in_4bit", True)
    kind = config.text_or("bnb_4bit_quant_type", "fp4")
    if kind not in {"nf4", "fp4"}:
        raise UnsupportedModelError(f"bnb_4bit_quant_type is {kind!r}; nf4 and fp4 are known")
    double = config.flag("bnb_4bit_use_double_quant", default=False)
    name = f"bitsandbytes {kind}" + (" with double quantisation" if double else "")
    return convert(tensors, chosen, lambda weight: _four_bits(weight, double=double)), name


def _int8(weight: Tensor) -> tuple[Tensor, ...]:
    return (replace(weight, format=I8), scale(weight, "SCB", (weight.shape[-2],)))


def _four_bits(weight: Tensor, *, double: bool) -> tuple[Tensor, ...]:
    """One column of bytes, a scale for each block, the 16 values; with double quantisation one-byte scales and their own."""
    elements = weight.shape[-2] * weight.shape[-1]
    blocks = ceil_div(elements, _BLOCK)
    nested = (
        scale(weight, "weight.nested_absmax", (ceil_div(blocks, _NESTED_BLOCK),)),
        scale(weight, "weight.nested_quant_map", (_NESTED_MAP_ENTRIES,)),
    )
    return (
        stored(weight, "weight", (ceil_div(elements, 2), 1), U8),
        scale(weight, "weight.absmax", (blocks,), U8 if double else F32),
        scale(weight, "weight.quant_map", (_MAP_ENTRIES,)),
        *(nested if double else ()),
    )


RECIPE = Recipe(name="bitsandbytes", reads=reads, apply=apply, words=tuple(_WORDS), named=_WORDS.get)
