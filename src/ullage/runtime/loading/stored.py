"""A tensor as a file holds it: its bytes without a copy, and its values in any dtype, a few rows at a time."""

from collections.abc import Callable
from math import prod
from typing import Protocol

import torch

from ullage.domain.checkpoint import TensorFormat
from ullage.frozen import dataclass
from ullage.runtime.loading.mapped import WeightMap
from ullage.runtime.loading.unpack import unpack

# Values in fp32 at a time: 128 KiB stay in a core's cache, and PyTorch starts no threads for so few, which would wait on a busy host.
_SCRATCH_ELEMENTS = 1 << 15


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Span:
    """A tensor's bytes in a file."""

    file: WeightMap
    begin: int
    end: int


class Stored(Protocol):
    """A tensor of a checkpoint under its canonical name. ``shape`` is as PyTorch has it: a linear weight is (out, in)."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the values."""

    @property
    def format(self) -> TensorFormat:
        """How the file stores them, whole rows of blocks."""

    @property
    def nbytes(self) -> int:
        """Bytes in that format."""

    @property
    def is_view(self) -> bool:
        """Whether ``raw`` is the file's own memory; a copy where rows have another order there or values are made of several."""

    @property
    def spans(self) -> tuple[Span, ...]:
        """Where in which files the bytes lie."""

    def raw(self) -> torch.Tensor:
        """Plain elements in their dtype and ``shape``; blocks as uint8 of shape (rows, bytes of a row)."""

    def dense(self, dtype: torch.dtype, rows: slice | None = None) -> torch.Tensor:
        """The values as a new tensor; ``rows`` (along the first dimension, in steps of one) asks for a part of them."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Lying:
    """A tensor that lies in a file in one piece. ``values`` is a view of the map: typed elements, or (rows, bytes) of blocks.

    ``order`` names the file's row for each row of ours; ``shift`` is added to every value (norms that a file stores plus one).
    """

    shape: tuple[int, ...]
    format: TensorFormat
    values: torch.Tensor
    spans: tuple[Span, ...]
    order: torch.Tensor | None = None
    shift: float = 0.0

    @property
    def nbytes(self) -> int:
        """Bytes in the file's format."""
        return prod(self.shape[:-1]) * self.format.nbytes(self.shape[-1]) if self.shape else self.format.nbytes(1)

    @property
    def is_view(self) -> bool:
        """Whether ``raw`` costs no memory of its own."""
        return self.order is None and not self.shift

    def raw(self) -> torch.Tensor:
        """The file's own elements or blocks, in our order of rows."""
        values = self.values if self.order is None else self.values[self.order]
        return values + self.shift if self.shift else values

    def dense(self, dtype: torch.dtype, rows: slice | None = None) -> torch.Tensor:
        """The values; blocks go through a bounded scratch in fp32."""
        if not self.shape:
            return self.values.to(dtype, copy=True)
        begin, end = bounds(self.shape[0], rows)
        if self.format.block_elements == 1:
            values = self._rows(begin, end)
            return (values.float() + self.shift).to(dtype) if self.shift else values.to(dtype, copy=True)
        return _in_steps(self.shape, begin, end, dtype, lambda first, last: unpack(self._rows(first, last), self.format))

    def _rows(self, begin: int, end: int) -> torch.Tensor:
        return self.values[begin:end] if self.order is None else self.values[self.order[begin:end]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Assembled:
    """A tensor whose rows are made of several stored ones. ``rows`` gives rows ``begin`` to ``end``: blocks, or values in fp32."""

    shape: tuple[int, ...]
    format: TensorFormat
    spans: tuple[Span, ...]
    rows: Callable[[int, int], torch.Tensor]
    is_view: bool = False

    @property
    def nbytes(self) -> int:
        """Bytes in the format that it is assembled to."""
        return prod(self.shape[:-1]) * self.format.nbytes(self.shape[-1])

    def raw(self) -> torch.Tensor:
        """All rows, as a copy."""
        return self.rows(0, self.shape[0])

    def dense(self, dtype: torch.dtype, rows: slice | None = None) -> torch.Tensor:
        """The values; they go through a bounded scratch in fp32."""
        begin, end = bounds(self.shape[0], rows)
        return _in_steps(self.shape, begin, end, dtype, self._values)

    def _values(self, begin: int, end: int) -> torch.Tensor:
        made = self.rows(begin, end)
        return made if self.format.block_elements == 1 else unpack(made, self.format)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Reordered:
    """A stored tensor with its rows in another order: ``order`` names the stored row for each row."""

    stored: Stored
    order: torch.Tensor
    is_view: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """That of the stored one."""
        return self.stored.shape

    @property
    def format(self) -> TensorFormat:
        """That of the stored one."""
        return self.stored.format

    @property
    def nbytes(self) -> int:
        """Those of the stored one."""
        return self.stored.nbytes

    @property
    def spans(self) -> tuple[Span, ...]:
        """Those of the stored one."""
        return self.stored.spans

    def raw(self) -> torch.Tensor:
        """All rows, as a copy."""
        return self.stored.raw()[self.order]

    def dense(self, dtype: torch.dtype, rows: slice | None = None) -> torch.Tensor:
        """The values; what is read is what lies between the first and the last row that is asked for."""
        begin, end = bounds(self.shape[0], rows)
        wanted = self.order[begin:end]
        if not len(wanted):
            return self.stored.dense(dtype, slice(0, 0))
        first = int(wanted.min())
        return self.stored.dense(dtype, slice(first, int(wanted.max()) + 1))[wanted - first]


def _in_steps(shape: tuple[int, ...], begin: int, end: int, dtype: torch.dtype, values: Callable[[int, int], torch.Tensor]) -> torch.Tensor:
    """Rows ``begin`` to ``end`` of what ``values`` gives in fp32, a bounded number of elements at a time."""
    out = torch.empty((end - begin, *shape[1:]), dtype=dtype)
    step = max(1, _SCRATCH_ELEMENTS // max(1, shape[-1]))
    for first in range(begin, end, step):
        last = min(first + step, end)
        out[first - begin : last - begin] = values(first, last)
    return out


def bounds(length: int, rows: slice | None) -> tuple[int, int]:
    """First and last row (exclusive) that a slice names. Raises ValueError for steps."""
    begin, end, step = (rows or slice(None)).indices(length)
    if step != 1:
        raise ValueError(f"rows are read in steps of one, not {step}")
    return begin, max(begin, end)
