"""What the rounds of a trial say: their mean, how they scatter, and whether there are enough of them."""

from collections.abc import Iterable, Sequence
from math import inf, sqrt
from typing import NamedTuple

from ullage.domain.tuning import Estimate
from ullage.planning.calibrate import deviation, student

_FEWEST, _NARROW = 3, 0.03
_MOST_BORROWED = 6  # degrees of freedom that a trial takes from the others


class Scatter(NamedTuple):
    """How much repetitions of all trials scatter, as a share of their mean, known with so many degrees of freedom."""

    relative: float = 0.0
    freedom: int = 0


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


def scatter(estimates: Iterable[Estimate]) -> Scatter:
    """What the trials so far scatter together."""
    told = [one for one in estimates if one.count > 1 and one.mean]
    freedom = sum(one.count - 1 for one in told)
    if not freedom:
        return Scatter()
    return Scatter(sqrt(sum((one.count - 1) * (one.deviation / one.mean) ** 2 for one in told) / freedom), freedom)


def spread(one: Estimate, known: Scatter) -> tuple[float, int]:
    """The variance of a mean, and its degrees of freedom.

    Few repetitions say little of their own scatter, so each trial's is drawn towards what all of them scatter (``known``), as moderated
    t-tests do (Smyth 2004).
    """
    own, borrowed = one.count - 1, min(known.freedom, _MOST_BORROWED)
    if not own and not borrowed:
        return one.deviation**2 / one.count, 1
    shared = (known.relative * one.mean) ** 2
    return (borrowed * shared + own * one.deviation**2) / (borrowed + own) / one.count, borrowed + own
