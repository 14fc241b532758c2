"""Granite MoE: the Granite decoder with experts stored in stacked tensors."""

from ullage.architectures._decoder import decoder, rotary, widths
from ullage.architectures._dense import attention, full
from ullage.architectures._granite import experts
from ullage.domain.architecture import ExpertFeedForward, Layer
from ullage.domain.checkpoint import Tensor
from ullage.domain.family import Blueprint, Family
from ullage.domain.hyperparameters import Hyperparameters
from ullage.formulas import tensors as block


def read(config: Hyperparameters) -> Blueprint:
    """Every layer has experts; ``shared_intermediate_size`` adds an always active one (the "shared" variant)."""
    size = widths(config, dtype="bfloat16")
    bias = config.flag("attention_bias", default=False)
    shared = config.integer_or("shared_intermediate_size", 0 if config.text_or("model_type", "") == "granitemoe" else 1024)
    routed = ExpertFeedForward(
        experts=config.integer_or("num_local_experts", 8, low=1),
        experts_per_token=config.integer_or("num_experts_per_tok", 2, low=1),
        intermediate=config.integer_or("intermediate_size", 11008, low=1),
        shared_intermediate=shared,
    )
    outline = Layer(mixers=(full(size),), feed_forward=routed)

    def layer(index: int) -> tuple[Layer, tuple[Tensor, ...]]:
        at = f"model.layers.{index}"
        return outline, (
            *attention(f"{at}.self_attn", index, size, qkv_bias=bias, out_bias=bias),
            *experts(at, index, size, routed),
            *block.norm(f"{at}.input_layernorm", index, size.hidden, size.fmt),
            *block.norm(f"{at}.post_attention_layernorm", index, size.hidden, size.fmt),
        )

    return decoder(config, size, layer=layer, rotary_tables=rotary(config, size.head_dim))


FAMILY = Family(model_types=("granitemoe", "granitemoeshared"), read=read, title="Granite 3 MoE")
