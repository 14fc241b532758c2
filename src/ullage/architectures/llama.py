"""Llama 1 to 3 and the many models that are published in its shape."""

from ullage.architectures._decoder import decoder, rotary, widths
from ullage.domain.architecture import DenseFeedForward, FullAttention, Layer
from ullage.domain.checkpoint import Tensor
from ullage.domain.family import Blueprint, Family
from ullage.domain.hyperparameters import Hyperparameters
from ullage.formulas import tensors as block


def read(config: Hyperparameters) -> Blueprint:
    """Pre-norm layers, rotary positions, grouped-query attention, gated MLP."""
    size = widths(config)
    intermediate = config.integer("intermediate_size")
    attention_bias = config.flag("attention_bias", default=False)
    mlp_bias = config.flag("mlp_bias", default=False)
    outline = Layer(
        mixers=(FullAttention(query_heads=size.query_heads, kv_heads=size.kv_heads, key_dim=size.head_dim, value_dim=size.head_dim),),
        feed_forward=DenseFeedForward(intermediate=intermediate),
    )

    def layer(index: int) -> tuple[Layer, tuple[Tensor, ...]]:
        at = f"model.layers.{index}"
        return outline, (
            *block.attention(
                f"{at}.self_attn",
                index,
                size.fmt,
                hidden=size.hidden,
                query_heads=size.query_heads,
                kv_heads=size.kv_heads,
                key_dim=size.head_dim,
                qkv_bias=attention_bias,
                out_bias=attention_bias,
            ),
            *block.gated_mlp(f"{at}.mlp", index, size.fmt, hidden=size.hidden, intermediate=intermediate, bias=mlp_bias),
            *block.norm(f"{at}.input_layernorm", index, size.hidden, size.fmt),
            *block.norm(f"{at}.post_attention_layernorm", index, size.hidden, size.fmt),
        )

    return decoder(config, size, layer=layer, rotary_tables=rotary(config, size.head_dim))


FAMILY = Family(model_types=("llama",), read=read, title="Llama 1 to 3 and models of its shape")
