"""StarCoder2: biases everywhere, layer norms, a plain MLP, an optional window."""

from ullage.architectures._decoder import widths
from ullage.architectures._dense import all_alike, dense, window
from ullage.domain.family import Blueprint, Family
from ullage.domain.hyperparameters import Hyperparameters


def read(config: Hyperparameters) -> Blueprint:
    """``use_bias`` is for attention and MLP alike; the norms always have one."""
    size = widths(config, tied=True, kv_heads=2, positions=4096)
    config.must_be("mlp_type", "default")
    config.must_be("norm_type", "layer_norm")
    bias = config.flag("use_bias", default=True)
    return dense(
        config,
        size,
        mixers=all_alike(size, window(config)),
        qkv_bias=bias,
        out_bias=bias,
        mlp_bias=bias,
        ungated=("c_fc", "c_proj"),
        norm_bias=True,
    )


FAMILY = Family(model_types=("starcoder2",), read=read, title="StarCoder2")
