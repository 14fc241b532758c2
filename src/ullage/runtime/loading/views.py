"""Views of a file's bytes as tensors: whole ones, and one expert's part of a stacked one."""

from math import prod

import torch

from ullage.catalog.tensor_formats import stored_format
from ullage.domain.checkpoint import TensorFormat
from ullage.domain.weight_format import StoredTensor
from ullage.errors import UnsupportedModelError
from ullage.frozen import dataclass
from ullage.runtime.loading.mapped import WeightMap
from ullage.runtime.loading.stored import Lying, Span
from ullage.runtime.loading.unpack import check_unpackable

_DTYPES = {
    "float64": torch.float64,
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "float8_e4m3fn": torch.float8_e4m3fn,
    "float8_e5m2": torch.float8_e5m2,
    "int64": torch.int64,
    "int32": torch.int32,
    "int16": torch.int16,
    "int8": torch.int8,
    "uint8": torch.uint8,
    "bool": torch.bool,
}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Place:
    """A tensor of a file's header, and the byte at which it begins."""

    file: WeightMap
    tensor: StoredTensor
    begin: int

    @property
    def shape(self) -> tuple[int, ...]:
        """As the header has it."""
        return self.tensor.shape

    @property
    def format(self) -> TensorFormat:
        """Raises UnsupportedModelError for a format whose values cannot be computed here."""
        fmt = stored_format(self.tensor.dtype)
        check_unpackable(fmt, self.tensor.name)
        if fmt.block_elements == 1 and fmt.name not in _DTYPES:
            raise UnsupportedModelError(f"the tensor {self.tensor.name[:120]} is stored as {fmt.name}, which is not computed with here")
        return fmt

    @property
    def whole(self) -> Span:
        """All its bytes."""
        return Span(file=self.file, begin=self.begin, end=self.begin + self.tensor.nbytes)

    def part(self, index: int) -> "Place":
        """The ``index``-th along the first dimension, as a tensor of its own."""
        shape, nbytes = self.shape[1:], self.tensor.nbytes // self.shape[0]
        tensor = StoredTensor(name=f"{self.tensor.name}[{index}]", dtype=self.tensor.dtype, shape=shape, nbytes=nbytes)
        return Place(file=self.file, tensor=tensor, begin=self.begin + index * nbytes)

    def values(self) -> torch.Tensor:
        """A view of the map: typed elements in their shape, or (rows, bytes) of blocks.

        Elements that lie at no multiple of their size, which only a careless writer leaves, are copied: kernels ask for aligned ones.
        """
        fmt, span = self.format, self.whole
        data = self.file.data[span.begin : span.end]
        if fmt.block_elements > 1:
            if len(self.shape) < 2:  # noqa: PLR2004 - a vector
                raise UnsupportedModelError(
                    f"the tensor {self.tensor.name[:120]} is a vector stored as {fmt.name}; only matrices are read packed"
                )
            return data.view(prod(self.shape[:-1]), -1)
        if span.begin % fmt.block_bytes:
            data = data.clone()
        return data.view(_DTYPES[fmt.name]).view(self.shape)


def lying(place: Place, *, order: torch.Tensor | None = None, shift: float = 0.0, shape: tuple[int, ...] | None = None) -> Lying:
    """The tensor at a place; ``shape`` where ours has the same elements in another one."""
    values = place.values()
    if shape is not None and place.format.block_elements == 1:
        values = values.view(shape)
    return Lying(shape=shape or place.shape, format=place.format, values=values, spans=(place.whole,), order=order, shift=shift)
