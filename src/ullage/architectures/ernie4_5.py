"""ERNIE 4.5 dense: Llama's shape with one switch for all biases."""

from ullage.architectures._decoder import widths
from ullage.architectures._dense import dense
from ullage.domain.family import Blueprint, Family
from ullage.domain.hyperparameters import Hyperparameters


def read(config: Hyperparameters) -> Blueprint:
    """Heads are 128 wide whatever the model's width."""
    size = widths(config, tied=True, kv_heads=2, head_dim=128, positions=131072)
    bias = config.flag("use_bias", default=False)
    return dense(config, size, qkv_bias=bias, out_bias=bias, mlp_bias=bias)


FAMILY = Family(model_types=("ernie4_5",), read=read, title="ERNIE 4.5 dense")
