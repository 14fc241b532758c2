"""AWQ: four bits packed along the outputs, a zero and a scale for every group of inputs."""

from ullage.domain.checkpoint import Tensor
from ullage.domain.hyperparameters import Hyperparameters, Json
from ullage.domain.weight_format import Recipe
from ullage.formats._layouts import awq
from ullage.formats._modules import convert, linears
from ullage.formats._patterns import named

_WORDS: dict[str, dict[str, Json]] = {"awq": {"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True, "version": "gemm"}}


def reads(config: Hyperparameters) -> bool:
    """Whether the scheme is AWQ; its first tool wrote a file of its own without a name."""
    return (not config.has("quant_method") and config.has("w_bit")) or config.raw("quant_method") in {"awq", "awq_marlin"}


def apply(tensors: tuple[Tensor, ...], config: Hyperparameters) -> tuple[tuple[Tensor, ...], str]:
    """Every linear layer that is not listed in ``modules_to_not_convert``."""
    bits = config.first_integer("bits", "w_bit") if config.has("bits") or config.has("w_bit") else 4
    group = config.first_integer("group_size", "q_group_size", low=-1)
    config.must_be("version", "gemm", "GEMM", "gemv", "GEMV", "gemv_fast", "marlin")
    config.must_be("zero_point", True)
    config.ignore("backend", "do_fuse", "fuse_max_seq_len", "modules_to_fuse", "exllama_config")
    chosen = linears(tensors, skip=named(config, "modules_to_not_convert"), head=config.flag("lm_head", default=False))
    return convert(tensors, chosen, lambda weight: awq(weight, bits, group)), f"awq {bits}-bit g{group}"


RECIPE = Recipe(name="awq", reads=reads, apply=apply, words=tuple(_WORDS), named=_WORDS.get)
