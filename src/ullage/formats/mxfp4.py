"""MXFP4 as gpt-oss is published: the experts in four bits with one exponent byte for every 32 inputs."""

from ullage.catalog.tensor_formats import U8
from ullage.domain.checkpoint import Tensor
from ullage.domain.hyperparameters import Hyperparameters, Json
from ullage.domain.weight_format import Recipe
from ullage.formats._layouts import matrix, scale, stored
from ullage.formats._modules import convert, is_expert, linears
from ullage.formats._patterns import named
from ullage.formulas.sharding import ceil_div

_GROUP = 32
_WORDS: dict[str, dict[str, Json]] = {
    "mxfp4": {"quant_method": "mxfp4", "modules_to_not_convert": ["layers.*.self_attn", "layers.*.mlp.router", "embed_tokens", "lm_head"]}
}


def reads(config: Hyperparameters) -> bool:
    """Whether the scheme is MXFP4."""
    return config.raw("quant_method") == "mxfp4"


def apply(tensors: tuple[Tensor, ...], config: Hyperparameters) -> tuple[tuple[Tensor, ...], str]:
    """The routed experts; in a model without any, every linear layer that is not listed."""
    config.ignore("dequantize", "use_kernels")
    listed = linears(tensors, skip=named(config, "modules_to_not_convert"))
    experts_only = any(is_expert(tensor) for tensor in tensors)
    return convert(tensors, lambda tensor: listed(tensor) and (is_expert(tensor) or not experts_only), _layout), "mxfp4"


def _layout(weight: Tensor) -> tuple[Tensor, ...]:
    rows, columns = matrix(weight)
    groups = ceil_div(columns, _GROUP)
    return stored(weight, "blocks", (rows, groups, _GROUP // 2), U8), scale(weight, "scales", (rows, groups), U8)


RECIPE = Recipe(name="mxfp4", reads=reads, apply=apply, words=tuple(_WORDS), named=_WORDS.get)
