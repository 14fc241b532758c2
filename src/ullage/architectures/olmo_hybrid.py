"""OLMo Hybrid: OLMo 3's attention in every fourth layer, gated delta nets in the others."""

from ullage.architectures._decoder import Widths, decoder, widths
from ullage.architectures._dense import attention, full, qk_norms
from ullage.architectures._experts import Attending, Built
from ullage.architectures._gated_delta import GatedDelta, kinds
from ullage.architectures._recurrent import convolution
from ullage.architectures._rotary import rotary
from ullage.domain.architecture import DenseFeedForward, Layer
from ullage.domain.checkpoint import Role
from ullage.domain.family import Blueprint, Family
from ullage.domain.hyperparameters import Hyperparameters
from ullage.formulas import tensors as block

_NORMS = {"full": ("post_attention_layernorm", "post_feedforward_layernorm"), "linear": ("attention_layer_norm", "feedforward_layer_norm")}


def read(config: Hyperparameters) -> Blueprint:
    """Attention layers are normed after their parts and have no rotary positions unless the file sets them."""
    config.ignore("linear_a_log_min", "linear_a_log_max", "linear_dt_min", "linear_dt_max", "linear_dt_init_floor")
    config.ignore("linear_allow_neg_eigval", "linear_use_gate")
    size = widths(config, dtype="bfloat16")
    bias = config.flag("attention_bias", default=False)
    intermediate = config.integer_or("intermediate_size", 11008, low=1)
    each = kinds(config, size.layers)
    delta = _delta(config, size)

    def layer(index: int) -> Built:
        at = f"model.layers.{index}"
        own = f"{at}.self_attn"
        mixer, mixing = (
            (
                full(size),
                (*attention(own, index, size, qkv_bias=bias, out_bias=bias), *qk_norms(own, index, size, "heads")),
            )
            if each[index] == "full"
            else _delta_layer(f"{at}.linear_attn", index, size, delta)
        )
        return Layer(mixers=(mixer,), feed_forward=DenseFeedForward(intermediate=intermediate)), (
            *mixing,
            *block.gated_mlp(f"{at}.mlp", index, size.fmt, hidden=size.hidden, intermediate=intermediate),
            *(tensor for name in _NORMS[each[index]] for tensor in block.norm(f"{at}.{name}", index, size.hidden, size.fmt)),
        )

    tables = rotary(config, size.head_dim, size.positions) if config.has("rope_parameters") else ()
    return decoder(config, size, layer=layer, rotary_tables=tables)


def _delta(config: Hyperparameters, size: Widths) -> GatedDelta:
    """Key heads make up three quarters of the width and values are twice as wide, unless stated."""
    key_heads = config.integer_or("linear_num_key_heads", size.query_heads, low=1)
    key_dim = config.integer_or("linear_key_head_dim", 3 * size.hidden // (4 * key_heads), low=1)
    return GatedDelta(
        key_heads=key_heads,
        value_heads=config.integer_or("linear_num_value_heads", size.query_heads, low=1),
        key_dim=key_dim,
        value_dim=config.integer_or("linear_value_head_dim", 2 * key_dim, low=1),
        kernel=config.integer_or("linear_conv_kernel_dim", 4, low=1),
        fused=False,
    )


def _delta_layer(at: str, index: int, size: Widths, delta: GatedDelta) -> Attending:
    """Every projection and convolution is a tensor of its own."""
    scalars = delta.value_heads
    inputs = (("q", delta.keys), ("k", delta.keys), ("v", delta.values), ("g", delta.values), ("a", scalars), ("b", scalars))
    return delta.mixer, (
        *(
            tensor
            for name, width in inputs
            for tensor in block.linear(f"{at}.{name}_proj", Role.RECURRENT_IN, index, width, size.hidden, size.fmt)
        ),
        *(
            tensor
            for name, width in inputs[:3]
            for tensor in convolution(f"{at}.{name}_conv1d", index, size.fmt, channels=width, kernel=delta.kernel, bias=False)
        ),
        *(block.weight(f"{at}.{name}", Role.RECURRENT_STATE, index, (scalars,), size.fmt) for name in ("A_log", "dt_bias")),
        *block.norm(f"{at}.o_norm", index, delta.value_dim, size.fmt),
        *block.linear(f"{at}.o_proj", Role.RECURRENT_OUT, index, size.hidden, delta.values, size.fmt),
    )


FAMILY = Family(model_types=("olmo_hybrid",), read=read, title="OLMo Hybrid")
