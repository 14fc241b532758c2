"""MPT: fused projections, ALiBi, no biases."""

from ullage.architectures._decoder import Spelling, widths
from ullage.architectures._gpt import Biases, Names, gpt
from ullage.domain.family import Blueprint, Family
from ullage.domain.hyperparameters import Hyperparameters

_NAMES = Names(
    layers="transformer.blocks",
    qkv="attn.Wqkv",
    out="attn.out_proj",
    up="ffn.up_proj",
    down="ffn.down_proj",
    norms=("norm_1", "norm_2"),
    table="wte",
    final_norm="norm_f",
)
_SPELLING = Spelling(
    hidden=("d_model", "hidden_size"),
    layers=("n_layers", "num_hidden_layers"),
    heads=("n_heads", "num_attention_heads"),
    kv_heads=(),
    positions=("max_seq_len",),
)


def read(config: Hyperparameters) -> Blueprint:
    """Only the form of the published MPT models: ALiBi, which leaves learned positions out, and no biases."""
    size = widths(config, tied=True, positions=2048, spelling=_SPELLING)
    config.must_be("no_bias", True)
    config.must_be("embedding_fraction", 1.0)
    config.ignore("learned_pos_emb", "norm_type")
    attention = config.child_or_none("attn_config")
    if attention is not None:
        attention.must_be("alibi", True)
        attention.must_be("attn_type", "multihead_attention")
        attention.must_be("qk_ln", False)
        attention.must_be("prefix_lm", False)
        attention.ignore("alibi_bias_max", "attn_impl", "attn_uses_sequence_id", "softmax_scale", *attention.unread())
    width = config.integer_or("expansion_ratio", 4, low=1) * size.hidden
    return gpt(config, size, _NAMES, Biases(qkv=False, out=False, mlp=False, norm=False), intermediate=width)


FAMILY = Family(model_types=("mpt",), read=read, title="MPT")
