"""Which form a linear layer gets: the plan's rule, carried out."""

import torch
from torch import Tensor

from ullage.engines.runtime.residence import WeightForm, packs
from ullage.engines.runtime.weight_forms import NATIVE, runs
from ullage.runtime.linear.bytewise import Fp8, Int8
from ullage.runtime.linear.form import Linear
from ullage.runtime.linear.int4 import Int4
from ullage.runtime.linear.plain import Packed, Plain
from ullage.runtime.linear.scratch import Scratch
from ullage.runtime.linear.weights import Weights, weights_of


class Beside(Linear):
    """Several layers that read the same rows, their results beside one another."""

    def __init__(self, parts: tuple[Linear, ...], bias: Tensor | None) -> None:
        self._parts, self._bias = parts, bias
        self.nbytes = sum(part.nbytes for part in parts) + (0 if bias is None else bias.nbytes)
        self.out_features = sum(part.out_features for part in parts)

    def __call__(self, x: Tensor) -> Tensor:
        """(rows, in) to (rows, out)."""
        found = torch.cat([part(x) for part in self._parts], dim=-1)
        return found if self._bias is None else found.add_(self._bias)

    def copied(self, device: torch.device) -> "Beside":
        """The parts are copied too."""
        bias = None if self._bias is None else self._bias.to(device, copy=True)
        return Beside(tuple(part.copied(device) for part in self._parts), bias)


class Forms:
    """Makes linear layers in the form that was ``asked`` for (a word of the setting ``weights``); all share one scratch."""

    def __init__(self, asked: str = NATIVE, scratch: Scratch | None = None) -> None:
        self._asked, self._scratch = asked, scratch

    def __call__(self, weights: Weights | Tensor, bias: Tensor | None = None) -> Linear:
        """A layer of weights still in their files, whose pages are given back, or of a tensor in memory."""
        if isinstance(weights, Tensor):
            weights = weights_of(weights)
        if self._scratch is None:
            self._scratch = Scratch(weights.device)
        dtype = str(weights.dtype).removeprefix("torch.")
        kept = runs(self._asked, weights.stored, weights.shape[1], dtype=dtype, device=weights.device.type)
        if len(kept) == 1:
            return self._made(kept[0].form, weights, bias)
        parts = weights.cut(*(run.out_features for run in kept))
        return Beside(tuple(self._made(run.form, part, None) for run, part in zip(kept, parts, strict=True)), bias)

    @property
    def scratch_bytes(self) -> int:
        """What the layers made so far take beside their weights, once, when many rows are multiplied."""
        return 0 if self._scratch is None else self._scratch.nbytes

    def _made(self, form: WeightForm, weights: Weights, bias: Tensor | None) -> Linear:
        scratch = self._scratch or Scratch(weights.device)
        made: Linear
        match form:
            case WeightForm.DENSE:
                dense = weights.dense()
                packed = dense.device.type == "cpu" and dense.dtype is torch.bfloat16 and packs(*dense.shape)
                made = (Packed if packed else Plain)(dense, bias)
            case WeightForm.INT8:
                made = Int8(weights, bias, scratch)
            case WeightForm.FP8:
                made = Fp8(weights, bias, scratch)
            case WeightForm.INT4:
                made = Int4(weights, bias, scratch)
        weights.release()
        return made
