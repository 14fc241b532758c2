"""Gemma 3's text decoder: five sliding layers to one full layer, each kind with a rotary table of its own."""

from ullage.architectures._decoder import widths
from ullage.architectures._dense import FOUR_NORMS, by_type, dense, every
from ullage.architectures._rotary import rotary
from ullage.domain.architecture import RotaryTable
from ullage.domain.family import Blueprint, Family
from ullage.domain.hyperparameters import Hyperparameters


def read(config: Hyperparameters) -> Blueprint:
    """The stated length counts the scaling already, which only full layers have."""
    size = widths(config, tied=True, head_dim=256, kv_heads=4, vocab=262208, positions=131072, context_is_scaled=True)
    period = config.integer_or("sliding_window_pattern", config.integer_or("_sliding_window_pattern", 6), low=1)
    mixers = by_type(config, size, config.integer_or("sliding_window", 4096), every(period, size.layers))
    config.ignore("rope_local_base_freq", "use_bidirectional_attention")
    bias = config.flag("attention_bias", default=False)
    local = RotaryTable(dim=size.head_dim, positions=size.positions)
    tables = (*rotary(config, size.head_dim, size.positions), local)
    return dense(config, size, mixers=mixers, layer_norms=FOUR_NORMS, qkv_bias=bias, out_bias=bias, qk_norm="head", rotary_tables=tables)


FAMILY = Family(model_types=("gemma3_text",), read=read, title="Gemma 3, text")
