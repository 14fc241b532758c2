"""The token table: looked up in the mapped file where the host computes, so that only the rows of tokens that occur are ever read."""

import torch
from torch import Tensor
from torch.nn import functional

from ullage.engines.runtime.transient import ROWS
from ullage.runtime.loading.stored import Stored
from ullage.runtime.loading.unpack import unpack


class Table:
    """(vocabulary, hidden) values in memory; ``nbytes`` is told where the head counts them."""

    def __init__(self, values: Tensor, *, nbytes: int | None = None) -> None:
        self._values = values
        self.nbytes = values.nbytes if nbytes is None else nbytes

    def __call__(self, ids: Tensor) -> Tensor:
        """The rows of some tokens, (tokens, hidden)."""
        return functional.embedding(ids, self._values)


class MappedTable:
    """The table as the file holds it; ``nbytes`` are the file's, and clean: the system may drop them and read them again."""

    def __init__(self, stored: Stored, dtype: torch.dtype) -> None:
        self._rows, self._format, self._dtype = stored.raw(), stored.format, dtype
        self._width = stored.shape[-1]
        self.nbytes = stored.nbytes

    def __call__(self, ids: Tensor) -> Tensor:
        """The rows of some tokens, unpacked from their blocks, (tokens, hidden)."""
        if len(ids) <= ROWS:
            return self._some(ids)
        found = torch.empty(len(ids), self._width, dtype=self._dtype)
        for part, some in zip(found.split(ROWS), ids.split(ROWS), strict=True):
            part.copy_(self._some(some))
        return found

    def _some(self, ids: Tensor) -> Tensor:
        rows = self._rows.index_select(0, ids)
        return (rows if self._format.block_elements == 1 else unpack(rows, self._format)).to(self._dtype)


Embedding = Table | MappedTable
