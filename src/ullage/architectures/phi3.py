"""Phi-3, Phi-3.5 and Phi-4: Llama's shape with fused projections, and rotary positions on a part of each head in the small Phi-4."""

from ullage.architectures._decoder import widths
from ullage.architectures._dense import PRE_NORMS, all_alike, fused_mlp, fused_qkv, norms, output, stack, window
from ullage.architectures._rotary import rotary, rotary_dim
from ullage.domain.architecture import DenseFeedForward
from ullage.domain.checkpoint import Tensor
from ullage.domain.family import Blueprint, Family
from ullage.domain.hyperparameters import Hyperparameters


def read(config: Hyperparameters) -> Blueprint:
    """No biases; a window over every layer where one is set."""
    size = widths(config, kv_heads=None, positions=4096)
    width = config.integer("intermediate_size")
    for key in ("attention_bias", "mlp_bias", "lm_head_bias"):
        config.must_be(key, False)
    config.must_be("full_attn_mod", 1)
    config.must_be("interpolate_factor", 1)

    def parts(at: str, index: int) -> tuple[Tensor, ...]:
        return (
            *fused_qkv(f"{at}.self_attn.qkv_proj", index, size),
            *output(f"{at}.self_attn.o_proj", index, size),
            *fused_mlp((f"{at}.mlp.gate_up_proj", f"{at}.mlp.down_proj"), index, size, width),
            *norms(at, PRE_NORMS, index, size),
        )

    return stack(
        config,
        size,
        "model.layers",
        parts,
        DenseFeedForward(intermediate=width),
        mixers=all_alike(size, window(config)),
        rotary_tables=rotary(config, rotary_dim(config, size.head_dim), size.positions),
    )


FAMILY = Family(model_types=("phi3",), read=read, title="Phi-3, Phi-3.5, Phi-4")
