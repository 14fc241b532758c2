"""HQQ: one to eight bits packed in bytes, a scale and a zero for every group."""

from ullage.catalog.tensor_formats import U8
from ullage.domain.checkpoint import Part, Tensor
from ullage.domain.hyperparameters import Hyperparameters, Json
from ullage.domain.weight_format import Recipe
from ullage.errors import UnsupportedModelError
from ullage.formats._layouts import scale, stored
from ullage.formats._modules import convert, linears
from ullage.formats._patterns import named
from ullage.formulas.sharding import ceil_div

_BITS = (1, 2, 4, 8)
_WORDS: dict[str, dict[str, Json]] = {
    f"hqq-int{bits}": {"quant_method": "hqq", "quant_config": {"weight_quant_params": {"nbits": bits, "group_size": 64}}} for bits in (4, 8)
}


def reads(config: Hyperparameters) -> bool:
    """Whether the scheme is HQQ."""
    return config.raw("quant_method") == "hqq"


def apply(tensors: tuple[Tensor, ...], config: Hyperparameters) -> tuple[tuple[Tensor, ...], str]:
    """Every linear layer but the head and those listed in ``skip_modules``."""
    weights = config.child("quant_config").child("weight_quant_params")
    bits, group = weights.integer("nbits"), weights.integer_or("group_size", 64, low=1)
    if bits not in _BITS:
        raise UnsupportedModelError(f"nbits is {bits}; HQQ weights of {', '.join(map(str, _BITS))} bits are known")
    weights.ignore("axis", "channel_wise", "optimize", "round_zero", "view_as_float")
    config.child("quant_config").ignore("offload_meta", "scale_quant_params", "zero_quant_params")

    def layout(weight: Tensor) -> tuple[Tensor, ...]:
        elements = weight.shape[-2] * weight.shape[-1]
        groups = ceil_div(elements, group)
        return (
            stored(weight, "W_q", (ceil_div(elements * bits, 8), 1), U8),
            scale(weight, "scale", (groups, 1), weight.format),
            stored(weight, "zero", (groups, 1), weight.format, Part.ZERO),
        )

    return convert(tensors, linears(tensors, skip=named(config, "skip_modules")), layout), f"hqq {bits}-bit g{group}"


RECIPE = Recipe(name="hqq", reads=reads, apply=apply, words=tuple(_WORDS), named=_WORDS.get)
