"""What a weight file format is."""

from collections.abc import Callable

from ullage.domain.checkpoint import Tensor
from ullage.domain.hyperparameters import Hyperparameters, Json
from ullage.frozen import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredTensor:
    """One tensor of a file header: the file's name for it, its dtype word, its shape and its bytes in the file."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    nbytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """A file's header: its tensors and its metadata."""

    tensors: tuple[StoredTensor, ...]
    metadata: tuple[tuple[str, Json], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class NeedMore:
    """The bytes given are the true beginning of a file, but the header is longer: give at least ``nbytes``."""

    nbytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightFormat:
    """One file in ``formats/`` that reads headers: a total parser over bytes."""

    name: str
    suffixes: tuple[str, ...]
    read: Callable[[bytes, int], Header | NeedMore]  # (beginning of the file, size of the whole file)


def _nothing(word: str) -> dict[str, Json] | None:  # noqa: ARG001 - the shape of every recipe's `named`
    """The recipe has no words."""
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """One file in ``formats/`` that knows a quantisation scheme.

    ``reads`` says whether a ``quantization_config`` is of this scheme; ``apply`` turns the unquantised tensors into the stored ones
    and names the scheme for people. Raises UnsupportedModelError for a variant it has no rule for. ``named`` is the
    ``quantization_config`` that a word such as ``awq`` stands for, or None; ``words`` lists the usual ones.
    """

    name: str
    reads: Callable[[Hyperparameters], bool]
    apply: Callable[[tuple[Tensor, ...], Hyperparameters], tuple[tuple[Tensor, ...], str]]
    words: tuple[str, ...] = ()
    named: Callable[[str], dict[str, Json] | None] = _nothing
