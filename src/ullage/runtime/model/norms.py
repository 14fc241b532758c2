"""Norms over the last dimension."""

from torch import Tensor
from torch.nn import functional


class RmsNorm:
    """x / rms(x) * weight; ``plus_one`` norms multiply by 1 + weight, and do it in float32 as Gemma does."""

    def __init__(self, weight: Tensor, epsilon: float, *, plus_one: bool = False) -> None:
        self._weight = weight.float() + 1 if plus_one else weight
        self._epsilon = epsilon
        self._plus_one = plus_one
        self.nbytes = self._weight.nbytes

    def __call__(self, x: Tensor) -> Tensor:
        """Of the same shape."""
        if self._plus_one:
            return functional.rms_norm(x.float(), self._weight.shape[-1:], None, self._epsilon).mul_(self._weight).to(x.dtype)
        return functional.rms_norm(x, self._weight.shape[-1:], None, self._epsilon).mul_(self._weight)


class LayerNorm:
    """Mean taken off, divided by the deviation, weight and bias."""

    def __init__(self, weight: Tensor, bias: Tensor | None, epsilon: float) -> None:
        self._weight, self._bias, self._epsilon = weight, bias, epsilon
        self.nbytes = weight.nbytes + (0 if bias is None else bias.nbytes)

    def __call__(self, x: Tensor) -> Tensor:
        """Of the same shape."""
        return functional.layer_norm(x, self._weight.shape, self._weight, self._bias, self._epsilon)


NormLayer = RmsNorm | LayerNorm
