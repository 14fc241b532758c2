"""Seed-OSS: Llama's shape with biased queries, keys and values and heads of a width of their own."""

from ullage.architectures._decoder import widths
from ullage.architectures._dense import dense
from ullage.domain.family import Blueprint, Family
from ullage.domain.hyperparameters import Hyperparameters


def read(config: Hyperparameters) -> Blueprint:
    """The output projection has a bias switch of its own."""
    return dense(
        config,
        widths(config, kv_heads=8, head_dim=128, positions=524288),
        qkv_bias=config.flag("attention_bias", default=True),
        out_bias=config.flag("attention_out_bias", default=False),
        mlp_bias=config.flag("mlp_bias", default=False),
    )


FAMILY = Family(model_types=("seed_oss",), read=read, title="Seed-OSS")
