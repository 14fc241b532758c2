"""Bytes of what stays in memory, form by form: matrices and rows of the cache. The runtime sizes itself by the same functions."""

from enum import StrEnum
from typing import Final

from ullage.errors import UnsupportedModelError
from ullage.formulas.sharding import ceil_div

PACKED_OUT, PACKED_IN = 64, 32  # whole blocks of oneDNN's weights on every processor with bfloat16, so that nothing is padded


class WeightForm(StrEnum):
    """What a matrix is kept in."""

    DENSE = "dense"  # the dtype that is computed in, as it is or in oneDNN's order: as many bytes either way
    INT8 = "int8"  # a byte for each weight, a scale for each row in the dtype
    FP8 = "fp8"  # e4m3, a scale for each row in the dtype
    INT4 = "int4"  # half a byte for each weight, a scale and an offset in bfloat16 for each group along a row


GROUP = 32  # weights that share a scale in int4, as in ggml's blocks
INT4_ROWS = 64  # rows that the int4 kernel reads together; a last part of a block is filled up with zeros
ELEMENT_BYTES: Final = {"float32": 4, "bfloat16": 2, "float16": 2}


def packs(out_features: int, in_features: int) -> bool:
    """Whether oneDNN's order of a bfloat16 matrix takes not a byte more than the matrix; others stay as they are."""
    return out_features % PACKED_OUT == 0 and in_features % PACKED_IN == 0


def matrix_bytes(form: WeightForm, out_features: int, in_features: int, element: int) -> int:
    """A matrix without its bias."""
    match form:
        case WeightForm.DENSE:
            return out_features * in_features * element
        case WeightForm.INT8 | WeightForm.FP8:
            return out_features * (in_features + element)
        case WeightForm.INT4:
            rows = ceil_div(out_features, INT4_ROWS) * INT4_ROWS
            return rows * (in_features // 2 + in_features // GROUP * 4)


def cache_groups(width: int) -> int:
    """Groups along a row of the cache in int4: of ``GROUP`` numbers where that divides it, else one."""
    return width // GROUP if width % GROUP == 0 else 1


def cache_row_bytes(form: str, width: int, element: int) -> int:
    """One head's key or value of one token; ``form`` is one of the settings' words. Scales are bfloat16."""
    match form:
        case "native":
            return width * element
        case "int8" | "fp8":
            return width + 2
        case "int4" if width % 2 == 0:
            return width // 2 + cache_groups(width) * 4
        case _:
            raise UnsupportedModelError(f"a cache of {form} has no rows of {width} numbers")
