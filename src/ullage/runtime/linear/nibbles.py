"""Codes of four bits in the order that ATen's int4 kernel reads, which differs by instruction set and is read off the packer."""

from functools import cache
from typing import Final

import torch
from torch import Tensor

from ullage.engines.runtime.residence import GROUP, INT4_ROWS
from ullage.frozen import dataclass

# Operators of PyTorch that have no public name; every call of them stands in this file.
_PACK: Final = getattr(torch.ops.aten, "_convert_weight_to_int4pack_for_cpu", None)
_PRODUCT: Final = getattr(torch.ops.aten, "_weight_int4pack_mm_for_cpu", None)
CENTRE = 8  # the kernel's values are scale * (code - 8) + offset
_PROBE_COLUMNS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """``block`` rows lie together, column after column; of each column's bytes ``low`` and ``high`` say whose codes the halves are."""

    block: int
    low: slice
    high: slice
    kernel: bool  # whether the kernel reads it


_OWN: Final = Order(block=INT4_ROWS, low=slice(0, 32), high=slice(32, 64), kernel=False)


def pack(codes: Tensor, order: Order) -> Tensor:
    """(rows, columns) of codes below 16 as (blocks, columns, bytes); rows are whole blocks."""
    turned = codes.view(-1, order.block, codes.shape[1]).transpose(1, 2).contiguous()
    return turned[..., order.low] | (turned[..., order.high] << 4)


def unpack_codes(packed: Tensor, order: Order, out: Tensor) -> Tensor:
    """The codes of (blocks, columns, bytes) into ``out``, (blocks, columns, rows of a block)."""
    torch.bitwise_and(packed, 15, out=out[..., order.low])
    torch.bitwise_right_shift(packed, 4, out=out[..., order.high])
    return out


def product(x: Tensor, packed: Tensor, steps: Tensor) -> Tensor:
    """(rows, in) times the packed matrix, by the kernel; ``steps`` is (in / group, out, 2): scales and offsets."""
    out = steps.shape[1]
    found: Tensor = _PRODUCT(x, packed.view(out, -1), GROUP, steps)  # type: ignore[misc]
    return found


@cache
def order_of_kernel() -> Order:
    """The packer's order on this processor; one of our own where it has none that is understood, or there is no kernel.

    Every place of a small matrix gets a number; packed digit by digit, each half byte then tells whose code it holds.
    """
    if _PACK is None or _PRODUCT is None:
        return _OWN
    numbers = torch.arange(INT4_ROWS * _PROBE_COLUMNS, dtype=torch.int32).view(INT4_ROWS, _PROBE_COLUMNS)
    told = torch.zeros(INT4_ROWS * _PROBE_COLUMNS // 2, 2, dtype=torch.int32)
    for shift in (0, 4, 8):
        digits = _PACK((numbers >> shift) & 15, 1).view(-1).int()
        told |= torch.stack((digits & 15, digits >> 4), dim=-1) << shift
    for block in (INT4_ROWS, INT4_ROWS // 2, INT4_ROWS // 4):
        order = _read_off(told.view(-1, _PROBE_COLUMNS, block // 2, 2), block)
        if order is not None and _is_true(order):
            return order
    return _OWN


def _read_off(told: Tensor, block: int) -> Order | None:
    rows, columns = told // _PROBE_COLUMNS, told % _PROBE_COLUMNS
    first = rows[0, 0]
    firsts = torch.arange(told.shape[0], dtype=torch.int32).view(-1, 1, 1, 1) * block
    if not (columns == torch.arange(_PROBE_COLUMNS).view(1, -1, 1, 1)).all() or not (rows == first + firsts).all():
        return None
    low, high = _even(first[:, 0].tolist()), _even(first[:, 1].tolist())
    return Order(block=block, low=low, high=high, kernel=True) if low is not None and high is not None else None


def _even(rows: list[int]) -> slice | None:
    step = rows[1] - rows[0]
    evenly = step > 0 and rows == list(range(rows[0], rows[0] + step * len(rows), step))
    return slice(rows[0], rows[-1] + 1, step) if evenly else None


def _is_true(order: Order) -> bool:
    """Whether what we pack is what the packer packs, and the kernel multiplies by it."""
    draw = torch.Generator().manual_seed(0)
    codes = torch.randint(0, 16, (2 * INT4_ROWS, _PROBE_COLUMNS), generator=draw, dtype=torch.uint8)
    packed = pack(codes, order)
    if not torch.equal(packed.view(-1), _PACK(codes.int(), 1).view(-1)):  # type: ignore[misc]
        return False
    steps = torch.stack((torch.ones(_PROBE_COLUMNS // GROUP, codes.shape[0]), torch.zeros(_PROBE_COLUMNS // GROUP, codes.shape[0])), -1)
    one = torch.zeros(1, _PROBE_COLUMNS).index_fill_(1, torch.tensor(5), 1.0)
    return bool(torch.equal(product(one.bfloat16(), packed, steps.bfloat16())[0].float(), codes[:, 5].float() - CENTRE))
