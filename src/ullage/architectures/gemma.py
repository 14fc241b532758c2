"""Gemma 1: Llama's shape with wide heads and a tied token table."""

from ullage.architectures._decoder import widths
from ullage.architectures._dense import dense
from ullage.domain.family import Blueprint, Family
from ullage.domain.hyperparameters import Hyperparameters


def read(config: Hyperparameters) -> Blueprint:
    """Full attention everywhere."""
    size = widths(config, tied=True, head_dim=256, kv_heads=16, positions=8192)
    bias = config.flag("attention_bias", default=False)
    return dense(config, size, qkv_bias=bias, out_bias=bias)


FAMILY = Family(model_types=("gemma",), read=read, title="Gemma 1")
