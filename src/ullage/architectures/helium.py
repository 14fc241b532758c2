"""Helium: Llama's shape with heads of a width of their own."""

from ullage.architectures._decoder import widths
from ullage.architectures._dense import dense
from ullage.domain.family import Blueprint, Family
from ullage.domain.hyperparameters import Hyperparameters


def read(config: Hyperparameters) -> Blueprint:
    """The output projection never has a bias."""
    size = widths(config, kv_heads=20, head_dim=128, positions=4096)
    bias, mlp_bias = (config.flag(key, default=False) for key in ("attention_bias", "mlp_bias"))
    return dense(config, size, qkv_bias=bias, mlp_bias=mlp_bias)


FAMILY = Family(model_types=("helium",), read=read, title="Helium")
