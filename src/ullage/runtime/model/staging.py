"""Experts that lie on the host: those in use stand in a room of fixed size on the device that computes."""

from collections import OrderedDict

import torch

from ullage.runtime.model.feed_forward import DenseMlp

_HOST = torch.device("cpu")


class Staging:
    """Room for ``most`` experts on a device, of whatever layer; the one that was used longest ago makes way."""

    def __init__(self, most: int, device: torch.device) -> None:
        if most < 1:
            raise ValueError(f"room for {most} experts is none; the smallest is 1")
        self.most, self.device = most, device
        self._there: OrderedDict[tuple[int, int], DenseMlp] = OrderedDict()
        self._largest = self._expected = 0
        self.copies = 0
        self.host_bytes = 0  # of all experts that may come

    @property
    def nbytes(self) -> int:
        """The most that the room takes: as many as fit, and there are, of the largest expert that may come."""
        return min(self.most, self._expected) * self._largest

    @property
    def held_bytes(self) -> int:
        """What is in it now."""
        return sum(expert.nbytes for expert in self._there.values())

    def expect(self, expert: DenseMlp) -> None:
        """An expert that may come."""
        self._largest, self._expected = max(self._largest, expert.nbytes), self._expected + 1
        self.host_bytes += expert.nbytes

    def take(self, key: tuple[int, int], expert: DenseMlp) -> DenseMlp:
        """The expert on the device, copied there unless it is still there; what makes way goes before."""
        found = self._there.pop(key, None)
        if found is None:
            while len(self._there) >= self.most:
                self._there.popitem(last=False)
            found = expert.copied(self.device)
            self.copies += 1
        self._there[key] = found
        return found


class OnHost:
    """The experts of one layer on the host, made for the device that computes with them. ``layer`` tells them from other layers'."""

    def __init__(self, layer: int, staging: Staging) -> None:
        self._layer, self._staging = layer, staging
        self._experts: list[DenseMlp] = []
        self.nbytes = 0

    def add(self, expert: DenseMlp) -> None:
        """One more, taken from the device to the host: no more than one is ever on its way."""
        self._experts.append(expert.copied(_HOST))
        self._staging.expect(expert)
        self.nbytes += expert.nbytes

    def __len__(self) -> int:
        """How many there are."""
        return len(self._experts)

    def __getitem__(self, index: int, /) -> DenseMlp:
        """One of them, on the device."""
        return self._staging.take((self._layer, index), self._experts[index])
