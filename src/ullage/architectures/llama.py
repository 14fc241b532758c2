"""Llama 1 to 3 and the many models that are published in its shape."""

from ullage.architectures._decoder import widths
from ullage.architectures._dense import dense
from ullage.domain.family import Blueprint, Family
from ullage.domain.hyperparameters import Hyperparameters


def read(config: Hyperparameters) -> Blueprint:
    """Pre-norm layers, rotary positions, grouped-query attention, gated MLP."""
    size = widths(config, vocab=32000, positions=2048)
    attention_bias = config.flag("attention_bias", default=False)
    return dense(config, size, qkv_bias=attention_bias, out_bias=attention_bias, mlp_bias=config.flag("mlp_bias", default=False))


FAMILY = Family(model_types=("llama",), read=read, title="Llama 1 to 3 and models of its shape")
