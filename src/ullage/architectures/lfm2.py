"""LFM2, dense and mixture: short convolutions with a few attention layers among them."""

from ullage.architectures._decoder import Widths, decoder, widths
from ullage.architectures._dense import attention, full
from ullage.architectures._experts import Attending, Built, Feeding, Mixture, routed
from ullage.architectures._recurrent import convolution, layer_kinds
from ullage.architectures._rotary import rotary
from ullage.domain.architecture import DenseFeedForward, Layer, Recurrent
from ullage.domain.checkpoint import Role
from ullage.domain.family import Blueprint, Family
from ullage.domain.hyperparameters import Hyperparameters
from ullage.formulas import tensors as block
from ullage.frozen import replace


def read(config: Hyperparameters) -> Blueprint:
    """The mixture has dense first layers; ``tie_embedding`` is the older spelling of tied embeddings."""
    routes = config.text("model_type") == "lfm2_moe"
    config.ignore("use_expert_bias", "conv_dim", "conv_dim_out", "conv_use_xavier_init", "block_use_swiglu", "block_use_xavier_init")
    config.ignore("block_dim", "block_mlp_init_scale", "block_out_init_scale", "block_norm_eps", "num_heads", "use_pos_enc", "theta")
    size = widths(config, tied=config.flag("tie_embedding", default=True), kv_heads=8, dtype="bfloat16")
    each = _kinds(config, size.layers)
    kernel, bias = config.integer_or("conv_L_cache", 3, low=1), config.flag("conv_bias", default=False)
    intermediate = config.integer_or("intermediate_size", 7168, low=1) if routes else _adjusted(config)
    leading = config.integer_or("num_dense_layers", 2) if routes else size.layers
    mixture = _mixture(config) if routes else None

    def feeding(at: str, index: int) -> Feeding:
        if mixture and index >= leading:
            return routed(at, index, size, mixture)
        gate, up, down = block.NUMBERED
        return DenseFeedForward(intermediate=intermediate), (
            *block.linear(f"{at}.{gate}", Role.GATE, index, intermediate, size.hidden, size.fmt),
            *block.linear(f"{at}.{up}", Role.UP, index, intermediate, size.hidden, size.fmt),
            *block.linear(f"{at}.{down}", Role.DOWN, index, size.hidden, intermediate, size.fmt),
        )

    def layer(index: int) -> Built:
        at = f"model.layers.{index}"
        mixer, mixing = (
            _attention(f"{at}.self_attn", index, size)
            if each[index] == "full"
            else _short_convolution(f"{at}.conv", index, size, kernel, bias=bias)
        )
        feed_forward, mlp = feeding(f"{at}.feed_forward", index)
        norms = (tensor for name in ("operator_norm", "ffn_norm") for tensor in block.norm(f"{at}.{name}", index, size.hidden, size.fmt))
        return Layer(mixers=(mixer,), feed_forward=feed_forward), (*mixing, *mlp, *norms)

    tables = rotary(config, size.head_dim, size.positions)
    return decoder(config, size, layer=layer, rotary_tables=tables, final_norm="embedding_norm")


def _kinds(config: Hyperparameters, layers: int) -> tuple[str, ...]:
    if config.has("layer_types"):
        return layer_kinds(config, "layer_types", layers, conv="conv")
    listed = config.integers("full_attn_idxs") if config.has("full_attn_idxs") else tuple(range(layers))
    return tuple("full" if index in listed else "conv" for index in range(layers))


def _adjusted(config: Hyperparameters) -> int:
    """Two thirds of the stated width, times a factor, rounded up to a multiple, unless the file turns that off."""
    stated = config.integer_or("block_ff_dim", config.integer_or("intermediate_size", 12288, low=1), low=1)
    multiple = config.integer_or("block_multiple_of", 256, low=1)
    factor = config.number_or("block_ffn_dim_multiplier", 1.0)
    if not config.flag("block_auto_adjust_ff_dim", default=True):
        return stated
    return -(-int(factor * int(2 * stated / 3)) // multiple) * multiple


def _mixture(config: Hyperparameters) -> Mixture:
    return Mixture(
        experts=config.integer_or("num_experts", 32, low=1),
        per_token=config.integer_or("num_experts_per_tok", 4, low=1),
        intermediate=config.integer_or("moe_intermediate_size", 1792, low=1),
        names=block.NUMBERED,
    )


def _attention(at: str, index: int, size: Widths) -> Attending:
    norms = (tensor for name in ("q_layernorm", "k_layernorm") for tensor in block.norm(f"{at}.{name}", index, size.head_dim, size.fmt))
    projections = (replace(tensor, name=tensor.name.replace(".o_proj.", ".out_proj.")) for tensor in attention(at, index, size))
    return full(size), (*projections, *norms)


def _short_convolution(at: str, index: int, size: Widths, kernel: int, *, bias: bool) -> Attending:
    """Gated on both sides; keeps its last inputs and no state."""
    mixer = Recurrent(
        kind="short_convolution", heads=size.hidden, conv_elements=(kernel - 1) * size.hidden, state_elements=0, inner_dim=size.hidden
    )
    return mixer, (
        *convolution(f"{at}.conv", index, size.fmt, channels=size.hidden, kernel=kernel, bias=bias),
        *block.linear(f"{at}.in_proj", Role.RECURRENT_IN, index, 3 * size.hidden, size.hidden, size.fmt, bias=bias),
        *block.linear(f"{at}.out_proj", Role.RECURRENT_OUT, index, size.hidden, size.hidden, size.fmt, bias=bias),
    )


FAMILY = Family(model_types=("lfm2", "lfm2_moe"), read=read, title="LFM2, dense and mixture of experts")
