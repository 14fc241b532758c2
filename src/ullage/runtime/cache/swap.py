"""Pages of a sequence that was put aside, on the host."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ullage.runtime.cache.occupancy import neighbours
from ullage.runtime.cache.pool import Pool
from ullage.runtime.cache.table import Table

_HOST = torch.device("cpu")


class Swapped:
    """What one sequence held, group by group."""

    def __init__(self, pool: Pool, tables: Sequence[Table]) -> None:
        self._dropped = [table.dropped for table in tables]
        self._lengths = [[count for _, count in neighbours(table.pages)] for table in tables]
        self._content: list[list[Tensor]] = [arena.copy_out(table.pages, _HOST) for arena, table in zip(pool.arenas, tables, strict=True)]
        self.nbytes = held_bytes(pool, tables)

    def restore(self, pool: Pool, tables: Sequence[Table], tokens: int) -> bool:
        """Into empty tables with room for ``tokens`` tokens; False, and nothing done, when the pool has no pages for it."""
        for table, dropped in zip(tables, self._dropped, strict=True):
            table.dropped = dropped
        if not pool.grow(tables, tokens):
            return False
        for arena, table, content, lengths in zip(pool.arenas, tables, self._content, self._lengths, strict=True):
            arena.copy_in(table.pages[: sum(lengths)], content, lengths)
        return True


def held_bytes(pool: Pool, tables: Sequence[Table]) -> int:
    """Bytes of the pages in tables, whoever else holds them."""
    return sum(len(table.pages) * arena.page_bytes for table, arena in zip(tables, pool.arenas, strict=True))
