"""Laws of the search: on surfaces whose best point is known, from any history, and whatever a trial does."""

import random
from collections.abc import Callable
from itertools import combinations, product
from math import exp, prod

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ullage.domain.baseline import TrialState
from ullage.domain.tuning import Ask, Ended, Estimate, Point, Study, Told
from ullage.frozen import replace
from ullage.planning.tune import ask, most_trials
from ullage.planning.tune_compare import estimate, half_width, is_enough
from ullage.planning.tune_duel import Verdict, standing, verdict
from ullage.planning.tune_grid import grid_of, order

Surface = Callable[[Point], float]
SIZES = st.sampled_from([(3, 3, 3), (4, 4, 3), (4, 4, 4), (5, 4, 3, 2), (6, 6), (5, 5, 4)])


def hill(numbers: random.Random, size: int) -> list[float]:
    """Values of one dial with one top, each step from it a loss of 3 % to 30 %."""
    top = numbers.randrange(size)
    values = [0.0] * size
    for at in range(top + 1, size):
        values[at] = values[at - 1] - numbers.uniform(0.03, 0.3)
    for at in range(top - 1, -1, -1):
        values[at] = values[at + 1] - numbers.uniform(0.03, 0.3)
    return values


def surface(seed: int, sizes: Point, interaction: float = 0.0) -> Surface:
    """The product of one hill a dial; corners of two dials up to ``interaction`` better or worse than that."""
    numbers = random.Random(seed)  # noqa: S311 - a test's surface
    hills = [hill(numbers, size) for size in sizes]
    twists = {pair: numbers.uniform(-1, 1) for pair in combinations(range(len(sizes)), 2)}

    def score(point: Point) -> float:
        total = sum(values[at] for values, at in zip(hills, point, strict=True))
        for (one, other), twist in twists.items():
            total += interaction * twist * (2 * point[one] / (sizes[one] - 1) - 1) * (2 * point[other] / (sizes[other] - 1) - 1)
        return 100 * exp(total)

    return score


def tuned(study: Study, measure: Callable[[Point], Told]) -> tuple[Ended, list[Told]]:
    told: list[Told] = []
    while True:
        wanted = ask(study, told)
        if isinstance(wanted, Ended):
            return wanted, told
        assert wanted.rival is not None or study.passes > 1 or wanted.point not in {one.point for one in told}, (
            "a point is looked at once, or beside another"
        )
        told.append(measure(wanted.point))


def exact(score: Surface) -> Callable[[Point], Told]:
    return lambda point: Told(point=point, state=TrialState.DONE, speed=Estimate(mean=score(point)), seconds=1.0)


def noisy(score: Surface, noise: float, seed: int, rounds: int = 5) -> Callable[[Point], Told]:
    numbers = random.Random(seed)  # noqa: S311 - a test's noise

    def measure(point: Point) -> Told:
        values = [score(point) * (1 + numbers.gauss(0, noise)) for _ in range(rounds)]
        return Told(point=point, state=TrialState.DONE, speed=estimate(values), seconds=1.0)

    return measure


def grid(sizes: Point) -> list[Point]:
    return list(product(*map(range, sizes)))


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 10**9), SIZES, st.sampled_from([0.0, 0.01, 0.02]))
def test_the_winner_is_that_of_the_whole_grid_with_at_most_a_third_of_its_trials(seed: int, sizes: Point, interaction: float) -> None:
    score = surface(seed, sizes, interaction)
    ended, told = tuned(Study(sizes=sizes, start=(0,) * len(sizes), least_gain=0.0), exact(score))
    assert ended.best == max(grid(sizes), key=score)
    assert len(told) <= prod(sizes) // 3


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 10**9), SIZES)
def test_less_is_sought_as_well_as_more(seed: int, sizes: Point) -> None:
    score = surface(seed, sizes)
    study = Study(sizes=sizes, start=(0,) * len(sizes), least_gain=0.0, more_is_better=False)
    ended, _ = tuned(study, exact(lambda point: 1 / score(point)))
    assert ended.best == max(grid(sizes), key=score)


