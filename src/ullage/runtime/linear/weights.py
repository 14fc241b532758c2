"""What a linear layer is made from: stored tensors above one another, read a few rows at a time."""

from collections.abc import Iterator

import torch
from torch import Tensor

from ullage.catalog.tensor_formats import stored_format
from ullage.domain.checkpoint import TensorFormat
from ullage.frozen import dataclass
from ullage.runtime.loading.release import release
from ullage.runtime.loading.stored import Span, Stored


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Given:
    """A tensor in memory where a stored one is asked for."""

    values: Tensor
    is_view: bool = True
    spans: tuple[Span, ...] = ()

    @property
    def shape(self) -> tuple[int, ...]:
        """As PyTorch has it."""
        return tuple(self.values.shape)

    @property
    def format(self) -> TensorFormat:
        """That of its dtype."""
        return stored_format(str(self.values.dtype).removeprefix("torch."))

    @property
    def nbytes(self) -> int:
        """What it takes."""
        return int(self.values.nbytes)

    def raw(self) -> Tensor:
        """Itself."""
        return self.values

    def dense(self, dtype: torch.dtype, rows: slice | None = None) -> Tensor:
        """Some rows, as a copy."""
        return self.values[rows or slice(None)].to(dtype, copy=True)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Weights:
    """An (out, in) matrix that is computed with in ``dtype`` on ``device``; ``pieces`` are its rows from the first on."""

    pieces: tuple[Stored, ...]
    dtype: torch.dtype
    device: torch.device

    @property
    def shape(self) -> tuple[int, int]:
        """(out, in)."""
        return sum(piece.shape[0] for piece in self.pieces), self.pieces[0].shape[1]

    @property
    def stored(self) -> tuple[tuple[str, int], ...]:
        """The format and the rows of each piece."""
        return tuple((piece.format.name, piece.shape[0]) for piece in self.pieces)

    def dense(self) -> Tensor:
        """All of it in the dtype, as a new tensor."""
        if len(self.pieces) == 1:
            return self.pieces[0].dense(self.dtype).to(self.device)
        whole = torch.empty(self.shape, dtype=self.dtype)
        for begin, piece in self._placed():
            whole[begin : begin + piece.shape[0]] = piece.dense(self.dtype)
        return whole.to(self.device)

    def rows(self, begin: int, end: int) -> Tensor:
        """Some rows in fp32."""
        parts = [
            piece.dense(torch.float32, slice(max(begin - first, 0), min(end - first, piece.shape[0])))
            for first, piece in self._placed()
            if begin < first + piece.shape[0] and first < end
        ]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def cut(self, *rows: int) -> "tuple[Weights, ...]":
        """Whole pieces taken together so that each part has so many rows."""
        left, found = list(self.pieces), []
        for count in rows:
            taken: list[Stored] = []
            while sum(piece.shape[0] for piece in taken) < count:
                taken.append(left.pop(0))
            found.append(Weights(pieces=tuple(taken), dtype=self.dtype, device=self.device))
        return tuple(found)

    def release(self) -> None:
        """Give back the file's pages that were read."""
        for piece in self.pieces:
            release(piece)

    def _placed(self) -> Iterator[tuple[int, Stored]]:
        begin = 0
        for piece in self.pieces:
            yield begin, piece
            begin += piece.shape[0]


def weights_of(values: Tensor) -> Weights:
    """A tensor in memory, to be computed with where and as it is."""
    return Weights(pieces=(Given(values=values),), dtype=values.dtype, device=values.device)
