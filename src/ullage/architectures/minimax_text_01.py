"""MiniMax-Text-01: seven lightning attention layers to one of softmax attention, experts in every layer."""

from ullage.architectures._decoder import Widths, decoder, widths
from ullage.architectures._dense import attention, full
from ullage.architectures._experts import Attending, Built, Mixture, pre_norm, routed
from ullage.architectures._recurrent import layer_kinds
from ullage.architectures._rotary import rotary
from ullage.domain.architecture import Recurrent
from ullage.domain.checkpoint import Role
from ullage.domain.family import Blueprint, Family
from ullage.domain.hyperparameters import Hyperparameters
from ullage.formulas import tensors as block

_SCALES = (
    "block_size",
    "full_attn_alpha_factor",
    "full_attn_beta_factor",
    "layernorm_full_attention_alpha",
    "layernorm_full_attention_beta",
    "layernorm_linear_attention_alpha",
    "layernorm_linear_attention_beta",
    "layernorm_mlp_alpha",
    "layernorm_mlp_beta",
    "linear_attn_alpha_factor",
    "linear_attn_beta_factor",
    "mlp_alpha_factor",
    "mlp_beta_factor",
    "postnorm",
    "shared_moe_mode",
)


def read(config: Hyperparameters) -> Blueprint:
    """The publisher's spelling lists 0 and 1 in ``attn_type_list``; the class's lists words in ``layer_types``."""
    config.ignore(*_SCALES)
    config.must_be("sliding_window", None)
    config.must_be("shared_intermediate_size", 0)
    size = widths(config, kv_heads=8, dtype="bfloat16")
    each = _kinds(config, size.layers)
    experts = Mixture(
        experts=config.integer_or("num_local_experts", 8, low=1),
        per_token=config.integer_or("num_experts_per_tok", 2, low=1),
        intermediate=config.integer("intermediate_size"),
        names=block.NUMBERED,
    )

    def layer(index: int) -> Built:
        at = f"model.layers.{index}"
        own = f"{at}.self_attn"
        attending = (full(size), attention(own, index, size)) if each[index] == "full" else _lightning(own, index, size)
        return pre_norm(at, index, size, attending, routed(f"{at}.block_sparse_moe", index, size, experts))

    return decoder(config, size, layer=layer, rotary_tables=rotary(config, config.integer_or("rotary_dim", size.head_dim)))


def _kinds(config: Hyperparameters, layers: int) -> tuple[str, ...]:
    if config.has("attn_type_list"):
        return tuple("full" if kind else "linear" for kind in config.integers("attn_type_list", length=layers))
    if config.has("layer_types"):
        return layer_kinds(config, "layer_types", layers)
    return tuple("linear" if index % 2 else "full" for index in range(layers))


def _lightning(at: str, index: int, size: Widths) -> Attending:
    """Linear attention without a convolution: one key by value matrix per head."""
    width = size.query_heads * size.head_dim
    mixer = Recurrent(
        kind="lightning_attention",
        heads=size.query_heads,
        conv_elements=0,
        state_elements=width * size.head_dim,
        inner_dim=width,
    )
    return mixer, (
        *block.linear(f"{at}.qkv_proj", Role.RECURRENT_IN, index, 3 * width, size.hidden, size.fmt),
        *block.linear(f"{at}.output_gate", Role.RECURRENT_IN, index, width, size.hidden, size.fmt),
        *block.norm(f"{at}.norm", index, width, size.fmt),
        *block.linear(f"{at}.out_proj", Role.RECURRENT_OUT, index, size.hidden, width, size.fmt),
    )


FAMILY = Family(model_types=("minimax_text_01", "minimax"), read=read, title="MiniMax-Text-01")
