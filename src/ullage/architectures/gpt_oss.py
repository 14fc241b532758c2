"""gpt-oss: every other layer has a window, every head a sink, and a layer's experts are one tensor."""

from ullage.architectures._decoder import Widths, decoder, rotary, widths
from ullage.architectures._dense import by_type
from ullage.architectures._experts import Built, Feeding, grouped, pre_norm
from ullage.domain.architecture import ExpertFeedForward
from ullage.domain.checkpoint import Part, Role, Tensor
from ullage.domain.family import Blueprint, Family
from ullage.domain.hyperparameters import Hyperparameters
from ullage.formulas import tensors as block


def read(config: Hyperparameters) -> Blueprint:
    """Biases everywhere; windows on the even layers unless ``layer_types`` says otherwise."""
    size = widths(config, head_dim=64, dtype="bfloat16")
    bias = config.flag("attention_bias", default=True)
    window = config.integer("sliding_window")
    every_other = tuple("full_attention" if index % 2 else "sliding_attention" for index in range(size.layers))
    mixers = by_type(config, size, window, every_other)
    outline = ExpertFeedForward(
        experts=config.integer("num_local_experts"),
        experts_per_token=config.first_integer("num_experts_per_tok", "experts_per_token"),
        intermediate=config.integer("intermediate_size"),
    )
    config.ignore("experts_per_token", "initial_context_length", "swiglu_alpha", "swiglu_limit")

    def layer(index: int) -> Built:
        at = f"model.layers.{index}"
        _, attention = grouped(f"{at}.self_attn", index, size, qkv_bias=bias, out_bias=bias)
        sinks = block.weight(f"{at}.self_attn.sinks", Role.ATTENTION_OTHER, index, (size.query_heads,), size.fmt)
        return pre_norm(at, index, size, (mixers[index], (*attention, sinks)), _experts(f"{at}.mlp", index, size, outline))

    return decoder(config, size, layer=layer, rotary_tables=rotary(config, size.head_dim))


def _experts(at: str, index: int, size: Widths, outline: ExpertFeedForward) -> Feeding:
    """Gate and up interleaved in one matrix; all experts of a layer are stacked in one tensor, which ``copies`` counts."""
    both = 2 * outline.intermediate

    def stacked(name: str, role: Role, shape: tuple[int, ...], part: Part = Part.WEIGHT) -> Tensor:
        return Tensor(name=f"{at}.experts.{name}", role=role, layer=index, shape=shape, format=size.fmt, copies=outline.experts, part=part)

    return outline, (
        *block.linear(f"{at}.router", Role.ROUTER, index, outline.experts, size.hidden, size.fmt, bias=True),
        stacked("gate_up_proj", Role.EXPERT_GATE_UP, (both, size.hidden)),
        stacked("gate_up_proj_bias", Role.EXPERT_GATE_UP, (both,), Part.BIAS),
        stacked("down_proj", Role.EXPERT_DOWN, (size.hidden, outline.intermediate)),
        stacked("down_proj_bias", Role.EXPERT_DOWN, (size.hidden,), Part.BIAS),
    )


FAMILY = Family(model_types=("gpt_oss",), read=read, title="gpt-oss")
