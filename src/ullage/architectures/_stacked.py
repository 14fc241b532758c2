"""Experts as newer checkpoints store them: all of a layer's in two stacked tensors, gate and up in one."""

from ullage.domain.checkpoint import Role, Tensor, TensorFormat
from ullage.domain.family import Blueprint
from ullage.formulas import tensors as block
from ullage.frozen import replace


def stacked_experts(at: str, index: int, fmt: TensorFormat, *, hidden: int, intermediate: int, experts: int) -> tuple[Tensor, ...]:
    """The two tensors; ``shape`` is one expert's (out, in) and ``copies`` counts the experts, however the file orders them."""
    return (
        block.weight(f"{at}.gate_up_proj", Role.EXPERT_GATE_UP, index, (2 * intermediate, hidden), fmt, copies=experts),
        block.weight(f"{at}.down_proj", Role.EXPERT_DOWN, index, (hidden, intermediate), fmt, copies=experts),
    )


def with_stacked_experts(text: Blueprint) -> Blueprint:
    """The same decoder with each layer's experts in two stacked tensors, gate and up in one."""
    return replace(text, tensors=tuple(stacked for tensor in text.tensors for stacked in _stacked(tensor)))


def _stacked(tensor: Tensor) -> tuple[Tensor, ...]:
    at = tensor.name.partition(".{expert}")[0]
    match tensor.role:
        case Role.EXPERT_GATE:
            rows, columns = tensor.shape
            return (replace(tensor, name=f"{at}.gate_up_proj", role=Role.EXPERT_GATE_UP, shape=(2 * rows, columns)),)
        case Role.EXPERT_UP:
            return ()
        case Role.EXPERT_DOWN:
            return (replace(tensor, name=f"{at}.down_proj"),)
        case _:
            return (tensor,)
