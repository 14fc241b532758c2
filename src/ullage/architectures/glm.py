"""GLM-4 as transformers publishes it: few key heads, fused gate and up, half of each head rotated; GLM-4-0414 adds norms."""

from ullage.architectures._decoder import widths
from ullage.architectures._dense import PRE_NORMS, attention, fused_mlp, norms, stack
from ullage.architectures._rotary import rotary, rotary_dim
from ullage.domain.architecture import DenseFeedForward
from ullage.domain.checkpoint import Tensor
from ullage.domain.family import Blueprint, Family
from ullage.domain.hyperparameters import Hyperparameters

_MORE_NORMS = {"glm": (), "glm4": ("post_self_attn_layernorm", "post_mlp_layernorm")}


def read(config: Hyperparameters) -> Blueprint:
    """Queries, keys and values have a bias."""
    size = widths(config, kv_heads=2, head_dim=128, positions=131072)
    width = config.integer("intermediate_size")
    bias = config.flag("attention_bias", default=True)
    names = (*PRE_NORMS, *_MORE_NORMS[config.text("model_type")])

    def parts(at: str, index: int) -> tuple[Tensor, ...]:
        return (
            *attention(f"{at}.self_attn", index, size, qkv_bias=bias),
            *fused_mlp((f"{at}.mlp.gate_up_proj", f"{at}.mlp.down_proj"), index, size, width),
            *norms(at, names, index, size),
        )

    tables = rotary(config, rotary_dim(config, size.head_dim, 0.5), size.positions)
    return stack(config, size, "model.layers", parts, DenseFeedForward(intermediate=width), rotary_tables=tables)


FAMILY = Family(model_types=tuple(_MORE_NORMS), read=read, title="GLM-4 and GLM-4-0414, dense")
