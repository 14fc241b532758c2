"""Falcon 7B to 180B: fused projections, attention and MLP side by side, one or a few key heads."""

from ullage.architectures._decoder import Spelling, Widths, widths
from ullage.architectures._gpt import Biases, Names, gpt
from ullage.architectures._rotary import rotary
from ullage.domain.family import Blueprint, Family
from ullage.domain.hyperparameters import Hyperparameters

_SPELLING = Spelling(
    layers=("num_hidden_layers", "n_layer"), heads=("num_attention_heads", "n_head"), kv_heads=("num_kv_heads", "num_key_value_heads")
)


def _widths(config: Hyperparameters) -> Widths:
    """Of the older models those with ``multi_query`` have one key head, of whatever other number is stated."""
    new = config.flag("new_decoder_architecture", default=False)
    one = config.flag("multi_query", default=True) and not new
    spelling = Spelling(layers=_SPELLING.layers, heads=_SPELLING.heads, kv_heads=()) if one else _SPELLING
    config.ignore(*_SPELLING.kv_heads)
    return widths(config, tied=True, kv_heads=1 if one else None, positions=2048, spelling=spelling)


def _norms(config: Hyperparameters) -> tuple[str, ...]:
    """The newer models have a norm for attention and one for the MLP, unless they say that one serves both."""
    if config.flag("new_decoder_architecture", default=False) and config.integer_or("num_ln_in_parallel_attn", 2) == 2:  # noqa: PLR2004 - of one or two
        return ("ln_attn", "ln_mlp")
    parallel = config.flag("parallel_attn", default=True)
    return ("input_layernorm",) if parallel else ("input_layernorm", "post_attention_layernorm")


def read(config: Hyperparameters) -> Blueprint:
    """ALiBi models have no rotary table."""
    size = _widths(config)
    bias = config.flag("bias", default=False)
    config.ignore("apply_residual_connection_post_layernorm", "parallel_attn")
    names = Names(
        qkv="self_attention.query_key_value",
        out="self_attention.dense",
        up="mlp.dense_h_to_4h",
        down="mlp.dense_4h_to_h",
        norms=_norms(config),
        table="word_embeddings",
        final_norm="ln_f",
    )
    return gpt(
        config,
        size,
        names,
        Biases(qkv=bias, out=bias, mlp=bias),
        intermediate=config.integer_or("ffn_hidden_size", config.integer_or("intermediate_size", 4 * size.hidden, low=1), low=1),
        rotary_tables=() if config.flag("alibi", default=False) else rotary(config, size.head_dim, size.positions),
    )


FAMILY = Family(model_types=("falcon",), read=read, title="Falcon 7B to 180B")
