"""MiniMax-M2: grouped-query attention everywhere, norms over all heads at once."""

from ullage.architectures._decoder import decoder, widths
from ullage.architectures._dense import qk_norms
from ullage.architectures._experts import Built, grouped, numbered_mixture, pre_norm, routed
from ullage.architectures._rotary import rotary
from ullage.domain.family import Blueprint, Family
from ullage.domain.hyperparameters import Hyperparameters


def read(config: Hyperparameters) -> Blueprint:
    """Every layer routes. The draft modules the configuration speaks of were not published."""
    size = widths(config, head_dim=128, kv_heads=8, dtype="bfloat16")
    config.must_be("shared_intermediate_size", 0)
    config.must_be("use_qk_norm", True)
    config.must_be("qk_norm_type", "per_layer")
    config.ignore("partial_rotary_factor", "use_mtp", "mtp_transformer_layers", "num_mtp_modules", "use_routing_bias", "attn_type_list")
    mixture = numbered_mixture(config)

    def layer(index: int) -> Built:
        at = f"model.layers.{index}"
        mixer, attention = grouped(f"{at}.self_attn", index, size)
        norms = qk_norms(f"{at}.self_attn", index, size, "heads")
        return pre_norm(at, index, size, (mixer, (*attention, *norms)), routed(f"{at}.block_sparse_moe", index, size, mixture))

    return decoder(config, size, layer=layer, rotary_tables=rotary(config, config.integer_or("rotary_dim", size.head_dim, low=1)))


FAMILY = Family(model_types=("minimax_m2",), read=read, title="MiniMax M2")
