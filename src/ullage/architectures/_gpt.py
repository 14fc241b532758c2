"""A decoder in the manner of GPT: a fused projection, layer norms, a plain MLP; each family has its own names."""

from ullage.architectures._decoder import Widths
from ullage.architectures._dense import fused_qkv, norms, output, stack
from ullage.domain.architecture import DenseFeedForward, RotaryTable
from ullage.domain.checkpoint import Tensor
from ullage.domain.family import Blueprint
from ullage.domain.hyperparameters import Hyperparameters
from ullage.formulas import tensors as block
from ullage.frozen import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """What a family calls the parts of its layers; ``layers`` ends before the index."""

    prefix: str = "transformer"
    layers: str = "transformer.h"
    qkv: str
    out: str
    up: str
    down: str
    norms: tuple[str, ...]
    table: str
    final_norm: str | None
    head: str = "lm_head"


@dataclass(frozen=True, slots=True, kw_only=True)
class Biases:
    """Which parts have one."""

    qkv: bool = True
    out: bool = True
    mlp: bool = True
    norm: bool = True
    head: bool = False


def gpt(
    config: Hyperparameters,
    size: Widths,
    names: Names,
    biases: Biases,
    *,
    intermediate: int,
    rotary_tables: tuple[RotaryTable, ...] = (),
    before: tuple[Tensor, ...] = (),
) -> Blueprint:
    """Full attention everywhere; ``before`` is what lies in front of the layers besides the token table."""

    def parts(at: str, index: int) -> tuple[Tensor, ...]:
        up, down = f"{at}.{names.up}", f"{at}.{names.down}"
        return (
            *fused_qkv(f"{at}.{names.qkv}", index, size, bias=biases.qkv),
            *output(f"{at}.{names.out}", index, size, bias=biases.out),
            *block.mlp(up, down, index, size.fmt, hidden=size.hidden, intermediate=intermediate, bias=biases.mlp),
            *norms(at, names.norms, index, size, bias=biases.norm),
        )

    return stack(
        config,
        size,
        names.layers,
        parts,
        DenseFeedForward(intermediate=intermediate, gated=False),
        rotary_tables=rotary_tables,
        prefix=names.prefix,
        table=names.table,
        final_norm=names.final_norm,
        head_name=names.head,
        before=before,
        norm_bias=biases.norm,
        head_bias=biases.head,
    )
