"""Blocks of 256 weights with scales of their own inside, as ggml lays them out: uint8 (blocks, bytes) to fp32 (blocks, 256)."""

import torch

from ullage.runtime.loading.blocks import NIBBLES_OF_IQ4, half, table

_SIZE = 256


def _spread(packed: torch.Tensor, run: int, shifts: tuple[int, ...], mask: int) -> torch.Tensor:
    """Fields of a byte: for each run of bytes, the fields at the first shift, then those at the next."""
    count = packed.shape[0]
    by = torch.tensor(shifts, dtype=torch.uint8).view(1, 1, -1, 1)
    return ((packed.reshape(count, -1, 1, run) >> by) & mask).reshape(count, -1)


def _scaled(scales: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Values times the scale of their part of the block."""
    count, parts = scales.shape
    return (scales.view(count, parts, 1) * values.reshape(count, parts, -1)).reshape(count, _SIZE)


def _scales_and_minimums(packed: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Eight 6-bit scales and eight minimums in 12 bytes; the upper two bits of the last four of each stand with the first four."""
    scale, minimum, mixed = packed[:, 0:4], packed[:, 4:8], packed[:, 8:12]
    scales = torch.cat((scale & 63, (mixed & 15) | ((scale >> 2) & 48)), dim=-1)
    minimums = torch.cat((minimum & 63, (mixed >> 4) | ((minimum >> 2) & 48)), dim=-1)
    return scales.float(), minimums.float()


def _affine(block: torch.Tensor, scales: torch.Tensor, minimums: torch.Tensor, values: torch.Tensor, at: int) -> torch.Tensor:
    """Scale times value minus minimum; both have an fp16 factor at byte ``at``."""
    count, parts = scales.shape
    scale = (half(block, at) * scales).view(count, parts, 1)
    minimum = (half(block, at + 2) * minimums).view(count, parts, 1)
    return (scale * values.float().reshape(count, parts, -1) - minimum).reshape(count, _SIZE)


def q2_k(block: torch.Tensor) -> torch.Tensor:
    """16 parts with 4-bit scale and minimum; 2 bits a weight."""
    scales = block[:, :16]
    return _affine(block, (scales & 15).float(), (scales >> 4).float(), _spread(block[:, 16:80], 32, (0, 2, 4, 6), 3), 80)


def q3_k(block: torch.Tensor) -> torch.Tensor:
    """16 parts with signed 6-bit scales; 2 bits a weight and a mask whose clear bits mean minus 4."""
    low = _spread(block[:, 96:104], 8, (0, 4), 15)
    high = _spread(block[:, 104:108], 4, (0, 2, 4, 6), 3)
    scales = half(block, 108) * ((low | (high << 4)).float() - 32)
    clear = _spread(block[:, :32], 32, tuple(range(8)), 1) ^ 1
    values = _spread(block[:, 32:96], 32, (0, 2, 4, 6), 3).float() - 4 * clear.float()
    return _scaled(scales, values)


def q4_k(block: torch.Tensor) -> torch.Tensor:
    """8 parts with 6-bit scale and minimum; 4 bits a weight."""
    return _affine(block, *_scales_and_minimums(block[:, 4:16]), q4_k_codes(block), 0)


def q4_k_codes(block: torch.Tensor) -> torch.Tensor:
    """The 4-bit codes by themselves."""
    return _spread(block[:, 16:], 32, (0, 4), 15)


def q4_k_steps(block: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Scale and minimum of each part: a value is scale times code minus minimum."""
    scales, minimums = _scales_and_minimums(block[:, 4:16])
    return half(block, 0) * scales, half(block, 2) * minimums


def q5_k(block: torch.Tensor) -> torch.Tensor:
    """As q4_k, with a fifth bit a weight."""
    fifth = _spread(block[:, 16:48], 32, tuple(range(8)), 1) << 4
    return _affine(block, *_scales_and_minimums(block[:, 4:16]), _spread(block[:, 48:], 32, (0, 4), 15) | fifth, 0)


def q6_k(block: torch.Tensor) -> torch.Tensor:
    """16 parts with signed 8-bit scales; 4 and 2 bits a weight, around 32."""
    low = _spread(block[:, :128], 64, (0, 4), 15)
    high = _spread(block[:, 128:192], 32, (0, 2, 4, 6), 3)
    scales = half(block, 208) * block[:, 192:208].contiguous().view(torch.int8).float()
    return _scaled(scales, (low | (high << 4)).float() - 32)


def iq4_xs(block: torch.Tensor) -> torch.Tensor:
    """8 parts with signed 6-bit scales; nibbles that name one of 16 unevenly spaced values."""
    high = (block[:, 2:4].contiguous().view(torch.int16).int() >> torch.arange(0, 16, 2, dtype=torch.int32)) & 3
    low = _spread(block[:, 4:8], 1, (0, 4), 15)
    scales = half(block, 0) * ((low.int() | (high << 4)).float() - 32)
    return _scaled(scales, table(NIBBLES_OF_IQ4, _spread(block[:, 8:], 16, (0, 4), 15)))


def tq2_0(block: torch.Tensor) -> torch.Tensor:
    """Ternary weights, 2 bits each."""
    return half(block, 64) * (_spread(block[:, :64], 32, (0, 2, 4, 6), 3).float() - 1)


def tq1_0(block: torch.Tensor) -> torch.Tensor:
    """Ternary weights, five to a byte as digits of a base-3 fraction."""
    parts = (_digits(block[:, :32], 32, 5), _digits(block[:, 32:48], 16, 5), _digits(block[:, 48:52], 4, 4))
    digits = (torch.cat(parts, dim=-1).int() * 3) >> 8
    return half(block, 52) * (digits.float() - 1)


def _digits(packed: torch.Tensor, run: int, count: int) -> torch.Tensor:
    powers = torch.tensor([3**power for power in range(count)], dtype=torch.uint8).view(1, 1, -1, 1)
    return (packed.reshape(packed.shape[0], -1, 1, run) * powers).reshape(packed.shape[0], -1)
