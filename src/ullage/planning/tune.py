"""What to try next: ask and tell, as a pure function of what was told, so that a search goes on where it was cut short.

First each dial alone is turned from a safe start in small steps, and back when it stops helping. Then, around the winner, the best
combinations that the effects seen so far promise are tried, until as many in a row as there are dials bring nothing. An objective that
follows from the ledger is tried in its order, the best first, until one serves the load and keeps its speed.
"""

from collections.abc import Generator, Sequence
from itertools import combinations, product
from math import log, prod

from ullage.domain.baseline import TrialState
from ullage.domain.tuning import Ask, Ended, Estimate, Point, Study, Told
from ullage.planning.tune_compare import NOTHING_KNOWN, Comparison, Scatter, change, compare, scatter

START, ALONE, AROUND, CONFIRM = "start", "alone", "around", "confirm"
_ENDS = {False: "no step around the best helps any more", True: "every combination was tried"}
_SWEEPS = 20
_PROMISING = 0.02  # a pair of steps is tried while the effects seen promise no more than this loss
_FEWEST_AROUND = 2

Search = Generator[Ask, Told, Told | None]


def ask(study: Study, told: Sequence[Told]) -> Ask | Ended:
    """The next trial, or the end. The same study and the same history give the same answer, however often it is asked."""
    known = {one.point: one for one in told}
    ran = [one for one in told if one.state is not TrialState.SKIPPED]
    search = _everything(study) if study.is_exhaustive else _planned(study) if study.ranked else _measured(study)
    best: Point | None = None
    try:
        wanted = next(search)
        while True:
            best = wanted.base if wanted.base is not None else best
            found = known.get(wanted.point)
            if found is None:
                stopped = _stopped(study, ran)
                return Ended(best=best, reason=stopped) if stopped else wanted
            wanted = search.send(found)
    except StopIteration as ended:
        winner: Told | None = ended.value
        return Ended(best=None if winner is None else winner.point, reason=_ENDS[study.is_exhaustive])


