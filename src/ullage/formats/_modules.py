"""Which tensors a quantisation scheme touches, and what stands beside them."""

from collections.abc import Callable

from ullage.domain.checkpoint import EXPERT_ROLES, Part, Role, Tensor
from ullage.formats._patterns import Patterns
from ullage.frozen import replace

_NEVER = (".weights_proj.weight",)  # the sparse indexer's one number a head, which every scheme leaves alone

Chosen = Callable[[Tensor], bool]


def module_of(tensor: Tensor) -> str:
    """The module a tensor belongs to: its name without the last word where that names a parameter."""
    name = tensor.name.replace("{expert}", "0")
    return name.removesuffix(".weight").removesuffix(".bias")


def linear_leaves(tensors: tuple[Tensor, ...]) -> frozenset[str]:
    """The last words of the names of all linear layers ("q_proj"), by which draft layers' linears are known."""
    return frozenset(module_of(tensor).rpartition(".")[2] for tensor in tensors if tensor.is_linear)


def linears(tensors: tuple[Tensor, ...], *, skip: Patterns, head: bool = False) -> Chosen:
    """The rule of most schemes: linear layers, also those of draft layers, without what ``skip`` lists.

    Embeddings, norms, routers and towers stay as they are; the head too, unless ``head``.
    """
    leaves = linear_leaves(tensors)

    def chosen(tensor: Tensor) -> bool:
        if tensor.part is not Part.WEIGHT or len(tensor.shape) < 2:  # noqa: PLR2004 - a matrix
            return False
        if tensor.role is Role.MTP:
            known = module_of(tensor).rpartition(".")[2] in leaves
        else:
            known = tensor.is_linear or (head and tensor.role is Role.HEAD)
        return known and not tensor.name.endswith(_NEVER) and not skip.match(module_of(tensor))

    return chosen


def is_expert(tensor: Tensor) -> bool:
    """Whether this is a matrix of routed experts, those of draft layers by their name."""
    return tensor.role in EXPERT_ROLES or (tensor.role is Role.MTP and ".experts" in tensor.name)


def convert(tensors: tuple[Tensor, ...], chosen: Chosen, layout: Callable[[Tensor], tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
    """Put ``layout(weight)`` in place of every chosen weight."""
    return tuple(stored for tensor in tensors for stored in (layout(tensor) if chosen(tensor) else (tensor,)))


def beside(tensor: Tensor, suffix: str) -> Tensor:
    """The tensor under another last word: ``q_proj.weight`` to ``q_proj.qweight``; stacked experts without one get ``_suffix``."""
    stem = tensor.name.removesuffix(".weight")
    if stem == tensor.name:
        if suffix == "weight":
            return tensor
        return replace(tensor, name=f"{stem}_{suffix.removeprefix('weight_')}")
    return replace(tensor, name=f"{stem}.{suffix}")
