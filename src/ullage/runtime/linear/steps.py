"""Codes, scales and offsets of groups of 32 weights: taken from blocks that have them, or searched for.

A weight is scale * (code - 8) + offset; scales and offsets are kept in bfloat16, and codes of searched groups are rounded to what is kept.
"""

from collections.abc import Callable
from typing import Final, NamedTuple

import torch
from torch import Tensor

from ullage.engines.runtime.residence import GROUP
from ullage.runtime.linear.nibbles import CENTRE
from ullage.runtime.loading.blocks import half, nibbles
from ullage.runtime.loading.stored import Stored
from ullage.runtime.loading.superblocks import q4_k_codes, q4_k_steps

_TOP = 15
_SPANS: Final = (1.0, 0.9, 0.8)  # parts of a group's range that codes cover before scale and offset are fitted
_FITS: Final = 2


class Groups(NamedTuple):
    """``codes`` (rows, in) of uint8, ``scale`` and ``offset`` (rows, in / 32) in bfloat16."""

    codes: Tensor
    scale: Tensor
    offset: Tensor


def _q4_0(block: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    scale = half(block, 0)
    return nibbles(block[:, 2:]), scale, -CENTRE * scale


def _q4_1(block: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return nibbles(block[:, 4:]), half(block, 0), half(block, 2)


def _q4_k(block: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    scale, minimum = q4_k_steps(block)
    return q4_k_codes(block), scale, -minimum


_BLOCKS: Final[dict[str, Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]]] = {"q4_0": _q4_0, "q4_1": _q4_1, "q4_k": _q4_k}


class Reader:
    """The groups of one stored matrix, some rows at a time."""

    def __init__(self, stored: Stored) -> None:
        self._stored = stored
        self._taken = _BLOCKS.get(stored.format.name)
        self._raw = stored.raw() if self._taken is not None else None

    def rows(self, begin: int, end: int) -> Groups:
        """Rows ``begin`` to ``end``."""
        if self._taken is None or self._raw is None:
            return searched(self._stored.dense(torch.float32, slice(begin, end)))
        codes, scale, minimum = self._taken(self._raw[begin:end].reshape(-1, self._stored.format.block_bytes))
        rows = end - begin
        kept = scale.view(rows, -1).bfloat16()  # in fp32 the value of code 8, where the offset stands, is that of the block
        return Groups(codes.view(rows, -1), kept, (minimum.view(rows, -1) + CENTRE * scale.view(rows, -1)).bfloat16())


def searched(values: Tensor) -> Groups:
    """Groups for (rows, in) of fp32 with the least squared error among several ranges, each fitted by least squares."""
    groups = values.view(values.shape[0], -1, GROUP)
    low, high = groups.aminmax(dim=-1, keepdim=True)
    tries = [_fitted(groups, (high - low) * (span / _TOP), low + (high - low) * ((1 - span) / 2)) for span in _SPANS]
    scale, low, error = tries[0]
    for other in tries[1:]:
        better = other[2] < error
        scale, low, error = (torch.where(better, new, old) for new, old in zip(other, (scale, low, error), strict=True))
    kept = scale.bfloat16()
    offset = (low + CENTRE * scale).bfloat16()
    codes = (groups - offset).div_(_divisor(kept.float())).round_().add_(CENTRE).clamp_(0, _TOP)
    return Groups(codes.to(torch.uint8).view(values.shape), kept.squeeze(-1), offset.squeeze(-1))


def _fitted(groups: Tensor, scale: Tensor, low: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Scale and minimum that fit the codes they lead to, and the squared error that is left."""
    total = groups.sum(dim=-1, keepdim=True)
    for _ in range(_FITS):
        codes = (groups - low).div_(_divisor(scale)).round_().clamp_(0, _TOP)
        first, second = codes.sum(dim=-1, keepdim=True), codes.square().sum(dim=-1, keepdim=True)
        mixed = (codes * groups).sum(dim=-1, keepdim=True)
        spread = GROUP * second - first.square()
        scale = torch.where(spread > 0, (GROUP * mixed - first * total) / spread.clamp(min=1), scale)
        low = (total - scale * first) / GROUP
    return scale, low, (groups - low).sub_(codes.mul_(scale)).square_().sum(dim=-1, keepdim=True)


def _divisor(scale: Tensor) -> Tensor:
    return torch.where(scale == 0, 1.0, scale)