@pytest.mark.parametrize(("noise", "same", "loss"), [(0.01, 0.95, 0.002), (0.03, 0.85, 0.01)])
def test_under_noise_the_winner_is_the_grids_or_loses_no_more_than_the_noise_hides(noise: float, same: float, loss: float) -> None:
    sizes, runs = (4, 4, 3), 80
    hits, lost = 0, 0.0
    for seed in range(runs):
        score = surface(seed, sizes, 0.02)
        best = max(grid(sizes), key=score)
        ended, told = tuned(Study(sizes=sizes, start=(0, 0, 0)), noisy(score, noise, seed))
        assert ended.best is not None
        assert len(told) <= prod(sizes) // 3
        hits += ended.best == best
        lost += 1 - score(ended.best) / score(best)
    assert hits / runs >= same
    assert lost / runs <= loss


def restless(score: Surface, seed: int, *, within: float, between: float, drift: float) -> Callable[[Point], Told]:
    """A machine on which other work comes and goes: starts lie apart by more than the rounds of one tell."""
    numbers = random.Random(seed)  # noqa: S311 - a test's noise
    now = 0.0

    def measure(point: Point) -> Told:
        nonlocal now
        now = 0.8 * now + numbers.gauss(0, drift)
        middle = score(point) * exp(now + numbers.gauss(0, between))
        values = [middle * (1 + numbers.gauss(0, within)) for _ in range(3)]
        return Told(point=point, state=TrialState.DONE, speed=estimate(values), seconds=1.0, peak_bytes=1 + sum(point))

    return measure


@pytest.mark.parametrize(("unrest", "same", "loss"), [(0.01, 0.9, 0.006), (0.03, 0.85, 0.012)])
def test_on_a_restless_machine_the_winner_is_the_grids_or_tied_with_it_at_a_third_of_its_starts(
    unrest: float, same: float, loss: float
) -> None:
    runs, hits, lost = 30, 0, 0.0
    study = Study(sizes=(4, 3, 2), start=(0, 0, 0), least_gain=0.03, unrest=0.03, most_trials=16)
    whole = replace(study, is_exhaustive=True, passes=2, most_trials=None)
    for seed in range(runs):
        score = surface(seed, study.sizes, 0.02)
        measure = restless(score, seed, within=unrest, between=unrest, drift=unrest)
        ended, told = tuned(study, measure)
        ended_grid, told_grid = tuned(whole, measure)
        assert ended.best is not None
        assert ended_grid.best is not None
        assert 3 * len(told) <= len(told_grid) == 48
        hits += ended.best == ended_grid.best or grid_of(whole, told_grid).change(ended_grid.best, ended.best)[2] >= -study.least_gain
        lost += 1 - score(ended.best) / max(map(score, grid(study.sizes)))
    assert hits / runs >= same
    assert lost / runs <= loss


def test_of_two_that_are_alike_the_one_that_takes_less_memory_wins() -> None:
    speeds = {(0,): 100.0, (1,): 140.0, (2,): 141.0, (3,): 139.0}

    def measure(point: Point) -> Told:
        return Told(point=point, state=TrialState.DONE, speed=Estimate(mean=speeds[point]), peak_bytes=50 if point == (3,) else 99)

    study = Study(sizes=(4,), start=(0,), least_gain=0.03, most_trials=9)
    assert tuned(study, measure)[0].best == (3,)
    assert tuned(replace(study, is_exhaustive=True), measure)[0].best == (3,)


def test_a_drift_is_taken_out_by_measuring_in_turn() -> None:
    speeds = [100.0, 104.0, 90.0, 94.0, 81.0, 85.0]  # the second is 4 % faster while the machine slows down
    study = Study(sizes=(2,), start=(0,), unrest=0.01)
    past = [
        Told(point=(at % 2,), state=TrialState.DONE, speed=Estimate(mean=speed, deviation=0.3, count=3)) for at, speed in enumerate(speeds)
    ]
    found = standing(study, past, (0,), (1,))
    assert found.low > 0
    assert found.middle == pytest.approx(0.08, abs=0.03)


@given(SIZES, st.integers(0, 3))
def test_a_pass_over_the_grid_holds_every_point_once_and_neighbours_lie_apart(sizes: Point, number: int) -> None:
    found = order(sizes, number)
    assert sorted(found) == grid(sizes)
    assert found[:2] != order(sizes, number + 1)[:2]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**9), SIZES, st.data())
