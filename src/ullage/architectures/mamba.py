"""Mamba and Falcon Mamba: layers of nothing but a selective state space mixer."""

from ullage.architectures._decoder import decoder
from ullage.architectures._recurrent import Mamba1, attention_free, ignore_inert, step_rank
from ullage.domain.architecture import Layer
from ullage.domain.checkpoint import Tensor
from ullage.domain.family import Blueprint, Family
from ullage.domain.hyperparameters import Hyperparameters
from ullage.formulas import tensors as block


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

    def layer(index: int) -> tuple[Layer, tuple[Tensor, ...]]:
        at = f"backbone.layers.{index}"
        return Layer(mixers=(spec.mixer,), feed_forward=None), (
            *block.norm(f"{at}.norm", index, size.hidden, size.fmt),
            *spec.tensors(f"{at}.mixer", index, size.fmt),
        )

    return decoder(config, size, layer=layer, prefix="backbone", table="embeddings", final_norm="norm_f")


FAMILY = Family(model_types=("mamba", "falcon_mamba"), read=read, title="Mamba and Falcon Mamba")
