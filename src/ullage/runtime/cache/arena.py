"""An arena: the pages of one group of layers, each page holding ``page_tokens`` tokens of every layer of the group.

Pages are numbered by their place. Only pages with content have memory.
"""

import mmap
from collections.abc import Sequence

import torch
from torch import Tensor

from ullage.engines.runtime.pages import Rows, token_bytes
from ullage.runtime.cache.formats import FORMATS
from ullage.runtime.cache.held import Held
from ullage.runtime.cache.occupancy import Occupancy, neighbours
from ullage.runtime.cache.storage import DeviceStorage, HostStorage, Storage


class Arena:
    """Pages of the layers ``rows`` describes, in one dtype on one device."""

    def __init__(
        self,
        rows: Sequence[Rows],
        *,
        page_tokens: int,
        lanes: int,
        lane_pages: int,
        dtype: torch.dtype,
        device: torch.device,
        keys: str = "native",
        values: str = "native",
    ) -> None:
        """``keys`` and ``values`` are words of the setting kv_dtype."""
        self.page_tokens = page_tokens
        self.occupancy = Occupancy(lanes, lane_pages)
        slots = self.occupancy.pages * page_tokens
        self._stores: list[Storage] = []

        def side(form: str, heads: int, width: int) -> Held:
            made = [_store(heads, slots, wide, kind, device) for wide, kind in FORMATS[form].stores(width, dtype)]
            self._stores.extend(made)
            return Held(FORMATS[form], width, tuple(store.tensor for store in made))

        self._held: list[tuple[Held, Held]] = []
        for row in rows:
            first = side(keys, row.heads, row.key_dim)
            self._held.append((first, side(values, row.heads, row.value_dim) if row.value_dim else first))
        self.page_bytes = page_tokens * token_bytes(rows, keys=keys, values=values, element=dtype.itemsize)
        smallest = page_tokens * min(tensor.shape[2] * tensor.element_size() for tensor in self._tensors())
        self._margin = -(-mmap.PAGESIZE // smallest) if smallest % mmap.PAGESIZE else 0  # neighbours that may lie in one page of the system

    def held(self, layer: int) -> tuple[Held, Held]:
        """Keys and values of a layer of the group; twice the same where the keys are the values."""
        return self._held[layer]

    def keys(self, layer: int) -> Tensor:
        """(heads, slots, key_dim) of a layer of the group, where they are native."""
        return self._held[layer][0].tensor

    def values(self, layer: int) -> Tensor:
        """(heads, slots, value_dim) of a layer of the group, where they are native."""
        return self._held[layer][1].tensor

    def clear(self, pages: Sequence[int]) -> None:
        """Free pages and return their memory, neighbours together."""
        self.occupancy.free(pages)
        size = self.page_tokens
        for run in neighbours(sorted(pages)):
            first, count = self.occupancy.widened(*run, self._margin)
            for store in self._stores:
                store.give_back(first * size, count * size)

    def copy_out(self, pages: Sequence[int], to: torch.device) -> list[Tensor]:
        """What pages hold, in tensors of their own, run after run."""
        return [part.to(to, copy=True) for first, count in neighbours(pages) for part in self._parts(first, count)]

    def copy_in(self, pages: Sequence[int], content: Sequence[Tensor], lengths: Sequence[int]) -> None:
        """Put what was copied out in runs of ``lengths`` pages into other pages."""
        at = 0
        held = iter(content)
        for length in lengths:
            targets = pages[at : at + length]
            at += length
            for tensor in self._tensors():
                rest = next(held)
                for first, count in neighbours(targets):
                    slots = count * self.page_tokens
                    tensor[:, first * self.page_tokens : first * self.page_tokens + slots] = rest[:, :slots]
                    rest = rest[:, slots:]

    def _tensors(self) -> list[Tensor]:
        """Everything kept of the slots, (heads, slots, width) each."""
        return [store.tensor for store in self._stores]

    def _parts(self, first: int, count: int) -> list[Tensor]:
        return [tensor[:, first * self.page_tokens : (first + count) * self.page_tokens] for tensor in self._tensors()]


def _store(heads: int, slots: int, width: int, dtype: torch.dtype, device: torch.device) -> Storage:
    return HostStorage(heads, slots, width, dtype) if device.type == "cpu" else DeviceStorage(heads, slots, width, dtype, device)
