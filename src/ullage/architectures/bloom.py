"""BLOOM: fused projections with biases, ALiBi, a norm behind the token table."""

from ullage.architectures._decoder import Spelling, widths
from ullage.architectures._gpt import Biases, Names, gpt
from ullage.domain.family import Blueprint, Family
from ullage.domain.hyperparameters import Hyperparameters
from ullage.formulas import tensors as block

_NAMES = Names(
    qkv="self_attention.query_key_value",
    out="self_attention.dense",
    up="mlp.dense_h_to_4h",
    down="mlp.dense_4h_to_h",
    norms=("input_layernorm", "post_attention_layernorm"),
    table="word_embeddings",
    final_norm="ln_f",
)
_SPELLING = Spelling(
    hidden=("hidden_size", "n_embed"),
    layers=("n_layer", "num_hidden_layers"),
    heads=("n_head", "num_attention_heads"),
    kv_heads=(),
    positions=("seq_length",),
)


def read(config: Hyperparameters) -> Blueprint:
    """No positions are stored, so ``seq_length`` is the trained length and no bound."""
    size = widths(config, tied=True, spelling=_SPELLING)
    config.ignore("apply_residual_connection_post_layernorm", "slow_but_exact", "masked_softmax_fusion", "bias_dropout_fusion")
    norm = block.norm("transformer.word_embeddings_layernorm", None, size.hidden, size.fmt, bias=True)
    return gpt(config, size, _NAMES, Biases(), intermediate=4 * size.hidden, before=norm)


FAMILY = Family(model_types=("bloom",), read=read, title="BLOOM")
