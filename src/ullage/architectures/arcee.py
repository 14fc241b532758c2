"""Arcee AFM: Llama's shape with a plain MLP."""

from ullage.architectures._decoder import widths
from ullage.architectures._dense import dense
from ullage.domain.family import Blueprint, Family
from ullage.domain.hyperparameters import Hyperparameters


def read(config: Hyperparameters) -> Blueprint:
    """The activation is a squared ReLU."""
    size = widths(config, positions=4096)
    bias, mlp_bias = (config.flag(key, default=False) for key in ("attention_bias", "mlp_bias"))
    return dense(config, size, qkv_bias=bias, out_bias=bias, mlp_bias=mlp_bias, ungated=("up_proj", "down_proj"))


FAMILY = Family(model_types=("arcee",), read=read, title="Arcee AFM")
