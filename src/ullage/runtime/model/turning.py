"""Rotary positions applied: heads turned by the angles of their positions."""

import torch
from torch import Tensor

from ullage.engines.runtime.transient import ROWS
from ullage.runtime.model.traits import Rotary


class Angles:
    """Cosines and signed sines of some positions, (rows, 1, dim) in the dtype that is turned."""

    def __init__(self, rotary: Rotary, positions: Tensor, dtype: torch.dtype) -> None:
        # float64, because float32 angles are off by 0.03 rad at a million tokens
        frequencies = torch.tensor(rotary.frequencies, dtype=torch.float64, device=positions.device)
        self._dim, half = rotary.dim, rotary.dim // 2
        self.cos = torch.empty(len(positions), 1, rotary.dim, dtype=dtype, device=positions.device)
        self.sin = torch.empty_like(self.cos)
        for some, cosines, sines in zip(positions.split(ROWS), self.cos.split(ROWS), self.sin.split(ROWS), strict=True):
            turned = torch.outer(some.to(torch.float64), frequencies)[:, None]
            cosine, sine = turned.cos().mul_(rotary.magnitude), turned.sin_().mul_(rotary.magnitude)
            cosines[..., :half], cosines[..., half:] = cosine, cosine
            sines[..., half:] = sine
            sines[..., :half] = sine.neg_()

    def turn(self, heads: Tensor) -> Tensor:
        """(rows, heads, width), the first ``dim`` elements of each head turned, the others as they were."""
        return self.turn_(heads.clone())

    def turn_(self, heads: Tensor) -> Tensor:
        """The same in place, a few rows at a time."""
        part = heads[..., : self._dim]
        for some, cos, sin in zip(part.split(ROWS), self.cos.split(ROWS), self.sin.split(ROWS), strict=True):
            self._turn_rows(some, cos, sin)
        return heads

    def _turn_rows(self, some: Tensor, cos: Tensor, sin: Tensor) -> None:
        """A function of its own, so that what is swapped is gone before the next rows."""
        swapped = some.roll(self._dim // 2, -1)
        some.mul_(cos).addcmul_(swapped, sin)

    def only(self, rows: slice) -> "Angles":
        """The angles of some rows."""
        part = object.__new__(Angles)
        part.cos, part.sin, part._dim = self.cos[rows], self.sin[rows], self._dim
        return part
