"""Qwen1.5-MoE and Qwen2-57B-A14B."""

from ullage.architectures._decoder import decoder, rotary, widths
from ullage.architectures._experts import Built, Feeding, grouped, pre_norm
from ullage.architectures._qwen_experts import feeding, mixture, routing_layers, windows
from ullage.domain.checkpoint import Role
from ullage.domain.family import Blueprint, Family
from ullage.domain.hyperparameters import Hyperparameters
from ullage.formulas import tensors as block


def read(config: Hyperparameters) -> Blueprint:
    """Biases on query, key and value; a shared expert behind a gate of its own."""
    size = widths(config, dtype="bfloat16")
    experts = mixture(config, shared=config.integer("shared_expert_intermediate_size"))
    routes = routing_layers(config, size.layers)
    window = windows(config, size.layers)
    intermediate = config.integer("intermediate_size")
    bias = config.flag("qkv_bias", default=True)

    def mlp(at: str, index: int) -> Feeding:
        outline, tensors = feeding(at, index, size, experts, routes=routes, intermediate=intermediate)
        if index not in routes:
            return outline, tensors
        return outline, (*tensors, *block.linear(f"{at}.shared_expert_gate", Role.SHARED_ROUTER, index, 1, size.hidden, size.fmt))

    def layer(index: int) -> Built:
        at = f"model.layers.{index}"
        attending = grouped(f"{at}.self_attn", index, size, window_tokens=window[index], qkv_bias=bias)
        return pre_norm(at, index, size, attending, mlp(f"{at}.mlp", index))

    return decoder(config, size, layer=layer, rotary_tables=rotary(config, size.head_dim))


FAMILY = Family(model_types=("qwen2_moe",), read=read, title="Qwen1.5-MoE and Qwen2-MoE")
