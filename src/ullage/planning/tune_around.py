"""Where to look next around a point: neighbours in one dial or two, by what the effects seen so far promise."""

from collections.abc import Sequence
from itertools import combinations, product

from ullage.domain.tuning import Point, Study, Told

_SWEEPS = 20
_PROMISING = 0.02  # a pair of steps is tried while the effects seen promise no more than this loss


def turned(point: Point, dial: int, at: int) -> Point:
    """The point with one dial elsewhere."""
    return (*point[:dial], at, *point[dial + 1 :])


def most_promising(study: Study, best: Point, told: Sequence[Told]) -> Point | None:
    """The untried neighbour with the largest promise: any single step, and pairs of steps that promise no real loss."""
    known = {one.point for one in told}
    effects = _effects(study, told)
    here = _promise(effects, best)
    pairs = [point for point in _pairs(study, best) if point not in known and _promise(effects, point) >= here - _PROMISING]
    single = [point for point in _singles(study, best) if point not in known]
    return max((*single, *pairs), key=lambda point: _promise(effects, point), default=None)


def _singles(study: Study, point: Point) -> list[Point]:
    steps = ((dial, point[dial] + step) for dial in range(len(point)) for step in (1, -1))
    return [turned(point, dial, at) for dial, at in steps if 0 <= at < study.sizes[dial]]


def _pairs(study: Study, point: Point) -> list[Point]:
    found = []
    for (one, other), steps in product(combinations(range(len(point)), 2), product((1, -1), repeat=2)):
        first, second = point[one] + steps[0], point[other] + steps[1]
        if 0 <= first < study.sizes[one] and 0 <= second < study.sizes[other]:
            found.append(turned(turned(point, one, first), other, second))
    return found


def _effects(study: Study, told: Sequence[Told]) -> tuple[dict[int, float], ...]:
    """For each dial what each of its values does to the logarithm of the score, by sweeps over all that was measured."""
    sign = 1 if study.more_is_better else -1
    seen: dict[Point, list[float]] = {}
    for one in told:
        if one.speed is not None:
            seen.setdefault(one.point, []).append(sign * one.speed.log_mean)
    scores = {point: sum(values) / len(values) for point, values in seen.items()}
    effects: tuple[dict[int, float], ...] = tuple({} for _ in study.sizes)
    middle = sum(scores.values()) / len(scores)
    for _ in range(_SWEEPS):
        for dial, own in enumerate(effects):
            left: dict[int, list[float]] = {}
            for point, score in scores.items():
                others = sum(effect.get(point[at], 0.0) for at, effect in enumerate(effects) if at != dial)
                left.setdefault(point[dial], []).append(score - middle - others)
            own.update({at: sum(values) / len(values) for at, values in left.items()})
    return effects


def _promise(effects: tuple[dict[int, float], ...], point: Point) -> float:
    """The sum of the effects; a value that was never tried does what the nearest that was tried does."""
    return sum(own[min(own, key=lambda known: (abs(known - at), known))] for own, at in zip(effects, point, strict=True) if own)
