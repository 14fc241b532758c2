"""FP8 weights with their scales: values are codes times the scale of their block, their row or the whole tensor."""

from collections.abc import Callable, Mapping

import torch

from ullage.catalog.tensor_formats import F32
from ullage.domain.hyperparameters import Hyperparameters
from ullage.errors import MalformedFileError
from ullage.formulas.sharding import ceil_div
from ullage.runtime.loading.stored import Assembled, Stored
from ullage.runtime.loading.views import Place

SCALES = ("weight_scale_inv", "weight_scale")  # both multiply, whatever the first one's name says


def scale_of(name: str, places: Mapping[str, Place]) -> Place | None:
    """The scale beside a weight, or None."""
    if not name.endswith(".weight"):
        return None
    found = (places.get(f"{name.removesuffix('weight')}{word}") for word in SCALES)
    return next((place for place in found if place is not None), None)


def scaled(weight: Place, scale: Place, scheme: Hyperparameters) -> Callable[[], Stored]:
    """What makes the weight. Raises MalformedFileError where the scale fits neither blocks, rows nor the whole."""
    if len(weight.shape) != 2:  # noqa: PLR2004 - a matrix
        raise MalformedFileError(f"{weight.tensor.name[:120]} of shape {list(weight.shape)} has a scale, but is no matrix")
    count, columns = weight.shape
    block = _block(weight, scale, scheme)
    factors = (ceil_div(count, block[0]), ceil_div(columns, block[1]))

    def rows(begin: int, end: int) -> torch.Tensor:
        values = scale.values().float().reshape(factors)
        own = values[torch.arange(begin, end) // block[0]]
        return weight.values()[begin:end].float() * own.repeat_interleave(block[1], dim=1)[:, :columns]

    spans = (weight.whole, scale.whole)
    return lambda: Assembled(shape=weight.shape, format=F32, spans=spans, rows=rows)


def _block(weight: Place, scale: Place, scheme: Hyperparameters) -> tuple[int, int]:
    """Rows and columns that one factor is for."""
    count, columns = weight.shape
    if scheme.has("weight_block_size"):
        high, wide = scheme.integers("weight_block_size", length=2, low=1)
        if scale.shape == (ceil_div(count, high), ceil_div(columns, wide)):
            return high, wide
    elif scale.shape in ((count,), (count, 1)):
        return 1, columns
    elif scale.shape in ((), (1,), (1, 1)):
        return count, columns
    raise MalformedFileError(f"the scale {scale.tensor.name[:120]} of shape {list(scale.shape)} fits no weight of shape {[count, columns]}")
