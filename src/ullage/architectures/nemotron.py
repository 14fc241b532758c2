"""Nemotron 4 and Minitron: layer norms, a plain MLP, rotary positions on half of each head."""

from ullage.architectures._decoder import widths
from ullage.architectures._dense import dense
from ullage.architectures._rotary import rotary, rotary_dim
from ullage.domain.family import Blueprint, Family
from ullage.domain.hyperparameters import Hyperparameters


def read(config: Hyperparameters) -> Blueprint:
    """The MLP has no gate: its activation is a squared ReLU."""
    size = widths(config, positions=4096)
    bias = config.flag("attention_bias", default=False)
    return dense(
        config,
        size,
        qkv_bias=bias,
        out_bias=bias,
        mlp_bias=config.flag("mlp_bias", default=False),
        ungated=("up_proj", "down_proj"),
        norm_bias=True,
        rotary_tables=rotary(config, rotary_dim(config, size.head_dim, 0.5), size.positions),
    )


FAMILY = Family(model_types=("nemotron",), read=read, title="Nemotron 4, Minitron")
