"""Linear layers whose weights stay in a floating-point dtype."""

import torch
from torch import Tensor
from torch.nn import functional

from ullage.runtime.linear.form import Linear

# Operators of PyTorch that have no public name; every call of them stands in this file.
_PACK = torch.ops.mkldnn._reorder_linear_weight  # noqa: SLF001 - as above
_NBYTES = torch.ops.mkldnn._nbytes  # noqa: SLF001 - as above
_PRODUCT = torch.ops.mkldnn._linear_pointwise  # noqa: SLF001 - as above


class Plain(Linear):
    """(out, in) weights, as PyTorch multiplies them."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        self.weight = weight
        self._bias = bias
        self.nbytes = weight.nbytes + (0 if bias is None else bias.nbytes)
        self.out_features = weight.shape[0]

    def __call__(self, x: Tensor) -> Tensor:
        """(rows, in) to (rows, out)."""
        return functional.linear(x, self.weight, self._bias)


class Packed(Linear):
    """The same weights in the order that oneDNN's kernels read: as many bytes, and twice as fast with few rows."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        self._weight = _PACK(weight, 1)
        self._bias = bias
        self.nbytes = _NBYTES(self._weight) + (0 if bias is None else bias.nbytes)
        self.out_features = weight.shape[0]

    def __call__(self, x: Tensor) -> Tensor:
        """(rows, in) to (rows, out)."""
        return _PRODUCT(x, self._weight, self._bias, "none", [], "")
