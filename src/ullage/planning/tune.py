"""What to try next: ask and tell, as a pure function of what was told, so that a search goes on where it was cut short.

First each dial alone is turned from a safe start in small steps, and back when it stops helping. Then, around the winner, the best
combinations that the effects seen so far promise are tried, until as many in a row as there are dials bring nothing. What is too near to
tell is measured again in turn with the best. An objective that follows from the ledger is tried in its order, the best first, until one
serves the load and keeps its speed.
"""

from bisect import insort
from collections.abc import Generator, Sequence
from math import log1p, prod

from ullage.domain.baseline import TrialState
from ullage.domain.tuning import Ask, Ended, Point, Study, Told
from ullage.planning.tune_around import most_promising, turned
from ullage.planning.tune_duel import Standing, Verdict, standing, verdict
from ullage.planning.tune_grid import grid_of, order, starts

START, ALONE, AROUND, AGAIN, CONFIRM = "start", "alone", "around", "again", "confirm"
_ENDS = {False: "no step around the best helps any more", True: "every combination was tried"}
_NOTHING_RAN = {
    False: "the safe start did not run, so there is nothing to go on from: the trials say why",
    True: "no combination ran: the trials say why",
}
_FEWEST_AROUND = 2
_CLIFF = 0.1  # a dial is not turned further where a step is shown to lose more
_KEPT_BACK = 4  # one start in so many is kept for measuring again, where starts scatter

Search = Generator[Ask, Told, Point | None]


class _Seen:
    """What the search was told so far, in the order in which it was measured."""

    def __init__(self, told: Sequence[Told]) -> None:
        self._left: dict[Point, list[tuple[int, Told]]] = {}
        for at, one in reversed(tuple(enumerate(told))):
            self._left.setdefault(one.point, []).append((at, one))
        self._taken: list[tuple[int, Told]] = []

    def take(self, point: Point) -> Told | None:
        """The next that was told of a point, or None."""
        left = self._left.get(point)
        if not left:
            return None
        insort(self._taken, left[-1])
        return left.pop()[1]

    @property
    def all(self) -> list[Told]:
        """All that was taken."""
        return [one for _, one in self._taken]

    @property
    def ran(self) -> list[Told]:
        """Those for which an engine was started."""
        return [one for _, one in self._taken if one.state is not TrialState.SKIPPED]

    def measured(self) -> tuple[Point, ...]:
        """The points that have a speed, in the order of their first."""
        return tuple(dict.fromkeys(one.point for one in self.all if one.speed is not None))

    def count(self, point: Point) -> int:
        """How often a point was started."""
        return sum(one.point == point for one in self.all)


def ask(study: Study, told: Sequence[Told]) -> Ask | Ended:
    """The next trial, or the end. The same study and the same history give the same answer, however often it is asked."""
    seen = _Seen(told)
    search = _everything(study, seen) if study.is_exhaustive else _planned(study, seen) if study.ranked else _measured(study, seen)
    best: Point | None = None
    try:
        wanted = next(search)
        while True:
            best = wanted.base if wanted.base is not None else best
            found = seen.take(wanted.point)
            if found is None:
                stopped = _stopped(study, seen.ran)
                return Ended(best=_settled(study, seen, best), reason=stopped) if stopped else wanted
            wanted = search.send(found)
    except StopIteration as ended:
        winner: Point | None = ended.value
        ends = _ENDS if winner is not None else _NOTHING_RAN
        stopped = "" if winner is None or study.is_exhaustive else _stopped(study, seen.ran)
        return Ended(best=_settled(study, seen, winner), reason=stopped or ends[study.is_exhaustive])


