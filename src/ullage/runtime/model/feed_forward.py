"""The feed-forward of one layer."""

import torch
from torch import Tensor
from torch.nn import functional

from ullage.runtime.linear.form import Linear
from ullage.runtime.model.traits import CLAMP_ALPHA, CLAMP_LIMIT, Activation


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
    """Gate and up in one product where there is a gate, activation, down; asked for at most ``rows`` rows, so that its peak is bounded."""

    def __init__(self, *, up: Linear, down: Linear, activation: Activation, gated: bool, rows: int) -> None:
        self._up, self._down, self._activation, self._gated = up, down, activation, gated
        self.rows = rows
        self.nbytes = up.nbytes + down.nbytes

    def __call__(self, x: Tensor) -> Tensor:
        """(rows, hidden) to (rows, hidden)."""
        return self._down(self._inner(x))

    def copied(self, device: torch.device) -> "DenseMlp":
        """The same with copies of its weights on a device."""
        return DenseMlp(
            up=self._up.copied(device), down=self._down.copied(device), activation=self._activation, gated=self._gated, rows=self.rows
        )

    def _inner(self, x: Tensor) -> Tensor:
        """A function of its own, so that what is wide is gone before the way down."""
        wide = self._up(x)
        if not self._gated:
            return activate(wide, self._activation)
        gate, up = wide.chunk(2, -1)
        return _clamped(gate, up) if self._activation is Activation.CLAMPED_SWIGLU else activate(gate, self._activation).mul_(up)


def _clamped(gate: Tensor, up: Tensor) -> Tensor:
    """gpt-oss's gate: x sigmoid(alpha x) (up + 1) within the limit; both are changed in place."""
    gate.clamp_(max=CLAMP_LIMIT)
    up.clamp_(-CLAMP_LIMIT, CLAMP_LIMIT).add_(1)
    return (gate * CLAMP_ALPHA).sigmoid_().mul_(gate).mul_(up)
