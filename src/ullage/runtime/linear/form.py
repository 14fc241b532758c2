"""What every form of a linear layer is."""

from abc import ABC, abstractmethod
from copy import copy

import torch
from torch import Tensor


class Linear(ABC):
    """A matrix that multiplies rows of activations; ``nbytes`` is everything it keeps."""

    nbytes: int
    out_features: int

    @abstractmethod
    def __call__(self, x: Tensor) -> Tensor:
        """(rows, in) to (rows, out)."""

    def copied(self, device: torch.device) -> "Linear":
        """The same layer with copies of its tensors on a device; how it multiplies stays as it was made."""
        other = copy(self)
        for name, value in vars(self).items():
            if isinstance(value, Tensor):
                setattr(other, name, value.clone() if value.is_mkldnn else value.to(device, copy=True))
        return other
