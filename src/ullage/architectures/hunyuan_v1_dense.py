"""Hunyuan dense: Llama's shape with norms on queries and keys."""

from ullage.architectures._decoder import Widths, widths
from ullage.architectures._dense import dense
from ullage.domain.checkpoint import Tensor
from ullage.domain.family import Blueprint, Family
from ullage.domain.hyperparameters import Hyperparameters
from ullage.formulas import tensors as block


def _head_norms(size: Widths) -> tuple[Tensor, ...]:
    """One norm of a head's width serves all heads."""
    return tuple(
        tensor
        for index in range(size.layers)
        for name in ("query_layernorm", "key_layernorm")
        for tensor in block.norm(f"model.layers.{index}.self_attn.{name}", index, size.head_dim, size.fmt)
    )


def read(config: Hyperparameters) -> Blueprint:
    """All four projections have a bias or none."""
    size = widths(config, positions=2048)
    bias = config.flag("attention_bias", default=False)
    return dense(config, size, qkv_bias=bias, out_bias=bias, after=_head_norms(size))


FAMILY = Family(model_types=("hunyuan_v1_dense",), read=read, title="Hunyuan, dense")
