"""OLMo 1: Llama's shape with norms that have no weights."""

from ullage.architectures._decoder import widths
from ullage.architectures._dense import dense
from ullage.domain.family import Blueprint, Family
from ullage.domain.hyperparameters import Hyperparameters


def read(config: Hyperparameters) -> Blueprint:
    """No norm is in the checkpoint."""
    size = widths(config, positions=2048)
    bias = config.flag("attention_bias", default=False)
    return dense(config, size, layer_norms=(), final_norm=None, qkv_bias=bias, out_bias=bias)


FAMILY = Family(model_types=("olmo",), read=read, title="OLMo 1")
