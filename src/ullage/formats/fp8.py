"""FP8 checkpoints: one byte a weight with scales by tensor, by output row or by block."""

from ullage.domain.checkpoint import Tensor
from ullage.domain.hyperparameters import Hyperparameters, Json
from ullage.domain.weight_format import Recipe
from ullage.formats._layouts import fp8_block_or_fp4, fp8_channel, fp8_tensor
from ullage.formats._modules import Chosen, convert, linears
from ullage.formats._patterns import named

_METHODS = frozenset({"fp8", "fbgemm_fp8", "finegrained_fp8", "deepseek_fp8"})
_BLOCK: list[Json] = [128, 128]
_WORDS: dict[str, dict[str, Json]] = {
    "fp8": {"quant_method": "fp8", "activation_scheme": "dynamic"},
    "fp8-block": {"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": _BLOCK},
    "fp8-channel": {"quant_method": "fbgemm_fp8"},
}


def reads(config: Hyperparameters) -> bool:
    """Whether the scheme is FP8 alone; a mixture that names its own algorithms is another recipe's."""
    return config.raw("quant_method") in _METHODS and not config.has("quant_algo")


def apply(tensors: tuple[Tensor, ...], config: Hyperparameters) -> tuple[tuple[Tensor, ...], str]:
    """Every linear layer that is not listed as an exception, the head never."""
    config.must_be("fmt", "e4m3", "float8_e4m3fn")
    config.must_be("scale_fmt", "ue8m0", "float")  # a rule for the scales' values; their storage is that of the block layout
    config.must_be("activation_scheme", "dynamic", "static")
    config.ignore("dequantize", "modules_to_not_convert_note", "activation_scale_ub")
    chosen = linears(tensors, skip=named(config, "modules_to_not_convert", "ignored_layers", "ignore"))
    if config.has("weight_block_size"):
        return _by_block(tensors, config, chosen)
    if config.text("quant_method") == "fbgemm_fp8":
        return convert(tensors, chosen, fp8_channel), "fp8 per channel"
    static = config.text_or("activation_scheme", "dynamic") == "static"
    return convert(tensors, chosen, lambda weight: fp8_tensor(weight, static=static)), "fp8 per tensor"


def _by_block(tensors: tuple[Tensor, ...], config: Hyperparameters, chosen: Chosen) -> tuple[tuple[Tensor, ...], str]:
    rows, columns = config.integers("weight_block_size", length=2, low=1)
    config.must_be("expert_dtype", "fp8", "fp4")
    experts = config.text_or("expert_dtype", "fp8")
    name = f"fp8 block {rows}x{columns}" + (", fp4 experts" if experts == "fp4" else "")
    return convert(tensors, chosen, lambda weight: fp8_block_or_fp4(weight, (rows, columns), experts)), name


RECIPE = Recipe(name="fp8", reads=reads, apply=apply, words=tuple(_WORDS), named=_WORDS.get)
