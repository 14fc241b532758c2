"""GPT-NeoX and Pythia: fused projections with biases, rotary positions on a part of each head."""

from ullage.architectures._decoder import widths
from ullage.architectures._gpt import Biases, Names, gpt
from ullage.architectures._rotary import rotary, rotary_dim
from ullage.domain.family import Blueprint, Family
from ullage.domain.hyperparameters import Hyperparameters

_NAMES = Names(
    prefix="gpt_neox",
    layers="gpt_neox.layers",
    qkv="attention.query_key_value",
    out="attention.dense",
    up="mlp.dense_h_to_4h",
    down="mlp.dense_4h_to_h",
    norms=("input_layernorm", "post_attention_layernorm"),
    table="embed_in",
    final_norm="final_layer_norm",
    head="embed_out",
)


def read(config: Hyperparameters) -> Blueprint:
    """A quarter of each head is rotated unless said otherwise."""
    size = widths(config, positions=2048)
    bias = config.flag("attention_bias", default=True)
    config.ignore("use_parallel_residual")
    dim = rotary_dim(config, size.head_dim, config.number_or("rotary_pct", 0.25))
    return gpt(
        config,
        size,
        _NAMES,
        Biases(qkv=bias, out=bias),
        intermediate=config.integer("intermediate_size"),
        rotary_tables=rotary(config, dim, size.positions),
    )


FAMILY = Family(model_types=("gpt_neox",), read=read, title="GPT-NeoX and Pythia")
