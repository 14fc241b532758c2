"""Linear layers of four bits a weight: few rows by ATen's kernel on the codes, many by unpacking a tile of rows and the dtype's product."""

import torch
from torch import Tensor

from ullage.engines.runtime.residence import GROUP, INT4_ROWS, WeightForm
from ullage.engines.runtime.weight_forms import scratch_bytes, tile_rows
from ullage.formulas.sharding import ceil_div
from ullage.runtime.linear.form import Linear
from ullage.runtime.linear.nibbles import CENTRE, Order, order_of_kernel, pack, product, unpack_codes
from ullage.runtime.linear.scratch import Scratch
from ullage.runtime.linear.steps import Groups, Reader
from ullage.runtime.linear.weights import Weights

FEW_ROWS = 64  # up to here the kernel, whose time grows with the rows, beats unpacking: tools/bench/linears.py --crossover


class Int4(Linear):
    """Codes, scales and offsets; rows are filled up to whole blocks of 64 with zeros. There is no second copy of the weights."""

    def __init__(self, weights: Weights, bias: Tensor | None, scratch: Scratch) -> None:
        out, self._in = weights.shape
        self._order, self._scratch, self._bias = order_of_kernel(), scratch, bias
        self._packed, self._steps = _quantised(weights, self._order)
        self._few = FEW_ROWS if self._order.kernel and weights.device.type == "cpu" and weights.dtype is torch.bfloat16 else 0
        self._tile = tile_rows(out, self._in)
        self.nbytes = self._packed.nbytes + self._steps.nbytes + (0 if bias is None else bias.nbytes)
        self.out_features = out
        scratch.reserve(scratch_bytes(WeightForm.INT4, out, self._in, str(weights.dtype).removeprefix("torch.")))

    def __call__(self, x: Tensor) -> Tensor:
        """(rows, in) to (rows, out)."""
        few = 0 < x.shape[0] <= self._few
        found = (product(x.contiguous(), self._packed, self._steps) if few else self._by_tiles(x))[:, : self.out_features]
        return found if self._bias is None else found.add_(self._bias)

    def _by_tiles(self, x: Tensor) -> Tensor:
        rows = self._steps.shape[1]
        found = x.new_empty(x.shape[0], rows)
        for begin in range(0, rows, self._tile):
            end = min(begin + self._tile, rows)
            torch.mm(x, self._unpacked(begin, end, x.dtype), out=found[:, begin:end])
        return found

    def _unpacked(self, begin: int, end: int, dtype: torch.dtype) -> Tensor:
        """Rows ``begin`` to ``end``, turned: (in, rows)."""
        order, rows, groups = self._order, end - begin, self._in // GROUP
        values, scale, offset, codes = self._scratch.views(
            (dtype, (self._in, rows)),
            (dtype, (groups, 1, rows)),
            (dtype, (groups, 1, rows)),
            (torch.uint8, (rows // order.block, self._in, order.block)),
        )
        unpack_codes(self._packed[begin // order.block : end // order.block], order, codes)
        values.view(self._in, -1, order.block).copy_(codes.transpose(0, 1))
        scale.copy_(self._steps[:, None, begin:end, 0])
        offset.copy_(self._steps[:, None, begin:end, 1])
        grouped = values.sub_(CENTRE).view(groups, GROUP, rows)
        torch.addcmul(offset, grouped, scale, out=grouped)
        return values


def _quantised(weights: Weights, order: Order) -> tuple[Tensor, Tensor]:
    """Packed codes (blocks, in, bytes), and scales with offsets (in / 32, out, 2): made tile by tile."""
    out, columns = weights.shape
    rows = ceil_div(out, INT4_ROWS) * INT4_ROWS
    packed = torch.empty((rows // order.block, columns, order.block // 2), dtype=torch.uint8)
    steps = torch.zeros((columns // GROUP, rows, 2), dtype=torch.bfloat16)
    readers = [(piece.shape[0], Reader(piece)) for piece in weights.pieces]
    step = tile_rows(out, columns)
    for begin in range(0, rows, step):
        end = min(begin + step, rows)
        found = _rows(readers, begin, min(end, out))
        codes = torch.zeros(end - begin, columns, dtype=torch.uint8)
        codes[: found.codes.shape[0]] = found.codes
        packed[begin // order.block : end // order.block] = pack(codes, order)
        steps[:, begin : begin + found.scale.shape[0], 0] = found.scale.t()
        steps[:, begin : begin + found.scale.shape[0], 1] = found.offset.t()
    return packed.to(weights.device), steps.to(weights.device)


def _rows(readers: list[tuple[int, Reader]], begin: int, end: int) -> Groups:
    """Rows of all pieces, which lie above one another."""
    parts, first = [], 0
    for rows, reader in readers:
        if begin < first + rows and first < end:
            parts.append(reader.rows(max(begin - first, 0), min(end - first, rows)))
        first += rows
    return Groups(*(torch.cat(kind) for kind in zip(*parts, strict=True)))
