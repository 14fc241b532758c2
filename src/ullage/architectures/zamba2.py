"""Zamba2: Mamba 2 layers, and a few transformer blocks whose weights every hybrid layer uses in turn."""

from ullage.architectures._decoder import Widths, decoder, rotary, widths
from ullage.architectures._dense import full
from ullage.architectures._recurrent import Mamba2, ignore_inert, layer_kinds
from ullage.domain.architecture import DenseFeedForward, Layer
from ullage.domain.checkpoint import Role, Tensor
from ullage.domain.family import Blueprint, Family
from ullage.domain.hyperparameters import Hyperparameters
from ullage.formulas import tensors as block

# Names of the publisher's own code; the model class derives or defaults what they say.
_OWN_NAMES = (
    "conv_dimension",
    "expansion_factor",
    "ffn_hidden_size",
    "ft_lora",
    "gated_linear_unit",
    "kv_channels",
    "lora_rank",
    "mamba_headdim",
    "num_query_groups",
    "state_size",
    "use_mem_eff_path",
    "use_shared_attention_lora",
    "use_shared_block_lora",
)


def read(config: Hyperparameters) -> Blueprint:
    """A hybrid layer runs a shared block on the hidden state beside the embedding, then its own Mamba 2 mixer."""
    ignore_inert(config)
    config.ignore(*_OWN_NAMES)
    config.must_be("sliding_window", None)
    config.must_be("use_long_context", False)
    config.must_be("add_bias_linear", False)
    config.must_be("use_shared_attention_adapter", False)
    size = widths(config, tied=True, head_dim=2 * config.integer("hidden_size") // config.integer("num_attention_heads"), dtype="bfloat16")
    kinds = layer_kinds(config, "layers_block_type", size.layers, hybrid="hybrid")
    hybrids = [index for index, kind in enumerate(kinds) if kind == "hybrid"]
    blocks = config.integer_or("num_mem_blocks", 1, low=1)
    rank = config.integer_or("adapter_rank", 128, low=1)
    intermediate = config.integer_or("intermediate_size", 4 * size.hidden, low=1)
    spec = _mamba(config, size.hidden)
    plain = Layer(mixers=(spec.mixer,), feed_forward=None)
    # The weights are shared, the caches are not: every use of a block keeps keys and values of its own.
    attention = full(size)
    joined = Layer(mixers=(attention, spec.mixer), feed_forward=DenseFeedForward(intermediate=intermediate))

    def layer(index: int) -> tuple[Layer, tuple[Tensor, ...]]:
        at = f"model.layers.{index}"
        if kinds[index] != "hybrid":
            return plain, _mamba_layer(at, index, size, spec)
        turn = hybrids.index(index)
        uses = range(turn, len(hybrids), blocks) if turn < blocks else ()
        return joined, (
            *block.linear(f"{at}.linear", Role.OTHER, index, size.hidden, size.hidden, size.fmt),
            *_mamba_layer(f"{at}.mamba_decoder", index, size, spec),
            *(_shared_block(f"{at}.shared_transformer", index, size, intermediate) if uses else ()),
            *(
                tensor
                for use in uses
                for tensor in _adapter(f"{at}.shared_transformer.feed_forward", index, size, intermediate, rank=rank, use=use)
            ),
        )

    tables = rotary(config, size.head_dim) if config.flag("use_mem_rope", default=False) else ()
    return decoder(config, size, layer=layer, rotary_tables=tables, final_norm="final_layernorm")


def _mamba(config: Hyperparameters, hidden: int) -> Mamba2:
    heads = config.integer_or("n_mamba_heads", 8, low=1)
    config.ignore("use_conv_bias")  # the class's convolution always has one
    return Mamba2(
        hidden=hidden,
        heads=heads,
        head_dim=config.integer_or("mamba_expand", 2, low=1) * hidden // heads,
        groups=config.integer_or("mamba_ngroups", 1, low=1),
        state=config.integer_or("mamba_d_state", 64, low=1),
        kernel=config.integer_or("mamba_d_conv", 4, low=1),
    )


def _mamba_layer(prefix: str, layer: int, size: Widths, spec: Mamba2) -> tuple[Tensor, ...]:
    return (*spec.tensors(f"{prefix}.mamba", layer, size.fmt), *block.norm(f"{prefix}.input_layernorm", layer, size.hidden, size.fmt))


def _shared_block(prefix: str, layer: int, size: Widths, intermediate: int) -> tuple[Tensor, ...]:
    """One shared block, owned by the first layer that uses it; its attention reads hidden state and embedding side by side."""
    doubled = 2 * size.hidden
    queries, keys = size.query_heads * size.head_dim, size.kv_heads * size.head_dim
    return (
        *block.linear(f"{prefix}.self_attn.q_proj", Role.Q, layer, queries, doubled, size.fmt),
        *block.linear(f"{prefix}.self_attn.k_proj", Role.K, layer, keys, doubled, size.fmt),
        *block.linear(f"{prefix}.self_attn.v_proj", Role.V, layer, keys, doubled, size.fmt),
        *block.linear(f"{prefix}.self_attn.o_proj", Role.O, layer, size.hidden, queries, size.fmt),
        *block.linear(f"{prefix}.feed_forward.gate_up_proj", Role.GATE_UP, layer, 2 * intermediate, size.hidden, size.fmt),
        *block.linear(f"{prefix}.feed_forward.down_proj", Role.DOWN, layer, size.hidden, intermediate, size.fmt),
        *block.norm(f"{prefix}.input_layernorm", layer, doubled, size.fmt),
        *block.norm(f"{prefix}.pre_ff_layernorm", layer, size.hidden, size.fmt),
    )


def _adapter(prefix: str, layer: int, size: Widths, intermediate: int, *, rank: int, use: int) -> tuple[Tensor, ...]:
    """What one use adds to the shared MLP: two thin matrices, of which the first is kept whole by every rank."""
    at = f"{prefix}.gate_up_proj_adapter_list.{use}"
    return (
        *block.linear(f"{at}.0", Role.OTHER, layer, rank, size.hidden, size.fmt),
        *block.linear(f"{at}.1", Role.GATE_UP, layer, 2 * intermediate, rank, size.fmt),
    )


FAMILY = Family(model_types=("zamba2",), read=read, title="Zamba2")
