"""Experts that a checkpoint stacks in one tensor, as gpt-oss's does, taken apart: one (out, in) matrix for each expert.

Stored as (experts, in, 2 * out) with gate and up in turns in plain numbers, or as (experts, 2 * out, groups, 16) bytes of two 4-bit floats
beside one exponent byte for each group of 32.
"""

import re
from collections.abc import Callable, Mapping

import torch

from ullage.catalog.tensor_formats import GGML_BY_NAME
from ullage.errors import MalformedFileError
from ullage.runtime.loading.stored import Assembled, Lying, Stored
from ullage.runtime.loading.views import Place

_STACKED = re.compile(r"(?P<at>.+\.experts)\.(?P<word>gate_up_proj|down_proj)(?P<part>_bias|_blocks|_scales|)")
_MXFP4 = GGML_BY_NAME["mxfp4"]
_BLOCK_DIMENSIONS = 4
Makers = Mapping[str, Callable[[], Stored]]


def experts_of(name: str, place: Place, places: Mapping[str, Place]) -> Makers | None:
    """What makes each expert's matrices and biases from a stacked tensor; None for a tensor that is none."""
    found = _STACKED.fullmatch(name)
    if found is None:
        return None
    at, part = found["at"], found["part"]
    if part == "_scales":
        return {}  # read with the blocks
    scales = places.get(name.removesuffix("_blocks") + "_scales") if part == "_blocks" else None
    _check(name, place, scales)
    halves = {"gate_proj": 0, "up_proj": 1} if found["word"] == "gate_up_proj" else {"down_proj": None}
    leaf = "bias" if part == "_bias" else "weight"
    return {
        f"{at}.{expert}.{word}.{leaf}": _maker(place, expert, half, scales, turned=leaf == "weight")
        for expert in range(place.shape[0])
        for word, half in halves.items()
    }


def _check(name: str, place: Place, scales: Place | None) -> None:
    if name.endswith("_blocks") and (
        scales is None
        or len(place.shape) != _BLOCK_DIMENSIONS
        or scales.shape != place.shape[:-1]
        or place.shape[-1] != _MXFP4.block_bytes - 1
    ):
        raise MalformedFileError(f"{name[:120]} of shape {list(place.shape)} has no scales of shape {list(place.shape[:-1])} beside it")


def _maker(place: Place, expert: int, half: int | None, scales: Place | None, *, turned: bool) -> Callable[[], Stored]:
    if scales is not None:
        return lambda: _from_blocks(place.part(expert), scales.part(expert), half)
    return lambda: _plain(place.part(expert), half, turned=turned)


def _plain(place: Place, half: int | None, *, turned: bool) -> Lying:
    values = place.values()
    if turned:
        values = values.t()
    if half is not None:
        values = values[half::2]
    return Lying(shape=tuple(values.shape), format=place.format, values=values, spans=(place.whole,))


def _from_blocks(blocks: Place, scales: Place, half: int | None) -> Assembled:
    """Blocks of ggml's layout: the exponent, then a byte for weights i and i + 16, where the checkpoint has 2i and 2i + 1 in one."""
    bytes_, exponents = blocks.values(), scales.values()
    if half is not None:
        bytes_, exponents = bytes_[half::2], exponents[half::2]
    count, groups = exponents.shape

    def rows(begin: int, end: int) -> torch.Tensor:
        packed = bytes_[begin:end]
        flat = torch.stack((packed & 15, packed >> 4), dim=-1).reshape(-1, groups, 2, 16)
        paired = flat[:, :, 0] | (flat[:, :, 1] << 4)
        return torch.cat((exponents[begin:end, :, None], paired), dim=-1).reshape(-1, groups * _MXFP4.block_bytes)

    shape = (count, groups * _MXFP4.block_elements)
    return Assembled(shape=shape, format=_MXFP4, spans=(blocks.whole, scales.whole), rows=rows)
