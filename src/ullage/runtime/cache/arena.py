"""An arena: the pages of one group of layers, each page holding ``page_tokens`` tokens of every layer of the group.

Pages are numbered by their place. A sequence that grows asks for the page after its last one, so that it lies in as few runs as can be;
one that starts is put at the beginning of a free lane, lanes being equally far apart, so that sequences of a batch can be read as one
strided tensor. Only pages that are taken have memory.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from ullage.frozen import dataclass
from ullage.runtime.cache.storage import DeviceStorage, HostStorage, Storage


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """What one layer keeps of a token: ``heads`` rows of ``key_dim`` elements and, unless the key is the value, of ``value_dim``."""

    heads: int
    key_dim: int
    value_dim: int  # 0: values are read from the keys


class Arena:
    """Pages of the layers ``rows`` describes, in one dtype on one device."""

    def __init__(
        self, rows: Sequence[Rows], *, page_tokens: int, lanes: int, lane_pages: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        self.page_tokens = page_tokens
        self.lanes = lanes
        self.lane_pages = lane_pages
        self.pages = lanes * lane_pages
        slots = self.pages * page_tokens
        self._stores: list[tuple[Storage, Storage | None]] = [
            (
                _store(row.heads, slots, row.key_dim, dtype, device),
                _store(row.heads, slots, row.value_dim, dtype, device) if row.value_dim else None,
            )
            for row in rows
        ]
        self.page_bytes = page_tokens * dtype.itemsize * sum(row.heads * (row.key_dim + row.value_dim) for row in rows)
        self._taken = bytearray(self.pages)
        self._in_lane = [0] * lanes
        self.taken_pages = 0

    def keys(self, layer: int) -> Tensor:
        """(heads, slots, key_dim) of a layer of the group."""
        return self._stores[layer][0].tensor

    def values(self, layer: int) -> Tensor:
        """(heads, slots, value_dim) of a layer of the group; the keys where they are the values."""
        keys, values = self._stores[layer]
        return keys.tensor if values is None else values.tensor

    def take(self, after: int | None = None) -> int:
        """A free page: the one after ``after`` where it is free, else the first of the emptiest lane. Raises MemoryError when none is."""
        if after is not None and after + 1 < self.pages and not self._taken[after + 1] and (after + 1) % self.lane_pages:
            return self._mark(after + 1)
        lane = min(range(self.lanes), key=self._in_lane.__getitem__)
        first = self._taken.find(0, lane * self.lane_pages, (lane + 1) * self.lane_pages)
        if first < 0:
            raise MemoryError(f"all {self.pages} pages of the arena are taken")
        return self._mark(first)

    def _mark(self, page: int) -> int:
        self._taken[page] = 1
        self._in_lane[page // self.lane_pages] += 1
        self.taken_pages += 1
        return page

    def give_back(self, pages: Sequence[int]) -> None:
        """Free pages and return their memory, neighbours together."""
        for page in pages:
            self._taken[page] = 0
            self._in_lane[page // self.lane_pages] -= 1
        self.taken_pages -= len(pages)
        for first, count in neighbours(sorted(pages)):
            for keys, values in self._stores:
                keys.give_back(first * self.page_tokens, count * self.page_tokens)
                if values is not None:
                    values.give_back(first * self.page_tokens, count * self.page_tokens)


def _store(heads: int, slots: int, width: int, dtype: torch.dtype, device: torch.device) -> Storage:
    return HostStorage(heads, slots, width, dtype) if device.type == "cpu" else DeviceStorage(heads, slots, width, dtype, device)


def neighbours(pages: Sequence[int]) -> list[tuple[int, int]]:
    """Runs of consecutive numbers: (first, how many)."""
    found: list[tuple[int, int]] = []
    for page in pages:
        if found and page == found[-1][0] + found[-1][1]:
            found[-1] = (found[-1][0], found[-1][1] + 1)
        else:
            found.append((page, 1))
    return found
