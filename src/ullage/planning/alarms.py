"""What is wrong now: each alarm says what was expected, what there is, and the next step."""

from collections.abc import Iterator

from ullage.domain.machine import HOST
from ullage.planning.drift import Drift, Standing
from ullage.planning.promise import Part
from ullage.planning.trend import Series, series, trend
from ullage.planning.watched import Alarm, AlarmKind, DeviceState, Point, Pool, Watched
from ullage.units import MiB, format_bytes, format_count

FULL_POOL = 0.95
BUSY_POOL_POINTS = 6  # over so many looks the requests in flight are compared
LEAK_SECONDS = 60.0  # growth is watched at least so long
LEAK_BYTES = 64 * MiB
LEAK_SHARE = 0.02
UNEVEN_SHARE = 0.05  # of the smaller card
UNEVEN_BYTES = 512 * MiB
SWAP_BYTES = 16 * MiB  # in the recent looks; less is housekeeping
STALL_SOME, STALL_FULL = 0.10, 0.05
LEAST_AVAILABLE = 0.05


def alarms(seen: Watched) -> tuple[Alarm, ...]:
    """Every alarm that is active, the engine's first."""
    return (
        *_engine(seen),
        *(alarm for state in seen.devices for alarm in _drifts(state)),
        *_pool_size(seen.pool),
        *_pool_pressure(seen.pool, seen.history),
        *_imbalance(seen.devices),
        *_leaks(seen),
        *_host(seen),
    )


def _engine(seen: Watched) -> Iterator[Alarm]:
    engine = seen.moment.engine
    if engine is not None and engine.healthy is False:
        text = engine.no_engine or f"{engine.url} does not answer as healthy: look at the engine's log, `ullage diagnose` reads it"
        yield Alarm(kind=AlarmKind.ENGINE, subject=engine.engine or "engine", text=text)


def _drifts(state: DeviceState) -> Iterator[Alarm]:
    """A device is held to the high end alone, as not everything is alive at every moment; weights to both ends."""
    if state.drift is not None and state.drift.standing is Standing.ABOVE:
        yield _drift(state.device, "the engine holds", state.drift)
    for row in state.rows:
        if row.part is Part.WEIGHTS and row.drift is not None and row.drift.standing is not Standing.WITHIN:
            yield _drift(state.device, "the weights take", row.drift)


def _drift(device: str, what: str, drift: Drift) -> Alarm:
    bound = drift.promised.high if drift.standing is Standing.ABOVE else drift.promised.low
    text = (
        f"{what} {format_bytes(drift.seen_bytes)} on {device}, {format_bytes(drift.beyond_bytes)} {drift.standing.value} the bound of "
        f"{format_bytes(bound)}: check that the plan is of this command (`ullage check`), and plan again"
    )
    return Alarm(kind=AlarmKind.DRIFT, subject=device, text=text)


def _pool_size(pool: Pool | None) -> Iterator[Alarm]:
    if pool is None or pool.keeps_promise is not False or pool.tokens is None or pool.promised_tokens is None:
        return
    low, high = format_count(pool.promised_tokens.low), format_count(pool.promised_tokens.high)
    bounds = low if low == high else f"{low} to {high}"
    text = f"the pool holds {format_count(pool.tokens)} tokens and {bounds} were promised: check that the plan is of this command"
    yield Alarm(kind=AlarmKind.DRIFT, subject="pool", text=text)


def _pool_pressure(pool: Pool | None, history: tuple[Point, ...]) -> Iterator[Alarm]:
    """A full pool with requests waiting; counters of preemptions may lag behind it until preempted requests resume."""
    if pool is None or pool.usage is None:
        return
    recent = history[-BUSY_POOL_POINTS:]
    preempted = _rise([point.preemptions for point in recent])
    is_full = pool.usage >= FULL_POOL and (pool.waiting or 0) > 0
    if not is_full and preempted <= 0:
        return
    inside = [None if point.waiting is None else point.waiting - (point.queued or 0) for point in recent]
    falling = _rise(inside) > 0 > _rise([point.running for point in recent])
    states = [f"the pool is {pool.usage:.0%} full"]
    states += [f"{pool.waiting} requests wait"] if pool.waiting else []
    states += [f"{preempted} preemptions since {len(recent)} looks ago"] if preempted > 0 else []
    states += ["requests in flight fall while more wait: some are being preempted, whether counted yet or not"] if falling else []
    step = "let fewer sequences in, shorten them, or give the cache more memory (`ullage plan` names the settings)"
    yield Alarm(kind=AlarmKind.POOL, subject="pool", text=f"{', '.join(states)}: {step}")


