"""Every combination measured once or several times: an order that drift does not follow, and what is left when drift is taken out."""

from collections.abc import Sequence
from itertools import product
from math import exp, gcd, prod, sqrt
from typing import NamedTuple

from ullage.domain.tuning import Point, Study, Told
from ullage.planning.calibrate import student

_GOLDEN = 0.618  # of the whole: steps of it spread evenly however many there are


class Grid(NamedTuple):
    """For each point the logarithm of its score, larger is better, without what a pass as a whole was faster or slower; and the scatter."""

    scores: dict[Point, float]
    deviation: float  # of one start, as a share
    freedom: int
    passes: int

    @property
    def half_width(self) -> float:
        """Half of the 95 % interval of the difference of two points, as a logarithm; nought where nothing was repeated."""
        return student(self.freedom) * self.deviation * sqrt(2 / self.passes) if self.freedom else 0.0

    def change(self, before: Point, after: Point) -> tuple[float, float, float]:
        """The relative change of the score with its 95 % interval: low, middle, high; larger is better."""
        middle = self.scores[after] - self.scores[before]
        low, middle, high = (exp(part) - 1 for part in (middle - self.half_width, middle, middle + self.half_width))
        return low, middle, high


def order(sizes: Point, number: int) -> list[Point]:
    """All points in the order of one pass: neighbours are far apart in time, and no pass goes as the one before."""
    points = sorted(product(*map(range, sizes)), key=lambda point: (sum(point), point))
    step = next(step for step in range(max(1, round(len(points) * _GOLDEN)), 2 * len(points) + 2) if gcd(step, len(points)) == 1)
    found = [points[(at * step) % len(points)] for at in range(len(points))]
    return found if number % 2 == 0 else found[::-1]


def starts(study: Study) -> int:
    """How often an engine is started for all of it."""
    return prod(study.sizes) * study.passes


def grid_of(study: Study, told: Sequence[Told]) -> Grid:
    """What the first ``passes`` starts of every measured point say together."""
    sign = 1 if study.more_is_better else -1
    rows: dict[Point, list[float]] = {}
    for one in told:
        row = rows.setdefault(one.point, [])
        if one.speed is not None and len(row) < study.passes:
            row.append(sign * one.speed.log_mean)
    rows = {point: row for point, row in rows.items() if row}
    full = [row for row in rows.values() if len(row) == study.passes]
    whole = sum(map(sum, full)) / max(1, sum(map(len, full)))
    of_pass = [sum(row[number] for row in full) / len(full) - whole if full else 0.0 for number in range(study.passes)]
    even = {point: [value - of_pass[number] for number, value in enumerate(row)] for point, row in rows.items()}
    scores = {point: sum(row) / len(row) for point, row in even.items()}
    freedom = max(0, (len(full) - 1) * (study.passes - 1))
    squares = sum((value - scores[point]) ** 2 for point, row in even.items() if len(row) == study.passes for value in row)
    return Grid(scores, sqrt(squares / freedom) if freedom else 0.0, freedom, study.passes)
