"""Bytes of what stays in memory, form by form: matrices and rows of the cache. The runtime sizes itself by the same functions."""

from enum import StrEnum
from typing import Final

PACKED_OUT, PACKED_IN = 64, 32  # whole blocks of oneDNN's weights on every processor with bfloat16, so that nothing is padded


class WeightForm(StrEnum):
    """What a matrix is kept in."""

    DENSE = "dense"  # the dtype that is computed in, as it is or in oneDNN's order: as many bytes either way


ELEMENT_BYTES: Final = {"float32": 4, "bfloat16": 2, "float16": 2}


def packs(out_features: int, in_features: int) -> bool:
    """Whether oneDNN's order of a bfloat16 matrix takes not a byte more than the matrix; others stay as they are."""
    return out_features % PACKED_OUT == 0 and in_features % PACKED_IN == 0


def matrix_bytes(form: WeightForm, out_features: int, in_features: int, element: int) -> int:
    """A matrix without its bias."""
    match form:
        case WeightForm.DENSE:
            return out_features * in_features * element


def cache_row_bytes(form: str, width: int, element: int) -> int:
    """One head's key or value of one token; ``form`` is one of the settings' words."""
    if form != "native":
        raise NotImplementedError(f"a cache of {form}")
    return width * element
