"""Memory that is reserved by address and taken by touch: what pages of the cache lie in.

On a CPU a mapping costs nothing until it is written, and gives its pages back when it is told to; so a sequence can lie in one piece and
still take only what its tokens need. On an accelerator memory is taken in slabs from PyTorch's allocator and given back slab by slab.
"""

import mmap
import sys
from typing import Protocol

import torch
from torch import Tensor

_OS_PAGE = mmap.PAGESIZE
_NO_RESERVE = 0x4000 if sys.platform == "linux" else 0


class Storage(Protocol):
    """A tensor of (heads, slots, width) elements for one layer's keys or values."""

    tensor: Tensor

    def give_back(self, first_slot: int, slots: int) -> None:
        """Return the memory of those slots; what they held is lost."""


class HostStorage:
    """An anonymous mapping without huge pages, so that what is counted is what is taken."""

    def __init__(self, heads: int, slots: int, width: int, dtype: torch.dtype) -> None:
        self._row_bytes = width * dtype.itemsize
        self._head_bytes = slots * self._row_bytes
        self._heads = heads
        nbytes = max(heads * self._head_bytes, 1)
        self._map = mmap.mmap(-1, nbytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _NO_RESERVE)
        if hasattr(mmap, "MADV_NOHUGEPAGE"):
            self._map.madvise(mmap.MADV_NOHUGEPAGE)
        self.tensor = torch.frombuffer(self._map, dtype=dtype, count=heads * slots * width).view(heads, slots, width)

    def give_back(self, first_slot: int, slots: int) -> None:
        """Whole pages of the operating system inside the slots are dropped; what shares a page with a neighbour stays."""
        for head in range(self._heads):
            start = head * self._head_bytes + first_slot * self._row_bytes
            first = -(-start // _OS_PAGE) * _OS_PAGE
            last = (start + slots * self._row_bytes) // _OS_PAGE * _OS_PAGE
            if first < last:
                self._map.madvise(mmap.MADV_DONTNEED, first, last - first)


class DeviceStorage:
    """One slab on an accelerator: taken whole when it is made and returned whole when the slab is dropped."""

    def __init__(self, heads: int, slots: int, width: int, dtype: torch.dtype, device: torch.device) -> None:
        self.tensor = torch.empty(heads, slots, width, dtype=dtype, device=device)

    def give_back(self, first_slot: int, slots: int) -> None:
        """Nothing: the slab goes as a whole."""
