"""Jamba: Mamba layers, one attention layer in every eight, experts in every other layer; no positions."""

from ullage.architectures._decoder import Widths, decoder, widths
from ullage.architectures._dense import attention, full
from ullage.architectures._recurrent import Mamba1, ignore_inert, step_rank
from ullage.domain.architecture import DenseFeedForward, ExpertFeedForward, FeedForward, Layer
from ullage.domain.checkpoint import Role, Tensor
from ullage.domain.family import Blueprint, Family
from ullage.domain.hyperparameters import Hyperparameters
from ullage.formulas import tensors as block


def read(config: Hyperparameters) -> Blueprint:
    """Period and offset say which layers have attention and which have experts."""
    ignore_inert(config)
    config.must_be("sliding_window", None)
    size = widths(config, dtype="bfloat16")
    attention_period = config.integer_or("attn_layer_period", 8, low=1)
    attention_offset = config.integer_or("attn_layer_offset", 4)
    expert_period = config.integer_or("expert_layer_period", 2, low=1)
    expert_offset = config.integer_or("expert_layer_offset", 1)
    experts = config.integer_or("num_experts", 16, low=1)
    dense = DenseFeedForward(intermediate=config.integer("intermediate_size"))
    routed = ExpertFeedForward(
        experts=experts, experts_per_token=config.integer_or("num_experts_per_tok", 2), intermediate=dense.intermediate
    )
    spec = _mamba(config, size)

    def layer(index: int) -> tuple[Layer, tuple[Tensor, ...]]:
        at = f"model.layers.{index}"
        attends = index % attention_period == attention_offset
        feed_forward = routed if experts > 1 and index % expert_period == expert_offset else dense
        return Layer(mixers=(full(size) if attends else spec.mixer,), feed_forward=feed_forward), (
            *(attention(f"{at}.self_attn", index, size) if attends else spec.tensors(f"{at}.mamba", index, size.fmt)),
            *_feed_forward(f"{at}.feed_forward", index, size, feed_forward),
            *block.norm(f"{at}.input_layernorm", index, size.hidden, size.fmt),
            *block.norm(f"{at}.pre_ff_layernorm", index, size.hidden, size.fmt),
        )

    return decoder(config, size, layer=layer, final_norm="final_layernorm")


def _mamba(config: Hyperparameters, size: Widths) -> Mamba1:
    return Mamba1(
        hidden=size.hidden,
        inner=config.integer_or("mamba_expand", 2, low=1) * size.hidden,
        state=config.integer_or("mamba_d_state", 16, low=1),
        kernel=config.integer_or("mamba_d_conv", 4, low=1),
        step_rank=step_rank(config, "mamba_dt_rank", size.hidden),
        bias=config.flag("mamba_proj_bias", default=False),
        conv_bias=config.flag("mamba_conv_bias", default=True),
        normed=True,
    )


def _feed_forward(prefix: str, layer: int, size: Widths, kind: FeedForward) -> tuple[Tensor, ...]:
    if isinstance(kind, DenseFeedForward):
        return block.gated_mlp(prefix, layer, size.fmt, hidden=size.hidden, intermediate=kind.intermediate)
    return (
        *block.linear(f"{prefix}.router", Role.ROUTER, layer, kind.experts, size.hidden, size.fmt),
        *block.gated_experts(prefix, layer, size.fmt, hidden=size.hidden, intermediate=kind.intermediate, experts=kind.experts),
    )


FAMILY = Family(model_types=("jamba",), read=read, title="Jamba")
