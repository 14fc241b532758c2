"""Whether files hold a whole model: some tensors may have other names or be left out, most of the layers may not."""

from collections.abc import Iterable

from ullage.domain.checkpoint import Tensor
from ullage.domain.family import Blueprint
from ullage.errors import MalformedFileError
from ullage.units import format_bytes

_MOST_MISSING = 10  # one in so many: a layer or two under names of their own is a note
_FEWEST_BITS = 1  # no format keeps a weight in less
_NEXT = "it is not the whole model. Fetch all files of the model, or give its config.json alone to size it by rule"


def check_whole(blueprint: Blueprint, missing: tuple[Tensor, ...], other_bytes: int) -> None:
    """Refuse files without most of a layer's tensors. Raises MalformedFileError.

    ``other_bytes`` is what the files hold under names that the configuration does not mean: as much as the missing tensors take at
    the fewest bits may be these tensors under other names. Embedding, head, towers and draft layers are left out of files at times
    and do not count.
    """
    wanted = tuple(tensor for tensor in blueprint.tensors if tensor.layer is not None)
    lacking = tuple(tensor for tensor in missing if tensor.layer is not None)
    gone = _elements(lacking)
    if gone * _MOST_MISSING <= _elements(wanted) or other_bytes * 8 >= gone * _FEWEST_BITS:
        return
    raise MalformedFileError(
        f"the files lack {len(lacking)} of the {len(wanted)} tensors of the layers, {format_bytes(_nbytes(lacking))} of "
        f"{format_bytes(_nbytes(wanted))} in the model's own dtype, {lacking[0].name[:120]} first: {_NEXT}"
    )


def check_layers(blueprint: Blueprint, stored: tuple[Tensor, ...]) -> None:
    """Refuse files that have nothing at all of many layers. Raises MalformedFileError."""
    wanted = {tensor.layer for tensor in blueprint.tensors if tensor.layer is not None}
    gone = wanted - {tensor.layer for tensor in stored}
    if len(gone) * _MOST_MISSING > len(wanted):
        raise MalformedFileError(f"the file has no tensor of {len(gone)} of the {len(wanted)} layers: {_NEXT}")


def _elements(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.elements for tensor in tensors)


def _nbytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.nbytes for tensor in tensors)
