"""When something will be full, at the growth of the last minutes."""

from collections.abc import Iterator

from ullage.planning.trend import Series, seconds_until, series, trend
from ullage.planning.watched import Forecast, Point, Watched

RECENT_POINTS = 60
LONGEST_SECONDS = 24 * 3600.0  # farther than a day nobody can see
FARTHEST = 60  # nor farther than so many times as long as the growth was watched


def forecasts(seen: Watched) -> tuple[Forecast, ...]:
    """What grows towards its end within a day, the soonest first."""
    return tuple(sorted(_all(seen), key=lambda forecast: forecast.seconds))


def _all(seen: Watched) -> Iterator[Forecast]:
    recent = seen.history[-RECENT_POINTS:]
    yield from _one("pool", series((point.at, point.usage) for point in recent), 1.0)
    for state in seen.devices:
        if state.total_bytes is not None:
            yield from _one(state.device, used_series(recent, state.device), state.total_bytes)


def used_series(points: tuple[Point, ...], device: str) -> Series:
    """Bytes in use on a device over time."""
    return series((point.at, dict(point.devices).get(device)) for point in points)


def _one(subject: str, values: Series, limit: float) -> Iterator[Forecast]:
    growth = trend(values)
    if growth is None or growth.per_second <= 0:
        return
    left = seconds_until(limit, growth.last, growth.per_second)
    if left and left <= min(LONGEST_SECONDS, FARTHEST * growth.span_seconds):  # what is full already is no forecast
        yield Forecast(subject=subject, per_minute=growth.per_second * 60, seconds=left)
