"""Linear layers of a byte a weight with one scale for each row: int8, and 8-bit floats."""

from abc import abstractmethod
from typing import Final

import torch
from torch import Tensor

from ullage.engines.runtime.residence import WeightForm
from ullage.engines.runtime.weight_forms import scratch_bytes, tile_rows
from ullage.runtime.linear.form import Linear
from ullage.runtime.linear.scratch import Scratch
from ullage.runtime.linear.weights import Weights

FEW_ROWS = 12  # up to here the kernel, whose time grows with the rows, beats unpacking: tools/bench/linears.py --crossover
_WHOLE_IN = 16  # the kernel reads so many columns at once, past the end of shorter rows
_LARGEST_INT8 = 127
_E4M3: Final = torch.float8_e4m3fn
_LARGEST_E4M3: Final = torch.finfo(_E4M3).max
# The bits of e4m3 four places to the left (the sign stays in front) are a bfloat16 number 2 ** 120 times too small.
_SIGN_AND_VALUE, _UP, _EXPONENTS_APART = -32768 | 0x7F0, 4, 2.0**120
# An operator of PyTorch that has no public name; every call of it stands in this file.
_PRODUCT: Final = torch._weight_int8pack_mm  # noqa: SLF001 - as above


class Bytewise(Linear):
    """(out, in) codes and a scale for each row, in the dtype that is computed in."""

    def __init__(self, weights: Weights, bias: Tensor | None, scratch: Scratch, form: WeightForm) -> None:
        out, columns = weights.shape
        self._codes = torch.empty((out, columns), dtype=self._code_dtype)
        self._scale = torch.empty(out, dtype=weights.dtype)
        self._tile, self._scratch, self._bias = tile_rows(out, columns), scratch, bias
        for begin in range(0, out, self._tile):
            end = min(begin + self._tile, out)
            values = weights.rows(begin, end)
            largest = torch.linalg.vector_norm(values, torch.inf, dim=-1)
            self._scale[begin:end] = largest / self._largest
            scale = self._scale[begin:end].float()  # codes are of the scale as it is kept
            self._codes[begin:end] = self._code(values.div_(torch.where(scale == 0, 1.0, scale)[:, None]))
        self._codes, self._scale = self._codes.to(weights.device), self._scale.to(weights.device)
        self.nbytes = self._codes.nbytes + self._scale.nbytes + (0 if bias is None else bias.nbytes)
        self.out_features = out
        scratch.reserve(scratch_bytes(form, out, columns, str(weights.dtype).removeprefix("torch.")))

    _code_dtype: torch.dtype
    _largest: float

    @abstractmethod
    def _code(self, values: Tensor) -> Tensor:
        """Codes of numbers that their scale has divided."""

    @abstractmethod
    def _unpacked(self, codes: Tensor, dtype: torch.dtype) -> Tensor:
        """The numbers of codes, in the scratch."""

    def __call__(self, x: Tensor) -> Tensor:
        """(rows, in) to (rows, out)."""
        found = self._by_tiles(x)
        return found if self._bias is None else found.add_(self._bias)

    def _by_tiles(self, x: Tensor) -> Tensor:
        found = x.new_empty(x.shape[0], self.out_features)
        for begin in range(0, self.out_features, self._tile):
            end = min(begin + self._tile, self.out_features)
            torch.mm(x, self._unpacked(self._codes[begin:end], x.dtype).t(), out=found[:, begin:end])
        return found.mul_(self._scale)


class Int8(Bytewise):
    """Whole numbers to 127: few rows by ATen's kernel on them, many by unpacking a tile of rows and the dtype's product."""

    _code_dtype, _largest = torch.int8, _LARGEST_INT8

    def __init__(self, weights: Weights, bias: Tensor | None, scratch: Scratch) -> None:
        super().__init__(weights, bias, scratch, WeightForm.INT8)
        readable = weights.shape[1] % _WHOLE_IN == 0 and weights.device.type == "cpu" and weights.dtype is torch.bfloat16
        self._few = FEW_ROWS if readable else 0

    def __call__(self, x: Tensor) -> Tensor:
        """(rows, in) to (rows, out)."""
        if not 0 < x.shape[0] <= self._few:
            return super().__call__(x)
        found: Tensor = _PRODUCT(x.contiguous(), self._codes, self._scale)
        return found if self._bias is None else found.add_(self._bias)

    def _code(self, values: Tensor) -> Tensor:
        return values.round_().clamp_(-_LARGEST_INT8, _LARGEST_INT8).to(torch.int8)

    def _unpacked(self, codes: Tensor, dtype: torch.dtype) -> Tensor:
        return self._scratch.views((dtype, tuple(codes.shape)))[0].copy_(codes)


class Fp8(Bytewise):
    """8-bit floats (e4m3), always unpacked by tiles: there is no kernel for them on processors."""

    _code_dtype, _largest = _E4M3, _LARGEST_E4M3

    def __init__(self, weights: Weights, bias: Tensor | None, scratch: Scratch) -> None:
        super().__init__(weights, bias, scratch, WeightForm.FP8)

    def _code(self, values: Tensor) -> Tensor:
        return values.clamp_(-_LARGEST_E4M3, _LARGEST_E4M3).to(_E4M3)

    def _unpacked(self, codes: Tensor, dtype: torch.dtype) -> Tensor:
        """By shifting bits, twelve times as fast as the conversion there is."""
        shape = tuple(codes.shape)
        parts = ((torch.int16, shape),) if dtype is torch.bfloat16 else ((dtype, shape), (torch.int16, shape))
        *wide, bits = self._scratch.views(*parts)
        bits.copy_(codes.view(torch.int8))
        numbers = bits.bitwise_left_shift_(_UP).bitwise_and_(_SIGN_AND_VALUE).view(torch.bfloat16).mul_(_EXPONENTS_APART)
        return wide[0].copy_(numbers) if wide else numbers
