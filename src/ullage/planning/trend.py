"""How fast something grows, told robustly: single readings that stand out move nothing."""

from collections.abc import Iterable, Sequence
from itertools import combinations
from statistics import median

from ullage.frozen import dataclass

LEAST_POINTS = 5
_MOST_POINTS = 60  # pairs grow with the square
_AGREEMENT = 2 / 3  # of the pairs that differ, so many must go the same way for a growth to be one

Series = Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trend:
    """The slope by the second, and how long and from where to where it was watched."""

    per_second: float
    span_seconds: float
    first: float
    last: float


def series(pairs: Iterable[tuple[float, float | None]]) -> Series:
    """The readings that were there, in the order of time."""
    return sorted((at, value) for at, value in pairs if value is not None)


def trend(points: Series) -> Trend | None:
    """The median of the slopes of all pairs (Theil-Sen); 0 where the pairs do not agree, None for too few points."""
    kept = _thinned(points)
    slopes = [(value - before) / (at - then) for (then, before), (at, value) in combinations(kept, 2) if at > then]
    if len(kept) < LEAST_POINTS or not slopes:
        return None
    middle = median(slopes)
    same_way = sum(slope * middle > 0 for slope in slopes)
    moving = sum(slope != 0 for slope in slopes)
    steady = moving == 0 or same_way < _AGREEMENT * moving
    return Trend(
        per_second=0.0 if steady else middle,
        span_seconds=kept[-1][0] - kept[0][0],
        first=kept[0][1],
        last=kept[-1][1],
    )


def _thinned(points: Series) -> Series:
    """Not more points than are quickly paired, spread over the whole time; the last always among them."""
    step = -(-len(points) // _MOST_POINTS) or 1
    return points[::-1][::step][::-1]


def seconds_until(limit: float, now: float, per_second: float) -> float | None:
    """When a growing value reaches its limit; 0 where it has, None where it does not grow."""
    if now >= limit:
        return 0.0
    return (limit - now) / per_second if per_second > 0 else None
