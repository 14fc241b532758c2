"""Qwen3 dense: heads of a width of their own, and a norm on queries and keys."""

from ullage.architectures._decoder import widths
from ullage.architectures._dense import dense
from ullage.architectures._qwen import mixers
from ullage.domain.family import Blueprint, Family
from ullage.domain.hyperparameters import Hyperparameters


def read(config: Hyperparameters) -> Blueprint:
    """One norm of a head's width serves all heads."""
    size = widths(config, head_dim=128, positions=32768)
    bias = config.flag("attention_bias", default=False)
    return dense(config, size, mixers=mixers(config, size), qkv_bias=bias, out_bias=bias, qk_norm="head")


FAMILY = Family(model_types=("qwen3",), read=read, title="Qwen3 dense")
