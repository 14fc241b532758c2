"""Throughput against memory as lines of text."""

from collections.abc import Sequence

from ullage.report.tune_result import Mark
from ullage.units import format_bytes

WIDTH, HEIGHT = 64, 14
BEST, FRONT, OTHER = "@", "*", "o"


def drawn(marks: Sequence[Mark], width: int = WIDTH, height: int | None = None) -> str:
    """Each trial a sign: @ the winner, * those nothing is faster than with as little memory, o the others. Few take few lines."""
    height = height or min(HEIGHT, 2 * len(marks))
    sizes, speeds = [one.nbytes for one in marks], [one.tokens_per_s for one in marks]
    rows = [[" "] * width for _ in range(height)]
    for one in sorted(marks, key=lambda mark: (mark.is_best, mark.is_front)):
        column = _place(one.nbytes, min(sizes), max(sizes), width)
        row = height - 1 - _place(one.tokens_per_s, min(speeds), max(speeds), height)
        rows[row][column] = BEST if one.is_best else FRONT if one.is_front else OTHER
    labels = {0: f"{max(speeds):,.0f}", height - 1: f"{min(speeds):,.0f}"}
    margin = max(len(text) for text in labels.values())
    body = [f"{labels.get(at, ''):>{margin}} |{''.join(row)}".rstrip() for at, row in enumerate(rows)]
    left, right = format_bytes(min(sizes)), format_bytes(max(sizes))
    foot = f"{'':>{margin}} +{'-' * width}"
    ends = f"{'':>{margin}}  {left}{right:>{max(1, width - len(left))}}"
    return "\n".join(("tokens/s", *body, foot, ends, f"{'':>{margin}}  {BEST} winner   {FRONT} front   {OTHER} other"))


def _place(value: float, least: float, most: float, cells: int) -> int:
    """The cell of a value between the two ends; the middle where there is but one."""
    return (cells - 1) // 2 if most <= least else round((value - least) / (most - least) * (cells - 1))
