"""The feed-forward of one layer."""

import torch
from torch import Tensor
from torch.nn import functional

from ullage.runtime.linear.form import Linear
from ullage.runtime.model.traits import Activation


def activate(x: Tensor, kind: Activation) -> Tensor:
    """The non-linearity by itself."""
    match kind:
        case Activation.SILU:
            return functional.silu(x)
        case Activation.GELU:
            return functional.gelu(x)
        case Activation.GELU_TANH:
            return functional.gelu(x, approximate="tanh")
        case Activation.CLAMPED_SWIGLU:
            raise ValueError("a clamped gate is not a function of one number")


class DenseMlp:
    """Gate and up in one product where there is a gate, activation, down. Rows are cut so that its peak is bounded."""

    def __init__(self, *, up: Linear, down: Linear, activation: Activation, gated: bool, rows: int) -> None:
        self._up, self._down, self._activation, self._gated, self._rows = up, down, activation, gated, rows
        self.nbytes = up.nbytes + down.nbytes

    def __call__(self, x: Tensor) -> Tensor:
        """(rows, hidden) to (rows, hidden)."""
        if x.shape[0] <= self._rows:
            return self._part(x)
        return torch.cat([self._part(part) for part in x.split(self._rows)])

    def _part(self, x: Tensor) -> Tensor:
        wide = self._up(x)
        if not self._gated:
            return self._down(activate(wide, self._activation))
        gate, up = wide.chunk(2, -1)
        return self._down(activate(gate, self._activation).mul_(up))
