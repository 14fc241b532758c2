"""Falcon-H1: attention and Mamba 2 side by side in every layer."""

from ullage.architectures._decoder import decoder, rotary, widths
from ullage.architectures._dense import attention, full
from ullage.architectures._recurrent import Mamba2, mamba2_of
from ullage.domain.architecture import DenseFeedForward, Layer
from ullage.domain.checkpoint import Tensor
from ullage.domain.family import Blueprint, Family
from ullage.domain.hyperparameters import Hyperparameters
from ullage.errors import UnsupportedModelError
from ullage.formulas import tensors as block
from ullage.frozen import replace

_SCALES = (
    "attention_in_multiplier",
    "attention_out_multiplier",
    "key_multiplier",
    "lm_head_multiplier",
    "mlp_multipliers",
    "ssm_in_multiplier",
    "ssm_multipliers",
    "ssm_out_multiplier",
    "mamba_norm_before_gate",
)


def read(config: Hyperparameters) -> Blueprint:
    """Both mixers read the same norm; their outputs are added."""
    config.ignore(*_SCALES, "mlp_expansion_factor")
    config.must_be("attn_layer_indices", None)
    config.must_be("mamba_use_mlp", True)
    size = widths(config, dtype="bfloat16")
    intermediate = config.integer("intermediate_size")
    attention_bias = config.flag("attention_bias", default=False)
    mlp_bias = config.flag("mlp_bias", default=False)
    spec = _mamba(config, size.hidden)
    outline = Layer(mixers=(full(size), spec.mixer), feed_forward=DenseFeedForward(intermediate=intermediate))

    def layer(index: int) -> tuple[Layer, tuple[Tensor, ...]]:
        at = f"model.layers.{index}"
        return outline, (
            *attention(f"{at}.self_attn", index, size, qkv_bias=attention_bias, out_bias=attention_bias),
            *spec.tensors(f"{at}.mamba", index, size.fmt),
            *block.gated_mlp(f"{at}.feed_forward", index, size.fmt, hidden=size.hidden, intermediate=intermediate, bias=mlp_bias),
            *block.norm(f"{at}.input_layernorm", index, size.hidden, size.fmt),
            *block.norm(f"{at}.pre_ff_layernorm", index, size.hidden, size.fmt),
        )

    return decoder(config, size, layer=layer, rotary_tables=rotary(config, size.head_dim), final_norm="final_layernorm")


def _mamba(config: Hyperparameters, hidden: int) -> Mamba2:
    """The heads need not be ``expand`` times as wide as the model: ``mamba_d_ssm`` says how wide they are."""
    spec = mamba2_of(config, hidden, inner=config.integer_or("mamba_d_ssm", 1024, low=1))
    if config.has("mamba_d_ssm") and spec.inner != config.integer("mamba_d_ssm"):
        raise UnsupportedModelError(
            f"mamba_d_ssm is {config.integer('mamba_d_ssm')}, but mamba_n_heads x mamba_d_head is {spec.heads} x {spec.head_dim}"
        )
    return replace(
        spec,
        out_bias=config.flag("projectors_bias", default=False),
        gated_norm=config.flag("mamba_rms_norm", default=False),
    )


FAMILY = Family(model_types=("falcon_h1",), read=read, title="Falcon-H1")
