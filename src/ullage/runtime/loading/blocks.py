"""Blocks of 32 weights, as ggml lays them out: uint8 of shape (blocks, bytes) to fp32 of shape (blocks, 32).

Each function does the multiplications in the order of the format's definition, so that results agree to the last bit.
"""

from typing import Final

import torch

NIBBLES_OF_IQ4: Final = (-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113)
_E2M1: Final = (0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12)  # the values of a 4-bit float, doubled


def half(block: torch.Tensor, at: int) -> torch.Tensor:
    """The fp16 number at a byte of every block, in fp32, shape (blocks, 1)."""
    return block[:, at : at + 2].contiguous().view(torch.float16).float()


def nibbles(packed: torch.Tensor) -> torch.Tensor:
    """The low halves of all bytes, then the high ones."""
    return torch.cat((packed & 15, packed >> 4), dim=-1)


def table(values: tuple[int, ...], indices: torch.Tensor) -> torch.Tensor:
    """The table's value for each index, in fp32."""
    return torch.tensor(values, dtype=torch.float32)[indices.int()]


def _fifth_bits(packed: torch.Tensor) -> torch.Tensor:
    """32 bits in four bytes, as 0 or 16."""
    shifts = torch.arange(8, dtype=torch.uint8)
    return (((packed[:, :, None] >> shifts) & 1) << 4).reshape(packed.shape[0], -1)


def q4_0(block: torch.Tensor) -> torch.Tensor:
    """A scale; 16 bytes of nibbles around 8."""
    return half(block, 0) * (nibbles(block[:, 2:]).float() - 8)


def q4_1(block: torch.Tensor) -> torch.Tensor:
    """A scale and a minimum; 16 bytes of nibbles."""
    return half(block, 0) * nibbles(block[:, 4:]).float() + half(block, 2)


def q5_0(block: torch.Tensor) -> torch.Tensor:
    """A scale; the fifth bits of all weights; nibbles; around 16."""
    return half(block, 0) * ((nibbles(block[:, 6:]) | _fifth_bits(block[:, 2:6])).float() - 16)


def q5_1(block: torch.Tensor) -> torch.Tensor:
    """A scale and a minimum; the fifth bits; nibbles."""
    return half(block, 0) * (nibbles(block[:, 8:]) | _fifth_bits(block[:, 4:8])).float() + half(block, 2)


def q8_0(block: torch.Tensor) -> torch.Tensor:
    """A scale; 32 signed bytes."""
    return block[:, 2:].contiguous().view(torch.int8).float() * half(block, 0)


def iq4_nl(block: torch.Tensor) -> torch.Tensor:
    """A scale; nibbles that name one of 16 unevenly spaced values."""
    return half(block, 0) * table(NIBBLES_OF_IQ4, nibbles(block[:, 2:]))


def mxfp4(block: torch.Tensor) -> torch.Tensor:
    """An exponent byte; nibbles that are 4-bit floats (OCP Microscaling 1.0). The table is doubled, so the scale is halved."""
    exponent = block[:, :1].int()
    normal = (exponent - 1).clamp(min=0) << 23
    tiny = torch.full_like(exponent, 0x00200000) << exponent.clamp(max=1)
    scale = torch.where(exponent < 2, tiny, normal).view(torch.float32)  # noqa: PLR2004 - below, the halved scale is a subnormal
    return scale * table(_E2M1, nibbles(block[:, 1:]))
