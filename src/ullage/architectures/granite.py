"""Granite 3: Llama's shape with scaled embeddings, residuals, scores and logits."""

from ullage.architectures._decoder import widths
from ullage.architectures._dense import dense
from ullage.domain.family import Blueprint, Family
from ullage.domain.hyperparameters import Hyperparameters


def read(config: Hyperparameters) -> Blueprint:
    """The scalings are numbers of the configuration, not tensors."""
    size = widths(config, positions=2048)
    bias = config.flag("attention_bias", default=False)
    return dense(config, size, qkv_bias=bias, out_bias=bias, mlp_bias=config.flag("mlp_bias", default=False))


FAMILY = Family(model_types=("granite",), read=read, title="Granite 3")
