"""What every form of a linear layer is."""

from abc import ABC, abstractmethod

from torch import Tensor


class Linear(ABC):
    """A matrix that multiplies rows of activations; ``nbytes`` is everything it keeps."""

    nbytes: int
    out_features: int

    @abstractmethod
    def __call__(self, x: Tensor) -> Tensor:
        """(rows, in) to (rows, out)."""
