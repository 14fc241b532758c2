"""ERNIE 4.5 with mixture of experts, text only."""

from ullage.architectures._decoder import decoder, rotary, widths
from ullage.architectures._experts import Built, Feeding, Mixture, dense, grouped, pre_norm, routed
from ullage.catalog.tensor_formats import F32
from ullage.domain.checkpoint import Role
from ullage.domain.family import Blueprint, Family
from ullage.domain.hyperparameters import Hyperparameters
from ullage.formulas import tensors as block


def read(config: Hyperparameters) -> Blueprint:
    """Layers from ``moe_layer_start_index`` to ``moe_layer_end_index`` route; the routing bias is a parameter here."""
    size = widths(config, tied=True, dtype="bfloat16")
    bias = config.flag("use_bias", default=False)
    intermediate = config.integer("intermediate_size")
    expert_width = config.integer("moe_intermediate_size")
    mixture = Mixture(
        experts=config.integer("moe_num_experts"),
        per_token=config.first_integer("moe_k", "num_experts_per_tok"),
        intermediate=expert_width,
        shared=expert_width * config.integer_or("moe_num_shared_experts", 2),
    )
    first = config.integer_or("moe_layer_start_index", 1)
    last = config.integer_or("moe_layer_end_index", -1, low=-1)
    every = config.integer_or("moe_layer_interval", 1, low=1)

    def feeding(at: str, index: int) -> Feeding:
        if index < first or index > last >= 0 or (index + 1) % every:
            return dense(at, index, size, intermediate, bias=bias)
        outline, experts = routed(at, index, size, mixture)
        statics = block.weight(f"{at}.moe_statics.e_score_correction_bias", Role.ROUTER, index, (1, mixture.experts), F32)
        return outline, (*experts, statics)

    def layer(index: int) -> Built:
        at = f"model.layers.{index}"
        return pre_norm(at, index, size, grouped(f"{at}.self_attn", index, size, qkv_bias=bias, out_bias=bias), feeding(f"{at}.mlp", index))

    return decoder(config, size, layer=layer, rotary_tables=rotary(config, size.head_dim))


FAMILY = Family(model_types=("ernie4_5_moe",), read=read, title="ERNIE 4.5 MoE")
