"""MiMo-V2-Flash: windows with more key heads than the full layers have, and values narrower than keys."""

from ullage.architectures._decoder import Widths, decoder, widths
from ullage.architectures._experts import Attending, Built, dense, grouped, pre_norm, routed
from ullage.architectures._mla import routing
from ullage.architectures._rotary import rotary, rotary_dim
from ullage.domain.checkpoint import Role
from ullage.domain.family import Blueprint, Family
from ullage.domain.hyperparameters import Hyperparameters
from ullage.formulas import tensors as block


def read(config: Hyperparameters) -> Blueprint:
    """One layer in six attends to everything; the first is dense."""
    size = widths(config, dtype="bfloat16")
    mixture = routing(config)
    windowed = _flags(config, "hybrid_layer_pattern", size.layers)
    routes = _flags(config, "moe_layer_freq", size.layers)
    intermediate = config.integer("intermediate_size")
    config.ignore("attention_value_scale", "attention_chunk_size", "sliding_window_size")
    config.must_be("swa_num_attention_heads", size.query_heads)
    config.must_be("swa_head_dim", size.head_dim)
    config.must_be("attention_bias", False)
    tables = rotary(config, rotary_dim(config, size.head_dim, 0.334))
    own_table = config.has("swa_rope_theta")

    def layer(index: int) -> Built:
        at = f"model.layers.{index}"
        attending = _attention(config, f"{at}.self_attn", index, size, windowed=windowed[index])
        mlp = f"{at}.mlp"
        feeding = routed(mlp, index, size, mixture) if routes[index] else dense(mlp, index, size, intermediate)
        return pre_norm(at, index, size, attending, feeding)

    return decoder(config, size, layer=layer, rotary_tables=tables * (2 if own_table else 1))


def _flags(config: Hyperparameters, key: str, layers: int) -> tuple[bool, ...]:
    return tuple(bool(flag) for flag in config.integers(key, length=layers))


def _attention(config: Hyperparameters, at: str, index: int, size: Widths, *, windowed: bool) -> Attending:
    """The windowed kind has its own counts (``swa_...``) and, like the full one where its flag says so, a sink for each head."""
    value = config.integer("v_head_dim")
    has_sink = config.flag(f"add_{'swa' if windowed else 'full'}_attention_sink_bias", default=windowed)
    mixer, tensors = grouped(
        at,
        index,
        size,
        kv_heads=config.integer_or("swa_num_key_value_heads", size.kv_heads, low=1) if windowed else size.kv_heads,
        value_dim=config.integer_or("swa_v_head_dim", value, low=1) if windowed else value,
        window_tokens=config.integer("sliding_window") if windowed else None,
    )
    sink = block.weight(f"{at}.attention_sink_bias", Role.ATTENTION_OTHER, index, (size.query_heads,), size.fmt)
    return mixer, (*tensors, sink) if has_sink else tensors


FAMILY = Family(model_types=("mimo_v2_flash",), read=read, title="MiMo V2 Flash")