def test_a_search_cut_short_goes_on_as_if_it_had_not_been(seed: int, sizes: Point, data: st.DataObject) -> None:
    measure = noisy(surface(seed, sizes, 0.05), 0.02, seed)
    study = Study(sizes=sizes, start=(0,) * len(sizes))
    ended, told = tuned(study, measure)
    cut = data.draw(st.integers(0, len(told) - 1))
    again = ask(study, told[:cut])
    assert isinstance(again, Ask)
    assert again.point == told[cut].point
    assert ask(study, told) == ended


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 10**9), SIZES, st.floats(0, 1))
def test_trials_that_fail_or_do_not_fit_never_win_and_never_stop_the_rest(seed: int, sizes: Point, share: float) -> None:
    score, numbers = surface(seed, sizes), random.Random(seed)  # noqa: S311 - a test's failures
    bad = {point: numbers.choice([TrialState.FAILED, TrialState.SKIPPED]) for point in grid(sizes) if numbers.random() < share * 0.7}

    def measure(point: Point) -> Told:
        return Told(point=point, state=bad[point], seconds=1.0) if point in bad else exact(score)(point)

    ended, told = tuned(Study(sizes=sizes, start=(0,) * len(sizes), least_gain=0.0), measure)
    ran = [one for one in told if one.state is not TrialState.SKIPPED]
    assert len(ran) <= prod(sizes) // 3 + 1
    if ended.best is None:
        assert (0,) * len(sizes) in bad
    else:
        assert score(ended.best) == max(score(one.point) for one in told if one.speed is not None)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**9), st.floats(1, 60))
def test_no_trial_is_begun_that_the_budget_would_not_see_the_end_of(seed: int, budget_s: float) -> None:
    _, told = tuned(Study(sizes=(4, 4, 3), start=(0, 0, 0), budget_s=budget_s), exact(surface(seed, (4, 4, 3))))
    assert sum(one.seconds for one in told) <= budget_s


def test_a_planned_objective_takes_the_first_in_its_order_that_keeps_up() -> None:
    speeds = {(0, 0): 100.0, (1, 1): 60.0, (0, 1): 95.0, (1, 0): 99.0}
    study = Study(sizes=(2, 2), start=(0, 0), ranked=((1, 1), (0, 1), (1, 0), (0, 0)), most_trials=4)
    ended, told = tuned(study, exact(speeds.__getitem__))
    assert ended.best == (0, 1)
    assert [one.point for one in told] == [(0, 0), (1, 1), (0, 1)]


def test_an_exhaustive_search_tries_everything_and_ends_at_the_best() -> None:
    score = surface(3, (3, 3, 2))
    ended, told = tuned(Study(sizes=(3, 3, 2), start=(0, 0, 0), is_exhaustive=True), exact(score))
    assert len(told) == most_trials(Study(sizes=(3, 3, 2), start=(0, 0, 0), is_exhaustive=True)) == 18
    assert ended.best == max(grid((3, 3, 2)), key=score)


VALUES = st.lists(st.floats(1, 1000), min_size=2, max_size=12)


def shown(before: list[float], after: list[float], *, more_is_better: bool = True) -> Verdict:
    """What one start of each shows."""
    study = Study(sizes=(2,), start=(0,), more_is_better=more_is_better)
    past = [Told(point=(at,), state=TrialState.DONE, speed=estimate(values)) for at, values in enumerate((before, after))]
    return verdict(study, standing(study, past, (0,), (1,)))


@given(VALUES, VALUES, st.booleans())
def test_what_is_better_one_way_is_worse_the_other_way(before: list[float], after: list[float], more: bool) -> None:  # noqa: FBT001 - drawn
    if shown(before, after, more_is_better=more) is Verdict.BETTER:
        assert shown(after, before, more_is_better=more) is Verdict.WORSE
        assert shown(before, after, more_is_better=not more) is Verdict.WORSE


@given(VALUES)
def test_nothing_differs_from_itself(values: list[float]) -> None:
    assert shown(values, values) in {Verdict.ALIKE, Verdict.OPEN}


def test_the_interval_is_students() -> None:
    assert half_width(estimate([9.0, 10.0, 11.0])) == pytest.approx(4.303 / 3**0.5, rel=1e-3)
    assert not is_enough([10.0, 10.0])
    assert is_enough([10.0, 10.1, 10.0, 9.95, 10.02])
    assert not is_enough([10.0, 12.0, 9.0])


@settings(max_examples=20)
@given(st.integers(0, 10**6))
def test_the_interval_holds_the_truth_nineteen_times_in_twenty(seed: int) -> None:
    numbers = random.Random(seed)  # noqa: S311 - a test's noise
    hits = 0
    for _ in range(200):
        found = estimate([numbers.gauss(100, 5) for _ in range(5)])
        hits += abs(found.mean - 100) <= half_width(found)
    assert hits >= 170
