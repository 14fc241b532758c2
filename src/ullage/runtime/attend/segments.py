"""Which keys a block of queries meets, and at which angle: pure arithmetic on positions.

A block of queries at positions ``start`` to ``end`` sees its own tokens causally and everything before them through segments without a
causal border. Dual chunk attention (arXiv 2402.17463) cuts the past at multiples of its step ``s = chunk - local`` and turns the queries
of each part to another angle; a sliding window cuts it at the oldest visible key.
"""

from collections.abc import Iterator
from enum import StrEnum

from ullage.domain.architecture import DualChunk
from ullage.frozen import dataclass


class Angle(StrEnum):
    """The position a query is turned to."""

    OWN = "own"  # its position (modulo the step under dual chunk attention)
    SUCCESSOR = "successor"  # min(position mod s + s, chunk), for keys of the chunk just before
    INTER = "inter"  # min(2 s - 1, chunk), for all earlier chunks


@dataclass(frozen=True, slots=True)
class Segment:
    """Keys at positions ``start`` to ``end``. ``diagonal``: they are the queries' own tokens, seen causally.

    ``window``: only keys less than that many positions behind a query are seen; None where all of them are in reach of all queries.
    """

    start: int
    end: int
    angle: Angle = Angle.OWN
    diagonal: bool = False
    window: int | None = None


_WINDOW_ROWS = 512  # queries of one block under a window: its edge needs a mask of so many rows and columns


def blocks(start: int, end: int, dual: DualChunk | None, window: int | None = None) -> Iterator[tuple[int, int]]:
    """Query blocks that cross no border of dual chunk attention and are no longer than their window."""
    at = start
    while at < end:
        stop = end
        if dual is not None:
            stop = min(stop, (at // dual.step_tokens + 1) * dual.step_tokens)
        if window is not None:
            stop = min(stop, at + min(window, _WINDOW_ROWS))
        yield at, stop
        at = stop


def full_segments(start: int, end: int, dual: DualChunk | None = None) -> tuple[Segment, ...]:
    """What queries at ``start`` to ``end`` of one block see without a window."""
    diagonal = Segment(start, end, diagonal=True)
    if dual is None:
        past: tuple[tuple[int, int, Angle], ...] = ((0, start, Angle.OWN),)
    else:
        step = dual.step_tokens
        chunk = start // step
        border, before = chunk * step, max(0, chunk - 1) * step
        past = ((border, start, Angle.OWN), (before, border, Angle.SUCCESSOR), (0, before, Angle.INTER))
    return (diagonal, *(Segment(first, last, angle) for first, last, angle in past if first < last))


def window_segments(start: int, end: int, window: int) -> tuple[Segment, ...]:
    """What at most ``window`` queries see through a window: the diagonal, keys in reach of all, and the edge that slides out."""
    oldest = max(0, start - window + 1)  # the first key that the first query sees
    in_reach = min(start, max(0, end - window))  # the first key that the last query sees
    found = [Segment(start, end, diagonal=True)]
    if in_reach < start:
        found.append(Segment(in_reach, start))
    if oldest < in_reach:
        found.append(Segment(oldest, in_reach, window=window))
    return tuple(found)


def query_position(position: int, angle: Angle, dual: DualChunk | None) -> int:
    """The position a query's rotation uses."""
    if dual is None:
        return position
    step = dual.step_tokens
    match angle:
        case Angle.OWN:
            return position % step
        case Angle.SUCCESSOR:
            return min(position % step + step, dual.chunk_tokens)
        case Angle.INTER:
            return min(2 * step - 1, dual.chunk_tokens)


def key_position(position: int, dual: DualChunk | None) -> int:
    """The position a key's rotation uses; it never changes afterwards, so keys are kept rotated."""
    return position if dual is None else position % dual.step_tokens
