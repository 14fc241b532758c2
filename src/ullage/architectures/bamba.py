"""Bamba: Mamba 2 layers with attention at a few places the configuration lists."""

from ullage.architectures._decoder import decoder, rotary, widths
from ullage.architectures._dense import attention, full
from ullage.architectures._recurrent import mamba2_of
from ullage.domain.architecture import DenseFeedForward, Layer
from ullage.domain.checkpoint import Tensor
from ullage.domain.family import Blueprint, Family
from ullage.domain.hyperparameters import Hyperparameters
from ullage.formulas import tensors as block


def read(config: Hyperparameters) -> Blueprint:
    """Every layer has a gated MLP after its mixer."""
    config.ignore("z_loss_coefficient", "attn_rotary_emb")
    size = widths(config, dtype="bfloat16")
    intermediate = config.integer("intermediate_size")
    attention_bias = config.flag("attention_bias", default=False)
    mlp_bias = config.flag("mlp_bias", default=False)
    attending = config.integers("attn_layer_indices") if config.has("attn_layer_indices") else ()
    spec = mamba2_of(config, size.hidden)

    def layer(index: int) -> tuple[Layer, tuple[Tensor, ...]]:
        at = f"model.layers.{index}"
        attends = index in attending
        return Layer(mixers=(full(size) if attends else spec.mixer,), feed_forward=DenseFeedForward(intermediate=intermediate)), (
            *(
                attention(f"{at}.self_attn", index, size, qkv_bias=attention_bias, out_bias=attention_bias)
                if attends
                else spec.tensors(f"{at}.mamba", index, size.fmt)
            ),
            *block.gated_mlp(f"{at}.feed_forward", index, size.fmt, hidden=size.hidden, intermediate=intermediate, bias=mlp_bias),
            *block.norm(f"{at}.input_layernorm", index, size.hidden, size.fmt),
            *block.norm(f"{at}.pre_ff_layernorm", index, size.hidden, size.fmt),
        )

    return decoder(config, size, layer=layer, rotary_tables=rotary(config, size.head_dim // 2), final_norm="final_layernorm")


FAMILY = Family(model_types=("bamba",), read=read, title="Bamba")
