"""Whether one measurement is better than another, or only looks so."""

from collections.abc import Sequence
from enum import StrEnum
from math import inf, sqrt

from ullage.domain.tuning import Estimate
from ullage.planning.calibrate import deviation, student

_FEWEST, _NARROW = 3, 0.03


class Comparison(StrEnum):
    """How a trial stands to the best so far."""

    BETTER = "better"
    WORSE = "worse"
    ALIKE = "no difference shown"


def estimate(values: Sequence[float]) -> Estimate:
    """The mean of repetitions and how they scatter."""
    mean = sum(values) / len(values)
    return Estimate(mean=mean, deviation=deviation(values) if len(values) > 1 else 0.0, count=len(values))


def half_width(one: Estimate) -> float:
    """Half of the interval that holds the mean with 95 % (Student); infinite for a single repetition."""
    return inf if one.count < 2 else student(one.count - 1) * one.deviation / sqrt(one.count)  # noqa: PLR2004 - one value scatters not


def is_enough(values: Sequence[float], *, narrow: float = _NARROW) -> bool:
    """Whether the interval is narrower than this share of the mean to either side."""
    return len(values) >= _FEWEST and half_width(estimate(values)) <= narrow * abs(sum(values) / len(values))


def change(before: Estimate, after: Estimate) -> tuple[float, float, float]:
    """The relative change of the mean and its 95 % interval: low, middle, high (Welch's degrees of freedom).

    A single repetition says nothing of its scatter: the other's is taken for it.
    """
    spreads = [one.deviation if one.count > 1 else max(before.deviation, after.deviation) for one in (before, after)]
    first, second = (spread**2 / one.count for spread, one in zip(spreads, (before, after), strict=True))
    middle = after.mean / before.mean - 1
    half = student(_freedom(first, second, before.count, after.count)) * sqrt(first + second) / abs(before.mean) if first + second else 0.0
    return middle - half, middle, middle + half


def _freedom(first: float, second: float, before: int, after: int) -> int:
    """Welch and Satterthwaite's degrees of freedom, rounded down, at least one."""
    below = first**2 / max(before - 1, 1) + second**2 / max(after - 1, 1)
    return max(1, int((first + second) ** 2 / below)) if below else 1


def compare(before: Estimate, after: Estimate, *, more_is_better: bool, least_gain: float = 0.0) -> Comparison:
    """Better only where the whole interval lies beyond nought, and the gain is worth a step."""
    low, middle, high = change(before, after)
    if not more_is_better:
        low, middle, high = -high, -middle, -low
    if low > 0 and middle > least_gain:
        return Comparison.BETTER
    return Comparison.WORSE if high < 0 else Comparison.ALIKE
