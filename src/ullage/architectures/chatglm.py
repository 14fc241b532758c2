"""ChatGLM 2 and 3, GLM-4 9B and CodeGeeX 4 as published with code of their own: few key heads, half of each head rotated."""

from ullage.architectures._decoder import Spelling, widths
from ullage.architectures._dense import PRE_NORMS, fused_mlp, fused_qkv, norms, output, stack
from ullage.architectures._rotary import rotary
from ullage.domain.architecture import DenseFeedForward
from ullage.domain.checkpoint import Tensor
from ullage.domain.family import Blueprint, Family
from ullage.domain.hyperparameters import Hyperparameters

_SPELLING = Spelling(
    layers=("num_layers", "num_hidden_layers"),
    kv_heads=("multi_query_group_num",),
    head_dim=("kv_channels",),
    vocab=("padded_vocab_size",),
    positions=("seq_length",),
)
_NUMERICS = (
    "apply_query_key_layer_scaling",
    "apply_residual_connection_post_layernorm",
    "bias_dropout_fusion",
    "fp32_residual_connection",
    "original_rope",
)


def read(config: Hyperparameters) -> Blueprint:
    """Only the published form: RMS norms, grouped keys, a norm at the end."""
    size = widths(config, spelling=_SPELLING)
    width = config.integer("ffn_hidden_size")
    bias = config.flag("add_bias_linear", default=False)
    qkv_bias = bias or config.flag("add_qkv_bias", default=False)
    for key in ("multi_query_attention", "post_layer_norm", "rmsnorm"):
        config.must_be(key, True)
    config.ignore(*_NUMERICS)

    def parts(at: str, index: int) -> tuple[Tensor, ...]:
        inside, feed = f"{at}.self_attention", f"{at}.mlp"
        return (
            *fused_qkv(f"{inside}.query_key_value", index, size, bias=qkv_bias),
            *output(f"{inside}.dense", index, size, bias=bias),
            *fused_mlp((f"{feed}.dense_h_to_4h", f"{feed}.dense_4h_to_h"), index, size, width, bias=bias),
            *norms(at, PRE_NORMS, index, size),
        )

    return stack(
        config,
        size,
        "transformer.encoder.layers",
        parts,
        DenseFeedForward(intermediate=width),
        rotary_tables=rotary(config, size.head_dim // 2, size.positions),
        prefix="transformer",
        table="embedding.word_embeddings",
        final_norm="encoder.final_layernorm",
        head_name="transformer.output_layer",
    )


FAMILY = Family(model_types=("chatglm",), read=read, title="ChatGLM 2 and 3, GLM-4 9B, CodeGeeX 4")
