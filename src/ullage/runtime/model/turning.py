"""Rotary positions applied: heads turned by the angles of their positions."""

import torch
from torch import Tensor

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
            return torch.addcmul(heads * self.cos, heads.roll(dim // 2, -1), self.sin)
        part = heads[..., :dim]
        return torch.cat((torch.addcmul(part * self.cos, part.roll(dim // 2, -1), self.sin), heads[..., dim:]), -1)

    def only(self, rows: slice) -> "Angles":
        """The angles of some rows."""
        part = object.__new__(Angles)
        part.cos, part.sin, part._dim = self.cos[rows], self.sin[rows], self._dim
        return part
