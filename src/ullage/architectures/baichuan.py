"""Baichuan 1 and 2: Llama's shape with fused queries, keys and values; ALiBi in the larger models."""

from ullage.architectures._decoder import Spelling, widths
from ullage.architectures._dense import PRE_NORMS, fused_qkv, mlp, norms, output, stack
from ullage.architectures._rotary import rotary
from ullage.domain.architecture import DenseFeedForward
from ullage.domain.checkpoint import Tensor
from ullage.domain.family import Blueprint, Family
from ullage.domain.hyperparameters import Hyperparameters

_SPELLING = Spelling(kv_heads=(), positions=("max_position_embeddings", "model_max_length"))
_ROTARY_HIDDEN = 4096  # No key says which positions a model uses: engines tell the 7B, which rotates, by its width.


def read(config: Hyperparameters) -> Blueprint:
    """ALiBi models have no rotary table."""
    size = widths(config, positions=4096, spelling=_SPELLING)
    width = config.integer("intermediate_size")

    def parts(at: str, index: int) -> tuple[Tensor, ...]:
        return (
            *fused_qkv(f"{at}.self_attn.W_pack", index, size),
            *output(f"{at}.self_attn.o_proj", index, size),
            *mlp(f"{at}.mlp", index, size, width),
            *norms(at, PRE_NORMS, index, size),
        )

    tables = rotary(config, size.head_dim, size.positions) if size.hidden == _ROTARY_HIDDEN else ()
    return stack(config, size, "model.layers", parts, DenseFeedForward(intermediate=width), rotary_tables=tables)


FAMILY = Family(model_types=("baichuan",), read=read, title="Baichuan 1 and 2")
