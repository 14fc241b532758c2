"""Gemma 2: every other layer sees a window; norms before and after attention and MLP."""

from ullage.architectures._decoder import widths
from ullage.architectures._dense import FOUR_NORMS, by_type, dense, every
from ullage.domain.family import Blueprint, Family
from ullage.domain.hyperparameters import Hyperparameters


def read(config: Hyperparameters) -> Blueprint:
    """The first layer is a sliding one."""
    size = widths(config, tied=True, head_dim=256, kv_heads=4, positions=8192)
    window_tokens = config.integer_or("sliding_window", 4096)
    config.ignore("sliding_window_size")  # the same number in a conversion's spelling
    bias = config.flag("attention_bias", default=False)
    mixers = by_type(config, size, window_tokens, every(2, size.layers))
    return dense(config, size, mixers=mixers, layer_norms=FOUR_NORMS, qkv_bias=bias, out_bias=bias)


FAMILY = Family(model_types=("gemma2",), read=read, title="Gemma 2")
