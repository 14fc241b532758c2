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
        turned = torch.outer(positions.to(torch.float64), frequencies)
        cos, sin = turned.cos() * rotary.magnitude, turned.sin() * rotary.magnitude
        self.cos = torch.cat((cos, cos), -1)[:, None].to(dtype)
        self.sin = torch.cat((-sin, sin), -1)[:, None].to(dtype)
        self._dim = rotary.dim

    def turn(self, heads: Tensor) -> Tensor:
        """(rows, heads, width), the first ``dim`` elements of each head turned, the others as they were."""
        dim = self._dim
        if heads.shape[-1] == dim:
            return (heads * self.cos).addcmul_(heads.roll(dim // 2, -1), self.sin)
        return self.turn_(heads.clone())

    def turn_(self, heads: Tensor) -> Tensor:
        """The same in place, a few rows at a time."""
        part = heads[..., : self._dim]
        for some, cos, sin in zip(part.split(ROWS), self.cos.split(ROWS), self.sin.split(ROWS), strict=True):
            swapped = some.roll(self._dim // 2, -1)
            some.mul_(cos).addcmul_(swapped, sin)
        return heads

    def only(self, rows: slice) -> "Angles":
        """The angles of some rows."""
        part = object.__new__(Angles)
        part.cos, part.sin, part._dim = self.cos[rows], self.sin[rows], self._dim
        return part
