"""Two points beside each other in time: each was started once or several times, and what the machine did meanwhile is not theirs.

A visit is one start with its rounds. Two starts of the same settings differ by more than rounds of one do, as other work comes and goes;
so a visit is held against the nearest of the other point before and after it, and what starts scatter is learned from every pair that was
repeated.
"""

from collections.abc import Sequence
from enum import StrEnum
from math import exp, sqrt
from typing import NamedTuple

from ullage.domain.tuning import Point, Study, Told
from ullage.planning.calibrate import student
from ullage.planning.tune_compare import Scatter, scatter, spread

_BELIEVED = 4  # degrees of freedom of the assumed scatter between starts


class Verdict(StrEnum):
    """How a challenger stands to the best so far."""

    BETTER = "better"
    WORSE = "worse"
    ALIKE = "no difference worth a step is shown"
    OPEN = "too near to tell"


class Standing(NamedTuple):
    """The relative change from the best to the challenger with its 95 % interval, and how often each was measured."""

    low: float
    middle: float
    high: float
    starts: int

    def turned(self) -> "Standing":
        """The same where less is better, as a gain."""
        return Standing(-self.high, -self.middle, -self.low, self.starts)


class Visits(NamedTuple):
    """Where a point stands among all visits, and the logarithms of what was measured."""

    at: tuple[int, ...]
    values: tuple[float, ...]
    variance: float  # of one visit, by its rounds and by what starts scatter
    freedom: int


def standing(study: Study, past: Sequence[Told], best: Point, challenger: Point) -> Standing:
    """How far the challenger is from the best, relative and not signed by what is sought. Both have to have been measured."""
    known, between = scatter(one.speed for one in past if one.speed is not None), _between(study, past)
    first, other = (_visits(past, point, known, between) for point in (best, challenger))
    pairs = _pairs(first, other)
    middle = sum(pairs) / len(pairs)
    own, its = first.variance / len(first.at), other.variance / len(other.at)
    below = own**2 / first.freedom + its**2 / other.freedom
    half = student(max(1, int((own + its) ** 2 / below))) * sqrt(own + its) if below else 0.0
    low, middle, high = (exp(part) - 1 for part in (middle - half, middle, middle + half))
    return Standing(low, middle, high, len(first.at) + len(other.at))


def verdict(study: Study, found: Standing) -> Verdict:
    """What is shown: a gain worth a step, a loss, or neither; OPEN where more measuring may show it."""
    seen = found if study.more_is_better else found.turned()
    if seen.low > 0 and seen.middle > study.least_gain:
        return Verdict.BETTER
    if seen.high < 0:
        return Verdict.WORSE
    return Verdict.OPEN if seen.high > study.least_gain else Verdict.ALIKE


def _visits(past: Sequence[Told], point: Point, known: Scatter, between: tuple[float, int]) -> Visits:
    """A point's visits, by the rounds of each or by what starts scatter ``between`` them, whichever is more."""
    found = [(at, one.speed) for at, one in enumerate(past) if one.point == point and one.speed is not None]
    spreads = [spread(speed, known) for _, speed in found]
    within = max(variance / speed.mean**2 if speed.mean else 0.0 for (variance, _), (_, speed) in zip(spreads, found, strict=True))
    rounds = max(1, sum(freedom for _, freedom in spreads))
    variance, freedom = between if between[0] > within else (within, rounds)
    return Visits(tuple(at for at, _ in found), tuple(speed.log_mean for _, speed in found), variance, freedom)


def _between(study: Study, past: Sequence[Told]) -> tuple[float, int]:
    """The variance of a visit beside its neighbour: half of that of differences of pairs, drawn to what is assumed; its freedom."""
    points = [one.point for one in past if one.speed is not None]
    repeated = [point for point in dict.fromkeys(points) if points.count(point) > 1]
    squares, freedom = 0.0, 0
    for number, one in enumerate(repeated):
        for other in repeated[number + 1 :]:
            pairs = _adjacent(past, one, other)
            if len(pairs) > 1:
                middle = sum(pairs) / len(pairs)
                squares += sum((pair - middle) ** 2 for pair in pairs) / 2
                freedom += len(pairs) - 1
    return (_BELIEVED * study.unrest**2 + squares) / (_BELIEVED + freedom), _BELIEVED + freedom


def _adjacent(past: Sequence[Told], one: Point, other: Point) -> list[float]:
    """Differences of visits that followed each other directly, each visit in one pair."""
    found: list[float] = []
    at = 0
    while at + 1 < len(past):
        first, second = past[at], past[at + 1]
        if {first.point, second.point} == {one, other} and one != other and first.speed is not None and second.speed is not None:
            step = second.speed.log_mean - first.speed.log_mean
            found.append(step if second.point == other else -step)
            at += 1
        at += 1
    return found


def _pairs(first: Visits, other: Visits) -> list[float]:
    """For each visit of the other what it is above the first, as that stood at the time."""
    return [value - _at(first, at) for at, value in zip(other.at, other.values, strict=True)]


def _at(visits: Visits, when: int) -> float:
    """What a point's visits say of a moment: between the nearest before and after, each by its nearness."""
    both = tuple(zip(visits.at, visits.values, strict=True))
    before = max((one for one in both if one[0] <= when), default=None)
    after = min((one for one in both if one[0] >= when), default=None)
    if before is None or after is None or before[0] == after[0]:
        return (before or after or both[0])[1]
    share = (when - before[0]) / (after[0] - before[0])
    return before[1] * (1 - share) + after[1] * share
