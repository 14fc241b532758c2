"""Qwen3-30B-A3B, Qwen3-235B-A22B and Qwen3-Coder."""

from ullage.architectures._decoder import decoder, rotary, widths
from ullage.architectures._experts import Built, grouped, pre_norm
from ullage.architectures._qwen_experts import feeding, mixture, routing_layers
from ullage.domain.family import Blueprint, Family
from ullage.domain.hyperparameters import Hyperparameters


def read(config: Hyperparameters) -> Blueprint:
    """Norms on each head's query and key, no shared expert, full attention everywhere."""
    size = widths(config, dtype="bfloat16")
    experts = mixture(config)
    routes = routing_layers(config, size.layers)
    intermediate = config.integer("intermediate_size")
    bias = config.flag("attention_bias", default=config.flag("qkv_bias", default=False))
    config.must_be("use_sliding_window", False)
    config.must_be("shared_expert_intermediate_size", 0)
    config.must_be("use_qk_norm", True)
    config.ignore("sliding_window", "max_window_layers")  # the window is off

    def layer(index: int) -> Built:
        at = f"model.layers.{index}"
        attending = grouped(f"{at}.self_attn", index, size, qkv_bias=bias, out_bias=bias, head_norms=True)
        fed = feeding(f"{at}.mlp", index, size, experts, routes=routes, intermediate=intermediate)
        return pre_norm(at, index, size, attending, fed)

    return decoder(config, size, layer=layer, rotary_tables=rotary(config, size.head_dim))


FAMILY = Family(model_types=("qwen3_moe",), read=read, title="Qwen3-MoE and Qwen3-Coder")