def most_trials(study: Study) -> int:
    """Trials that are run at most: a third of all combinations, or what each dial alone takes where that is more."""
    alone, all_of_them = 1 + sum(size - 1 for size in study.sizes), prod(study.sizes)
    if study.most_trials is not None:
        return study.most_trials
    return all_of_them if study.is_exhaustive else max(alone, all_of_them // 3)


def _stopped(study: Study, ran: Sequence[Told]) -> str:
    """Why no further trial is begun; empty while one may be."""
    if len(ran) >= most_trials(study):
        return f"{len(ran)} trials were run, of {prod(study.sizes):,} combinations"
    spent, longest = sum(one.seconds for one in ran), max((one.seconds for one in ran), default=0.0)
    if spent + longest > study.budget_s:
        return f"the budget is spent: {spent:.0f} s, and a trial takes up to {longest:.0f} s"
    return ""


def _measured(study: Study) -> Search:
    told: dict[Point, Told] = {}
    first = yield Ask(point=study.start, base=None, stage=START)
    if first.speed is None:
        return None
    told[first.point] = first
    best = first
    for dial in range(len(study.sizes)):
        best = yield from _alone(study, best, dial, told)
    return (yield from _around(study, best, told))


def _everything(study: Study) -> Search:
    """Every combination, for a comparison; ends at the best mean."""
    found: list[Told] = []
    for point in sorted(product(*map(range, study.sizes)), key=lambda point: (sum(point), point)):
        best = _first(study, found)
        found.append((yield Ask(point=point, base=None if best is None else best.point, stage=ALONE)))
    return _first(study, found)


def _first(study: Study, found: Sequence[Told]) -> Told | None:
    sign = 1 if study.more_is_better else -1
    measured = [one for one in found if one.speed is not None]
    return max(measured, key=lambda one: sign * (one.speed.mean if one.speed is not None else 0.0), default=None)


def _alone(study: Study, best: Told, dial: int, told: dict[Point, Told]) -> Generator[Ask, Told, Told]:
    """One dial upwards in single steps, then downwards; ends at the best, with the rest rolled back."""
    begin = best.point[dial]
    for step in (1, -1):
        missed, at = 0, begin + step
        while 0 <= at < study.sizes[dial] and missed < study.patience:
            found = yield Ask(point=_turned(best.point, dial, at), base=best.point, stage=ALONE)
            told[found.point] = found
            if found.speed is None:  # what is more daring still will not do either
                break
            is_better = _is_better(study, best, found, told)
            best, missed = (found, 0) if is_better else (best, missed + 1)
            at += step
    return best


def _around(study: Study, best: Told, told: dict[Point, Told]) -> Generator[Ask, Told, Told]:
    """Combinations one step away in one dial or two, the most promising first."""
    missed, patience = 0, max(_FEWEST_AROUND, sum(size > 1 for size in study.sizes))
    while missed < patience:
        point = _most_promising(study, best, told)
        if point is None:
            break
        found = yield Ask(point=point, base=best.point, stage=AROUND)
        told[point] = found
        if _is_better(study, best, found, told):
            best, missed = found, 0
        elif found.state is not TrialState.SKIPPED:
            missed += 1
    return best


def _planned(study: Study) -> Search:
    """Down the ranking until one runs and is not shown to be slower than the start by more than is given up."""
    first = yield Ask(point=study.start, base=None, stage=START)
    told = {first.point: first}
    for point in study.ranked:
        if point == study.start:
            return first if first.speed is not None else None
        base = first.point if first.speed is not None else None
        found = yield Ask(point=point, base=base, stage=CONFIRM)
        told[point] = found
        known = scatter(one.speed for one in told.values() if one.speed is not None)
        if found.speed is not None and keeps_up(study, first.speed, found.speed, known):
            return found
    return first if first.speed is not None else None


def keeps_up(study: Study, before: Estimate | None, after: Estimate, known: Scatter = NOTHING_KNOWN) -> bool:
    """Whether it is not shown to lose more of its speed than a planned objective may."""
    return before is None or change(before, after, known)[2] >= study.keeps - 1


def _is_better(study: Study, best: Told, found: Told, told: dict[Point, Told]) -> bool:
    if best.speed is None or found.speed is None:
        return False
    known = scatter(one.speed for one in told.values() if one.speed is not None)
    shown = compare(best.speed, found.speed, known, more_is_better=study.more_is_better, least_gain=study.least_gain)
    return shown is Comparison.BETTER


def _turned(point: Point, dial: int, at: int) -> Point:
    return (*point[:dial], at, *point[dial + 1 :])


def _most_promising(study: Study, best: Told, told: dict[Point, Told]) -> Point | None:
    """The untried neighbour with the largest promise: any single step, and pairs of steps that promise no real loss."""
    effects = _effects(study, told)
    here = _promise(effects, best.point)
    pairs = [point for point in _pairs(study, best.point) if point not in told and _promise(effects, point) >= here - _PROMISING]
    single = [point for point in _singles(study, best.point) if point not in told]
    return max((*single, *pairs), key=lambda point: _promise(effects, point), default=None)


def _singles(study: Study, point: Point) -> list[Point]:
    steps = ((dial, point[dial] + step) for dial in range(len(point)) for step in (1, -1))
    return [_turned(point, dial, at) for dial, at in steps if 0 <= at < study.sizes[dial]]


def _pairs(study: Study, point: Point) -> list[Point]:
    found = []
    for (one, other), steps in product(combinations(range(len(point)), 2), product((1, -1), repeat=2)):
        first, second = point[one] + steps[0], point[other] + steps[1]
        if 0 <= first < study.sizes[one] and 0 <= second < study.sizes[other]:
            found.append(_turned(_turned(point, one, first), other, second))
    return found


def _effects(study: Study, told: dict[Point, Told]) -> tuple[dict[int, float], ...]:
    """For each dial what each of its values does to the logarithm of the score, by sweeps over all that was measured."""
    sign = 1 if study.more_is_better else -1
    scores = {one.point: sign * log(max(one.speed.mean, 1e-12)) for one in told.values() if one.speed is not None}
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
