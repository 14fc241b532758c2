"""One piece of memory in which all linear layers of a device unpack their weights, tile by tile, one layer after another."""

from math import prod

import torch
from torch import Tensor


class Scratch:
    """``nbytes`` is what the largest layer asked for; it is taken when it is first used."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._memory: Tensor | None = None
        self.nbytes = 0

    def reserve(self, nbytes: int) -> None:
        """A layer will need so much."""
        if nbytes > self.nbytes:
            self.nbytes, self._memory = nbytes, None

    def views(self, *parts: tuple[torch.dtype, tuple[int, ...]]) -> tuple[Tensor, ...]:
        """Parts of it beside one another; what was in it before is gone. Raises ValueError when it was not reserved."""
        if self._memory is None:
            self._memory = torch.empty(self.nbytes, dtype=torch.uint8, device=self._device)
        found, begin = [], 0
        for dtype, shape in parts:
            end = begin + prod(shape) * dtype.itemsize
            if end > self.nbytes or begin % dtype.itemsize:
                raise ValueError(f"a scratch of {self.nbytes} bytes has no room for {end}")
            found.append(self._memory[begin:end].view(dtype).view(shape))
            begin = end
        return tuple(found)
