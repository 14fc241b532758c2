"""Mamba and Falcon Mamba: layers of nothing but a selective state space mixer."""

from ullage.architectures._recurrent import Mamba1, attention_free, ignore_inert, mixers_only, step_rank
from ullage.domain.family import Blueprint, Family
from ullage.domain.hyperparameters import Hyperparameters


def read(config: Hyperparameters) -> Blueprint:
    """Falcon Mamba norms step, B and C without weights, so both have the same tensors."""
    ignore_inert(config)
    config.ignore("mixer_rms_eps", "use_falcon_mambapy", "d_model", "n_layer", "ssm_cfg", "fused_add_norm", "rms_norm")
    size = attention_free(config, hidden=768, layers=32, vocab=50280, tied=True, dtype="float32")
    # The published files of Falcon Mamba say expand 16, which their intermediate_size contradicts; engines take the latter.
    expand = config.integer_or("expand", 2, low=1)
    spec = Mamba1(
        hidden=size.hidden,
        inner=config.integer_or("intermediate_size", expand * size.hidden, low=1),
        state=config.integer_or("state_size", 16, low=1),
        kernel=config.integer_or("conv_kernel", 4, low=1),
        step_rank=step_rank(config, "time_step_rank", size.hidden),
        bias=config.flag("use_bias", default=False),
        conv_bias=config.flag("use_conv_bias", default=True),
    )
    return mixers_only(config, size, spec)


FAMILY = Family(model_types=("mamba", "falcon_mamba"), read=read, title="Mamba and Falcon Mamba")
