"""InternLM 1: Llama's shape with biases in attention."""

from ullage.architectures._decoder import widths
from ullage.architectures._dense import dense
from ullage.domain.family import Blueprint, Family
from ullage.domain.hyperparameters import Hyperparameters


def read(config: Hyperparameters) -> Blueprint:
    """All four projections have one."""
    bias = config.flag("bias", default=True)
    return dense(config, widths(config, positions=2048), qkv_bias=bias, out_bias=bias)


FAMILY = Family(model_types=("internlm",), read=read, title="InternLM 1")
