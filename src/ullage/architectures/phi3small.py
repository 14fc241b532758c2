"""Phi-3-small: fused projections with biases, layer norms, block-sparse attention in every other layer."""

from ullage.architectures._decoder import widths
from ullage.architectures._dense import PRE_NORMS, fused_mlp, fused_qkv, norms, output, stack
from ullage.domain.architecture import DenseFeedForward
from ullage.domain.checkpoint import Tensor
from ullage.domain.family import Blueprint, Family
from ullage.domain.hyperparameters import Hyperparameters

# Sparse layers read fewer blocks of the cache but every token stays in it, so they count as full ones.
_SPARSE = (
    "blocksparse_block_size",
    "blocksparse_homo_head_pattern",
    "blocksparse_num_local_blocks",
    "blocksparse_triton_kernel_block_size",
    "blocksparse_vert_stride",
    "dense_attention_every_n_layers",
)
_SCALES = ("mup_attn_multiplier", "mup_embedding_multiplier", "mup_use_scaling", "mup_width_multiplier", "rope_position_scale")


def read(config: Hyperparameters) -> Blueprint:
    """``attention_bias`` stands in the file and is not looked at: the biases are always there."""
    size = widths(config, tied=True, kv_heads=8, positions=8192)
    width = config.integer_or("ff_intermediate_size", 0)
    width = width or int(size.hidden * config.number_or("ff_dim_multiplier", 0.0)) or config.integer("ff_intermediate_size")
    config.must_be("hidden_act", "gegelu")
    config.ignore(*_SPARSE, *_SCALES, "attention_bias", "gegelu_limit", "gegelu_pad_to_256", "pad_sequence_to_multiple_of_64")

    def parts(at: str, index: int) -> tuple[Tensor, ...]:
        return (
            *fused_qkv(f"{at}.self_attn.query_key_value", index, size, bias=True),
            *output(f"{at}.self_attn.dense", index, size, bias=True),
            *fused_mlp((f"{at}.mlp.up_proj", f"{at}.mlp.down_proj"), index, size, width, bias=True),
            *norms(at, PRE_NORMS, index, size, bias=True),
        )

    feed_forward = DenseFeedForward(intermediate=width)
    return stack(config, size, "model.layers", parts, feed_forward, final_norm="final_layernorm", norm_bias=True)


FAMILY = Family(model_types=("phi3small",), read=read, title="Phi-3-small")
