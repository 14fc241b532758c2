"""Mamba 2: layers of nothing but a state space mixer."""

from ullage.architectures._recurrent import Mamba2, attention_free, ignore_inert, mixers_only
from ullage.domain.family import Blueprint, Family
from ullage.domain.hyperparameters import Hyperparameters


def read(config: Hyperparameters) -> Blueprint:
    """The heads together are ``expand`` times as wide as the model."""
    ignore_inert(config)
    config.ignore("expand", "intermediate_size", "norm_before_gate", "rms_norm", "time_step_rank")
    size = attention_free(config, hidden=4096, layers=64, vocab=32768, tied=False, dtype="bfloat16")
    bias = config.flag("use_bias", default=False)
    spec = Mamba2(
        hidden=size.hidden,
        heads=config.integer_or("num_heads", 128, low=1),
        head_dim=config.integer_or("head_dim", 64, low=1),
        groups=config.integer_or("n_groups", 8, low=1),
        state=config.integer_or("state_size", 128, low=1),
        kernel=config.integer_or("conv_kernel", 4, low=1),
        in_bias=bias,
        out_bias=bias,
        conv_bias=config.flag("use_conv_bias", default=True),
    )
    return mixers_only(config, size, spec)


FAMILY = Family(model_types=("mamba2",), read=read, title="Mamba 2")
