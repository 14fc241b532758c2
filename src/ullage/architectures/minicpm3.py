"""MiniCPM3: latent attention in dense layers."""

from ullage.architectures._decoder import decoder, rotary, widths
from ullage.architectures._dense import PRE_NORMS, mlp, norms
from ullage.architectures._mla import Latent, latent_attention
from ullage.domain.architecture import DenseFeedForward, Layer
from ullage.domain.checkpoint import Tensor
from ullage.domain.family import Blueprint, Family
from ullage.domain.hyperparameters import Hyperparameters


def read(config: Hyperparameters) -> Blueprint:
    """Values are as wide as a head would be without the latent."""
    size = widths(config, tied=True, positions=32768)
    config.ignore("scale_emb", "scale_depth", "dim_model_base", "qk_head_dim")
    config.must_be("mlp_bias", False)
    width = config.integer("intermediate_size")
    latent = Latent(
        latent=config.integer("kv_lora_rank"),
        rope=config.integer("qk_rope_head_dim"),
        nope=config.integer("qk_nope_head_dim"),
        value=config.integer_or("v_head_dim", size.hidden // size.query_heads, low=1),
        query_latent=config.integer("q_lora_rank"),
        bias=config.flag("attention_bias", default=False),
    )

    def layer(index: int) -> tuple[Layer, tuple[Tensor, ...]]:
        at = f"model.layers.{index}"
        mixer, tensors = latent_attention(f"{at}.self_attn", index, size, latent)
        return Layer(mixers=(mixer,), feed_forward=DenseFeedForward(intermediate=width)), (
            *tensors,
            *mlp(f"{at}.mlp", index, size, width),
            *norms(at, PRE_NORMS, index, size),
        )

    return decoder(config, size, layer=layer, rotary_tables=rotary(config, latent.rope, size.positions))


FAMILY = Family(model_types=("minicpm3",), read=read, title="MiniCPM3")