def most_trials(study: Study) -> int:
    """Starts at most: a third of all combinations, or what each dial alone takes where that is more; measuring again counts."""
    alone, all_of_them = 1 + sum(size - 1 for size in study.sizes), prod(study.sizes)
    if study.most_trials is not None:
        return study.most_trials
    return starts(study) if study.is_exhaustive else max(alone, all_of_them // 3)


def _stopped(study: Study, ran: Sequence[Told]) -> str:
    """Why no further trial is begun; empty while one may be."""
    if len(ran) >= most_trials(study):
        return f"{len(ran)} trials were run, of {prod(study.sizes):,} combinations"
    spent, longest = sum(one.seconds for one in ran), max((one.seconds for one in ran), default=0.0)
    if spent + longest > study.budget_s:
        return f"the budget is spent: {spent:.0f} s, and a trial takes up to {longest:.0f} s"
    return ""


def _settled(study: Study, seen: _Seen, best: Point | None) -> Point | None:
    """The winner: of all that lose no more than what is worth a step, that which takes least memory, then the safest."""
    if best is None or study.ranked:
        return best
    if study.is_exhaustive:
        scores = grid_of(study, seen.all).scores
    else:
        scores = {point: log1p(max(-0.999, _gain(study, seen, best, point).middle)) for point in seen.measured()}
    alike = [point for point in scores if scores[point] >= scores[best] + log1p(-study.least_gain)]
    peaks = {one.point: one.peak_bytes for one in seen.all}
    return min(alike, key=lambda point: (peaks[point], -scores[point] if not study.least_gain else 0.0, sum(point), point))


def _gain(study: Study, seen: _Seen, best: Point, point: Point) -> Standing:
    return _judged(study, seen, best, point)[0]


def _judged(study: Study, seen: _Seen, best: Point, point: Point) -> tuple[Standing, Verdict]:
    """What a point gains over the best, and what that shows."""
    found = standing(study, seen.all, best, point)
    return found if study.more_is_better else found.turned(), verdict(study, found)


def _measured(study: Study, seen: _Seen) -> Search:
    first = yield Ask(point=study.start, base=None, stage=START)
    if first.speed is None:
        return None
    best = study.start
    for dial in range(len(study.sizes)):
        best = yield from _alone(study, seen, best, dial)
    best = yield from _around(study, seen, best)
    return (yield from _beside(study, seen, best))


def _everything(study: Study, seen: _Seen) -> Search:
    """Every combination, for a comparison; ends at the best mean."""
    for number in range(study.passes):
        for point in order(study.sizes, number):
            yield Ask(point=point, base=_first(study, seen), stage=ALONE)
    return _first(study, seen)


def _first(study: Study, seen: _Seen) -> Point | None:
    scores = grid_of(study, seen.all).scores
    return max(scores, key=lambda point: scores[point], default=None)


def _alone(study: Study, seen: _Seen, best: Point, dial: int) -> Generator[Ask, Told, Point]:
    """One dial upwards in single steps, then downwards; ends at the best, with the rest rolled back."""
    begin = best[dial]
    for step in (1, -1):
        missed, at = 0, begin + step
        while 0 <= at < study.sizes[dial] and missed < study.patience:
            point = turned(best, dial, at)
            found = yield Ask(point=point, base=best, stage=ALONE)
            if found.speed is None:  # what is more daring still will not do either
                break
            if (yield from _is_taken(study, seen, best, point)):
                best, missed = point, 0
            else:
                missed += study.patience if _gain(study, seen, best, point).high < -_CLIFF else 1
            at += step
    return best


def _is_taken(study: Study, seen: _Seen, best: Point, point: Point) -> Generator[Ask, Told, bool]:
    """Whether a step stays for now. One that looks better and is not shown to be has the best measured beside it once."""
    found, shown = _judged(study, seen, best, point)
    if shown is Verdict.OPEN and found.middle > study.least_gain and _has_spare(study, seen, best):
        yield Ask(point=best, base=best, stage=AGAIN, rival=point)
        found, shown = _judged(study, seen, best, point)
    return shown is Verdict.BETTER or (shown is Verdict.OPEN and bool(study.unrest) and found.middle > study.least_gain)


def _has_spare(study: Study, seen: _Seen, best: Point) -> bool:
    """Whether every value of every dial could still be looked at after one more start."""
    known = {one.point for one in seen.all}
    turns = (turned(best, dial, at) for dial, size in enumerate(study.sizes) for at in range(size))
    return most_trials(study) - len(seen.ran) > sum(point not in known for point in turns)


def _around(study: Study, seen: _Seen, best: Point) -> Generator[Ask, Told, Point]:
    """Combinations one step away in one dial or two, the most promising first."""
    missed, patience = 0, max(_FEWEST_AROUND, sum(size > 1 for size in study.sizes))
    kept_back = most_trials(study) // _KEPT_BACK if study.unrest else 0
    while missed < patience and len(seen.ran) < most_trials(study) - kept_back:
        point = most_promising(study, best, seen.all)
        if point is None:
            break
        found = yield Ask(point=point, base=best, stage=AROUND)
        if found.speed is not None and (yield from _is_taken(study, seen, best, point)):
            best, missed = point, 0
        elif found.state is not TrialState.SKIPPED:
            missed += 1
    return best


def _beside(study: Study, seen: _Seen, best: Point) -> Generator[Ask, Told, Point]:
    """What may still be better than the best is measured again in turn with it, the nearest first."""
    while study.unrest:
        rivals = (point for point in seen.measured() if point != best and seen.count(point) <= study.pairs)
        judged = {point: _judged(study, seen, best, point) for point in rivals}
        near = {point: gain.middle for point, (gain, shown) in judged.items() if shown is Verdict.OPEN}
        if not near:
            break
        rival = max(near, key=lambda point: near[point])
        wanted = rival if seen.all[-1].point == best else best
        found = yield Ask(point=wanted, base=best, stage=AGAIN, rival=best if wanted == rival else rival)
        if found.speed is None and wanted == best:  # it does not start every time
            break
        if _gain(study, seen, best, rival).middle > study.least_gain:
            best = rival
    return best


def _planned(study: Study, seen: _Seen) -> Search:
    """Down the ranking until one runs and is slower than the start by no more than is given up."""
    first = yield Ask(point=study.start, base=None, stage=START)
    start = study.start if first.speed is not None else None
    for point in study.ranked:
        if point == study.start:
            return start
        found = yield Ask(point=point, base=start, stage=CONFIRM)
        if found.speed is None:
            continue
        if start is not None and study.unrest and _is_near(study, seen, start, point):
            yield Ask(point=start, base=start, stage=AGAIN, rival=point)
        if start is None or keeps_up(study, standing(study, seen.all, start, point)):
            return point
    return start


def _is_near(study: Study, seen: _Seen, start: Point, point: Point) -> bool:
    """Whether what is given up lies within the interval."""
    found = standing(study, seen.all, start, point)
    return found.low < study.keeps - 1 <= found.high and seen.count(start) <= study.pairs


def keeps_up(study: Study, found: Standing) -> bool:
    """Whether it loses no more of its speed than a planned objective may."""
    return found.middle >= study.keeps - 1
