"""Live bytes of PyTorch tensors, counted operation by operation: what an allocator would be asked for, without its rounding.

What a kernel needs inside one operation is not seen.
"""

import weakref
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten


def storage_bytes(tensors: Iterable[Any]) -> int:
    """Bytes of the storages behind some tensors, each once."""
    storages = (tensor.untyped_storage() for tensor in tensors)
    return sum({storage._cdata: storage.nbytes() for storage in storages}.values())  # noqa: SLF001 - the only name of a storage


class LiveBytes(TorchDispatchMode):  # type: ignore[misc]
    """While it is entered: the bytes of storages that exist beside those of the tensors ``held`` before, and the most there were."""

    def __init__(self, held: Iterable[Any] = ()) -> None:
        super().__init__()
        self._known = {tensor.untyped_storage()._cdata for tensor in held}  # noqa: SLF001 - as above
        self.live = self.peak = 0

    def take_peak(self) -> int:
        """The most bytes since the last call; counting starts again from what is alive now."""
        peak, self.peak = self.peak, self.live
        return peak

    def __torch_dispatch__(self, function: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run one operation and count the storages of what it returns."""
        result = function(*args, **(kwargs or {}))
        for item in tree_flatten(result)[0]:
            if isinstance(item, torch.Tensor):
                self._count(item.untyped_storage())
        return result

    def _count(self, storage: Any) -> None:
        key, nbytes = storage._cdata, storage.nbytes()  # noqa: SLF001 - as above
        if key in self._known:
            return
        self._known.add(key)
        self.live += nbytes
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._free, key, nbytes)

    def _free(self, key: int, nbytes: int) -> None:
        self._known.discard(key)
        self.live -= nbytes
