"""What a growth says, whatever the readings are."""

from hypothesis import given
from hypothesis import strategies as st
from tests.watching import looks, usage_over_time

from ullage.planning.trend import LEAST_POINTS, seconds_until, trend

values = st.lists(st.floats(min_value=0, max_value=1e12), min_size=LEAST_POINTS, max_size=40)
steps = st.lists(st.floats(min_value=0.001, max_value=1e6), min_size=LEAST_POINTS, max_size=40)
amounts = st.floats(min_value=0, max_value=1e12)
slopes = st.floats(min_value=1e-3, max_value=1e9)


def over_time(readings: list[float]) -> list[tuple[float, float]]:
    return [(index * 2.0, value) for index, value in enumerate(readings)]


def rising(increments: list[float]) -> list[tuple[float, float]]:
    return over_time([sum(increments[:index]) for index in range(len(increments))])


@given(amounts, slopes, slopes, amounts)
def test_faster_growth_never_fills_later_and_more_room_never_sooner(now: float, slow: float, fast: float, room: float) -> None:
    slow, fast = min(slow, fast), max(slow, fast)
    at_slow, at_fast = seconds_until(now + 1 + room, now, slow), seconds_until(now + 1 + room, now, fast)
    assert at_slow is not None
    assert at_fast is not None
    assert at_fast <= at_slow
    assert (seconds_until(now + 2 * room + 2, now, slow) or 0) >= at_slow


@given(steps, st.floats(min_value=1.0, max_value=100.0))
def test_the_same_growth_stretched_is_never_slower(increments: list[float], factor: float) -> None:
    first, second = trend(rising(increments)), trend(rising([step * factor for step in increments]))
    assert first is not None
    assert second is not None
    assert second.per_second >= first.per_second * (1 - 1e-9)


@given(steps)
def test_what_only_grows_has_a_growth_and_what_only_falls_has_none(increments: list[float]) -> None:
    grows = trend(rising(increments))
    assert grows is not None
    assert grows.per_second > 0
    falls = trend([(at, -value) for at, value in rising(increments)])
    assert falls is not None
    assert falls.per_second < 0


@given(values, st.integers(min_value=0))
def test_one_reading_that_stands_out_does_not_make_a_steady_value_grow(readings: list[float], place: int) -> None:
    steady = [7.0] * (2 * len(readings))
    steady[place % len(steady)] = max(readings)
    found = trend(over_time(steady))
    assert found is not None
    assert found.per_second == 0


@given(values)
def test_the_trend_does_not_depend_on_the_level(readings: list[float]) -> None:
    whole = [float(int(value) % 1000) for value in readings]
    first, second = trend(over_time(whole)), trend(over_time([value + 4096 for value in whole]))
    assert first is not None
    assert second is not None
    assert first.per_second == second.per_second


@given(st.lists(st.floats(min_value=0, max_value=1), min_size=1, max_size=60), st.integers(min_value=1, max_value=20))
def test_the_history_is_never_longer_than_it_may_be_and_ends_with_now(readings: list[float], longest: int) -> None:
    seen = looks(usage_over_time(readings), longest=longest)
    assert len(seen.history) == min(len(readings), longest)
    assert seen.history[-1].usage == readings[-1]


@given(st.lists(st.floats(min_value=0, max_value=1), min_size=1, max_size=60))
def test_a_forecast_is_of_something_that_grows_and_lies_ahead(readings: list[float]) -> None:
    for forecast in looks(usage_over_time(readings)).forecasts:
        assert forecast.per_minute > 0
        assert forecast.seconds >= 0
