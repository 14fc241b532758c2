"""What each matrix is kept in, and the scratch that unpacking it takes: decided here for the plan and for the runtime alike."""

from collections.abc import Iterable
from itertools import groupby
from typing import Final, NamedTuple

from ullage.engines.runtime.residence import ELEMENT_BYTES, GROUP, INT4_ROWS, WeightForm, matrix_bytes
from ullage.formulas.sharding import ceil_div

NATIVE: Final = "native"
# Four-bit blocks of ggml whose values are scale times code plus minimum, 32 to a scale: the int4 kernel reads those codes as they are.
FOUR_BIT_BLOCKS: Final = frozenset({"q4_0", "q4_1", "q4_k"})
TILE_WEIGHTS: Final = 1 << 21  # unpacked at a time: 4 MiB of bfloat16, which stays in a cache between unpacking and product


class Run(NamedTuple):
    """Neighbouring rows of one matrix that are kept in one form."""

    form: WeightForm
    out_features: int


def form_of(asked: str, stored: str, in_features: int, *, dtype: str, device: str) -> WeightForm:
    """The form of rows stored in a format. ``asked`` is a word of the setting ``weights``.

    ``native`` keeps four-bit blocks where a kernel multiplies by them (processors, bfloat16); other packed formats become the dtype.
    Rows that are no whole number of groups stay in the dtype.
    """
    match asked:
        case "native":
            kept = device == "cpu" and dtype == "bfloat16" and stored in FOUR_BIT_BLOCKS and in_features % GROUP == 0
            return WeightForm.INT4 if kept else WeightForm.DENSE
        case "int4":
            return WeightForm.INT4 if in_features % GROUP == 0 else WeightForm.DENSE
        case _:
            return WeightForm(asked)


def head_word(asked: str) -> str:
    """What the head is kept in where the other matrices are asked for so: rounding shows most there, so it never has four bits unasked."""
    return "int8" if asked == "int4" else asked


def shares_table(asked: str, stored: str, in_features: int, *, dtype: str, device: str) -> bool:
    """Whether a head that is the token table multiplies by the table itself: where that is in memory in the dtype, as on no processor."""
    return device != "cpu" and form_of(head_word(asked), stored, in_features, dtype=dtype, device=device) is WeightForm.DENSE


def runs(asked: str, stored: Iterable[tuple[str, int]], in_features: int, *, dtype: str, device: str) -> tuple[Run, ...]:
    """The forms of a matrix made of several stored ones, (format, rows) each, above one another."""
    each = [Run(form_of(asked, fmt, in_features, dtype=dtype, device=device), rows) for fmt, rows in stored]
    return tuple(Run(form, sum(run.out_features for run in alike)) for form, alike in groupby(each, key=lambda run: run.form))


def runs_bytes(kept: Iterable[Run], in_features: int, dtype: str) -> int:
    """All rows of such a matrix, without a bias."""
    return sum(matrix_bytes(run.form, run.out_features, in_features, ELEMENT_BYTES[dtype]) for run in kept)


def tile_rows(out_features: int, in_features: int) -> int:
    """Rows unpacked at a time: whole blocks of rows, about ``TILE_WEIGHTS`` weights, at least one block."""
    most = max(INT4_ROWS, TILE_WEIGHTS // in_features // INT4_ROWS * INT4_ROWS)
    return min(most, ceil_div(out_features, INT4_ROWS) * INT4_ROWS)


def scratch_bytes(form: WeightForm, out_features: int, in_features: int, dtype: str) -> int:
    """What multiplying many rows by such a matrix takes beside it: one scratch for all matrices, as large as the largest asks."""
    element, weights = ELEMENT_BYTES[dtype], tile_rows(out_features, in_features) * in_features
    match form:
        case WeightForm.DENSE:
            return 0
        case WeightForm.INT8:
            return weights * element
        case WeightForm.FP8:  # 16 bits on the way from codes to numbers, which are the numbers where the dtype has 16
            return weights * (2 if dtype == "bfloat16" else 2 + element)
        case WeightForm.INT4:  # codes in a byte each, numbers, and the groups' scales and offsets
            return weights * (1 + element) + 2 * (weights // GROUP) * element
