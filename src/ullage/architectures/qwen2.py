"""Qwen1.5, Qwen2, Qwen2.5 and QwQ: Llama's shape with biased queries, keys and values."""

from ullage.architectures._decoder import widths
from ullage.architectures._dense import dense
from ullage.architectures._qwen import mixers
from ullage.domain.family import Blueprint, Family
from ullage.domain.hyperparameters import Hyperparameters


def read(config: Hyperparameters) -> Blueprint:
    """The 1M models add dual chunk attention."""
    size = widths(config, positions=32768)
    config.ignore("use_mrope")
    return dense(config, size, mixers=mixers(config, size), qkv_bias=True)


FAMILY = Family(model_types=("qwen2",), read=read, title="Qwen1.5, Qwen2, Qwen2.5, QwQ")
