"""What keys and values are kept in: codes, and the scales that make numbers of them. Plain PyTorch on every device.

Every format keeps the row of one head and one token by itself, so what is read back depends on nothing but the row.
"""

from typing import Final, Protocol

import torch
from torch import Tensor

from ullage.engines.runtime.residence import cache_groups

SCALE = torch.bfloat16
_LEAST = 1e-30  # a row of zeros has a scale too


class Format(Protocol):
    """Rows of ``width`` numbers in several stores, (..., width of the store) each."""

    def stores(self, width: int, dtype: torch.dtype) -> tuple[tuple[int, torch.dtype], ...]:
        """Width and dtype of each store of a cache that computes in ``dtype``."""

    def quantise(self, rows: Tensor) -> tuple[Tensor, ...]:
        """Rows, (..., width), as the stores keep them."""

    def numbers(self, parts: tuple[Tensor, ...], dtype: torch.dtype) -> Tensor:
        """Rows without the factor of their `factor`, contiguous."""

    def factor(self, parts: tuple[Tensor, ...]) -> Tensor | None:
        """One factor for each row, (...); None where `numbers` has everything."""


class Native:
    """The numbers themselves."""

    def stores(self, width: int, dtype: torch.dtype) -> tuple[tuple[int, torch.dtype], ...]:
        """One store."""
        return ((width, dtype),)

    def quantise(self, rows: Tensor) -> tuple[Tensor, ...]:
        """The rows."""
        return (rows,)

    def numbers(self, parts: tuple[Tensor, ...], dtype: torch.dtype) -> Tensor:
        """The rows in another dtype."""
        return parts[0].to(dtype, memory_format=torch.contiguous_format)

    def factor(self, parts: tuple[Tensor, ...]) -> Tensor | None:  # noqa: ARG002 - none, whatever the parts
        """None."""
        return None


class Int8:
    """A byte for each number and a scale for each row: its largest number is 127."""

    def stores(self, width: int, dtype: torch.dtype) -> tuple[tuple[int, torch.dtype], ...]:  # noqa: ARG002 - the same for all
        """Codes and scales."""
        return (width, torch.int8), (1, SCALE)

    def quantise(self, rows: Tensor) -> tuple[Tensor, ...]:
        """Codes rounded to the nearest."""
        scale = _scale(rows, 127.0)
        return (rows / scale.float()).round_().clamp_(-127, 127).to(torch.int8), scale

    def numbers(self, parts: tuple[Tensor, ...], dtype: torch.dtype) -> Tensor:
        """Whole numbers, which every dtype has."""
        return parts[0].to(dtype, memory_format=torch.contiguous_format)

    def factor(self, parts: tuple[Tensor, ...]) -> Tensor | None:
        """The scales."""
        return parts[1][..., 0]


class Fp8:
    """An e4m3 number for each and a scale for each row: its largest number is 448."""

    def stores(self, width: int, dtype: torch.dtype) -> tuple[tuple[int, torch.dtype], ...]:  # noqa: ARG002 - the same for all
        """Codes, which are moved about as bytes, and scales."""
        return (width, torch.int8), (1, SCALE)

    def quantise(self, rows: Tensor) -> tuple[Tensor, ...]:
        """Codes rounded to the nearest."""
        scale = _scale(rows, 448.0)
        return (rows / scale.float()).clamp_(-448, 448).to(torch.float8_e4m3fn).view(torch.int8), scale

    def numbers(self, parts: tuple[Tensor, ...], dtype: torch.dtype) -> Tensor:
        """By moving bits: e4m3 is float16 with a narrower exponent, so 256 times too small there, its subnormal numbers included.

        A processor converts one number at a time otherwise, 20 times as slowly.
        """
        wide = parts[0].to(torch.int16, memory_format=torch.contiguous_format)
        return wide.bitwise_left_shift_(7).bitwise_and_(-0x4001).view(torch.float16).to(dtype)

    def factor(self, parts: tuple[Tensor, ...]) -> Tensor | None:
        """The scales, with the 256."""
        return parts[1][..., 0] * 256


class Int4:
    """Half a byte for each number; a scale and an offset for each group along a row: code * scale + offset."""

    def stores(self, width: int, dtype: torch.dtype) -> tuple[tuple[int, torch.dtype], ...]:  # noqa: ARG002 - the same for all
        """Codes, the second half of a row in the upper four bits, and all scales before all offsets."""
        return (width // 2, torch.uint8), (2 * cache_groups(width), SCALE)

    def quantise(self, rows: Tensor) -> tuple[Tensor, ...]:
        """Codes rounded to the nearest; the least number of a group is 0 and the largest 15."""
        grouped = rows.float().unflatten(-1, (cache_groups(rows.shape[-1]), -1))
        offset = grouped.amin(-1, keepdim=True).to(SCALE)
        scale = ((grouped.amax(-1, keepdim=True) - offset.float()) / 15).clamp_min_(_LEAST).to(SCALE)
        codes = (grouped - offset.float()).div_(scale.float()).round_().clamp_(0, 15).to(torch.uint8).flatten(-2)
        first, second = codes.chunk(2, -1)
        return first | (second << 4), torch.cat((scale[..., 0], offset[..., 0]), -1)

    def numbers(self, parts: tuple[Tensor, ...], dtype: torch.dtype) -> Tensor:
        """Codes spread out, scaled and moved."""
        packed, both = parts
        half = packed.shape[-1]
        found = torch.empty((*packed.shape[:-1], 2 * half), dtype=dtype, device=packed.device)
        found[..., :half] = packed & 15
        found[..., half:] = packed >> 4
        scales, offsets = both.to(dtype)[..., None].chunk(2, -2)
        found.unflatten(-1, (scales.shape[-2], -1)).mul_(scales).add_(offsets)
        return found

    def factor(self, parts: tuple[Tensor, ...]) -> Tensor | None:  # noqa: ARG002 - none, whatever the parts
        """None."""
        return None


FORMATS: Final[dict[str, Format]] = {"native": Native(), "int8": Int8(), "fp8": Fp8(), "int4": Int4()}


def _scale(rows: Tensor, most: float) -> Tensor:
    return (rows.abs().amax(-1, keepdim=True).float() / most).clamp_min_(_LEAST).to(SCALE)
