"""The feed-forward part of Granite's mixtures: experts in stacked tensors, gate and up in one."""

from ullage.architectures._decoder import Widths
from ullage.domain.architecture import ExpertFeedForward
from ullage.domain.checkpoint import Role, Tensor
from ullage.formulas import tensors as block


def experts(prefix: str, layer: int, size: Widths, kind: ExpertFeedForward) -> tuple[Tensor, ...]:
    """Router, the stacked experts, and the always active one."""
    at = f"{prefix}.block_sparse_moe"
    copies, width = kind.experts, kind.intermediate
    return (
        *block.linear(f"{at}.router.layer", Role.ROUTER, layer, copies, size.hidden, size.fmt),
        *block.linear(f"{at}.input_linear", Role.EXPERT_GATE_UP, layer, 2 * width, size.hidden, size.fmt, copies=copies),
        *block.linear(f"{at}.output_linear", Role.EXPERT_DOWN, layer, size.hidden, width, size.fmt, copies=copies),
        *(shared(prefix, layer, size, kind.shared_intermediate) if kind.shared_intermediate else ()),
    )


def shared(prefix: str, layer: int, size: Widths, width: int) -> tuple[Tensor, ...]:
    """The always active expert, which is the whole MLP of a model without routed ones."""
    return (
        *block.linear(f"{prefix}.shared_mlp.input_linear", Role.GATE_UP, layer, 2 * width, size.hidden, size.fmt),
        *block.linear(f"{prefix}.shared_mlp.output_linear", Role.DOWN, layer, size.hidden, width, size.fmt),
    )