def _rise(values: list[int | None]) -> int:
    told = [value for value in values if value is not None]
    return told[-1] - told[0] if told else 0


def _imbalance(devices: tuple[DeviceState, ...]) -> Iterator[Alarm]:
    """Cards that hold more beyond their promise than others: a plan that is uneven on purpose raises nothing."""
    told = [
        (state.engine_bytes - (state.peak.expected if state.peak is not None else 0), state)
        for state in devices
        if state.device != HOST and state.engine_bytes is not None
    ]
    sizes = [state.total_bytes for _, state in told if state.total_bytes is not None]
    if len(told) < 2 or not sizes:  # noqa: PLR2004 - two cards can be uneven
        return
    (least, light), (most, heavy) = min(told, key=lambda pair: pair[0]), max(told, key=lambda pair: pair[0])
    if most - least > max(UNEVEN_BYTES, UNEVEN_SHARE * min(sizes)):
        against = "against its promise than" if heavy.peak is not None else "than"
        text = (
            f"{heavy.device} holds {format_bytes(most - least)} more {against} {light.device}: look for a second process on it, "
            "or move layers (`ullage plan` names the split)"
        )
        yield Alarm(kind=AlarmKind.IMBALANCE, subject=heavy.device, text=text)


def _leaks(seen: Watched) -> Iterator[Alarm]:
    """Memory of the engine that grows while its load does not, in the looks that told its load: while it loads its weights it grows."""
    told_of = [point for point in seen.history if point.usage is not None or point.running is not None]
    load = [series((point.at, point.usage) for point in told_of), series((point.at, point.running) for point in told_of)]
    told = [growth for growth in map(trend, load) if growth is not None]
    if not told or any(growth.per_second > 0 for growth in told):
        return
    yield from _leak(HOST, series((point.at, point.private_bytes) for point in told_of))
    for state in seen.devices:
        if state.device != HOST:
            yield from _leak(state.device, series((point.at, dict(point.held).get(state.device)) for point in told_of))


def _leak(subject: str, held: Series) -> Iterator[Alarm]:
    growth = trend(held)
    if growth is None or growth.span_seconds < LEAK_SECONDS:
        return
    grown = growth.per_second * growth.span_seconds
    if grown >= max(LEAK_BYTES, LEAK_SHARE * growth.last):
        text = (
            f"the engine's memory on {subject} grew by {format_bytes(round(grown))} in {growth.span_seconds / 60:.0f} min, "
            f"{format_bytes(round(growth.per_second * 60))} a minute, while its load did not: restart it before {subject} is full"
        )
        yield Alarm(kind=AlarmKind.LEAK, subject=subject, text=text)


def _host(seen: Watched) -> Iterator[Alarm]:
    host = seen.moment.host
    if host is None:
        return
    swapped = _rise([point.swapped_out_bytes for point in seen.history[-BUSY_POOL_POINTS:]])
    if swapped >= SWAP_BYTES:
        text = f"the host wrote {format_bytes(swapped)} to swap since {len(seen.history[-BUSY_POOL_POINTS:])} looks ago: free host memory"
        yield Alarm(kind=AlarmKind.SWAP, subject=HOST, text=text)
    some, full = (host.pressure.some, host.pressure.full) if host.pressure is not None else (None, None)
    if (some is not None and some >= STALL_SOME) or (full is not None and full >= STALL_FULL):
        text = f"tasks stalled on memory for {some or 0:.0%} of the last 10 s, all of them for {full or 0:.0%}: free host memory"
        yield Alarm(kind=AlarmKind.PRESSURE, subject=HOST, text=text)
    total, available = host.total_bytes, host.available_bytes
    if total and available is not None and available < LEAST_AVAILABLE * total:
        text = f"the host has {format_bytes(available)} left of {format_bytes(total)}: stop what is not needed before the kernel does"
        yield Alarm(kind=AlarmKind.HOST, subject=HOST, text=text)
