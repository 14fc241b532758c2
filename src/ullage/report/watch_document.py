"""One look at a running engine as a document for people, and as a line."""

from ullage.domain.reading import HostReading, ProcessMemory
from ullage.planning.drift import Drift, Standing
from ullage.planning.promise import Part
from ullage.planning.watched import DeviceState, Forecast, Point, Pool, Row, Watched
from ullage.report import document as doc
from ullage.units import format_bytes, format_count, format_gib

_ROWS = (
    doc.Column("part"),
    doc.Column("promised low", is_number=True),
    doc.Column("expected", is_number=True),
    doc.Column("high GiB", is_number=True),
    doc.Column("seen GiB", is_number=True),
    doc.Column("judged"),
)
_MARKS = {Part.WEIGHTS: "weights", Part.CACHE: "kv_cache", Part.REST: "workspace", Part.OTHERS: "others"}
_NOT_TOLD = "-"
_LEVELS = " .:-=+*#%@"
_SHOWN_POINTS = 60
_MOST_PROCESSES = 6


def watch_document(seen: Watched, notes: tuple[str, ...] = ()) -> doc.Document:
    """One screen: what is wrong, every device promised next to seen, the pool, the host, the history and what is coming."""
    return (
        _headline(seen),
        doc.Paragraph(_subject(seen)),
        *((doc.Heading("Alarms"), doc.Items(tuple(f"{alarm.kind.value}: {alarm.text}" for alarm in seen.alarms))) if seen.alarms else ()),
        *(block for state in seen.devices for block in _device(state)),
        *_pool(seen.pool),
        *_host(seen.moment.host),
        *_history(seen.history),
        *((doc.Heading("Notes"), doc.Items(notes)) if notes else ()),
    )


def watch_line(seen: Watched) -> str:
    """The same in one line."""
    parts = [_pool_words(seen.pool)] if seen.pool is not None else []
    parts += [f"{state.device} {_of(state)}" for state in seen.devices]
    parts += [_coming(seen.forecasts[0])] if seen.forecasts else []
    parts += [f"ALARM {alarm.kind.value}: {alarm.text}" for alarm in seen.alarms]
    return "; ".join(parts)


def _headline(seen: Watched) -> doc.Verdict:
    if seen.alarms:
        return doc.Verdict("ALARM", seen.alarms[0].text, "bad")
    coming = f"; {_coming(seen.forecasts[0])}" if seen.forecasts else ""
    return doc.Verdict("OK", f"{_kept(seen)}{coming}", "warn" if coming else "good")


def _kept(seen: Watched) -> str:
    """What may be said of the promise where no alarm rings: an engine rests below its bounds until it has been at its peak."""
    judged = [drift.standing for state in seen.devices for drift in (state.drift, *(row.drift for row in state.rows)) if drift is not None]
    if Standing.ABOVE in judged:
        return "nothing is wrong; the tables say what is above the plan's bounds"
    if Standing.BELOW in judged:
        return "nothing seen is above the plan's bounds, and some of it still below them"
    return "what is seen is within the plan's bounds" if judged or (seen.pool and seen.pool.keeps_promise) else "nothing is wrong"


def _subject(seen: Watched) -> str:
    engine, promise = seen.moment.engine, seen.promise
    said = []
    if engine is not None:
        said.append(
            f"{(engine.engine or 'an engine') if engine.is_engine else 'something'} at {engine.url}"
            + (f" with {engine.model}" if engine.model else "")
        )
    if promise is not None:
        said.append(f"promised for {promise.model} with {promise.engine} {promise.version}")
    return "; ".join(said) or "this machine; give the address of an engine to watch it, and a plan to hold it to"


def _of(state: DeviceState) -> str:
    """How much is in use, as far as it is told."""
    if state.used_bytes is None:
        return "in use: not told" if state.total_bytes is None else f"of {format_bytes(state.total_bytes)}, in use: not told"
    return f"{format_bytes(state.used_bytes)} in use" + (f" of {format_bytes(state.total_bytes)}" if state.total_bytes is not None else "")


def _device(state: DeviceState) -> tuple[doc.Block, ...]:
    busy = f", {state.utilisation:.0%} busy" if state.utilisation is not None else ""
    title = f"{state.device} ({state.name}): {_of(state)}{busy}"
    rows = tuple(_row(row.part.value, row) for row in state.rows)
    if state.peak is not None or state.engine_bytes is not None:
        low, expected, high = _three(state.peak.low, state.peak.expected, state.peak.high) if state.peak is not None else (_NOT_TOLD,) * 3
        rows = (*rows, ("engine in all", low, expected, high, _gib(state.engine_bytes), _judged(state.drift)))
    marks = tuple(_MARKS[row.part] for row in state.rows) + ("runtime",) * (len(rows) - len(state.rows))
    table = (doc.Table(_ROWS, rows, marks),) if rows else ()
    if state.total_bytes is None or state.used_bytes is None:
        return (doc.Heading(title), *table)
    return (doc.Bar(title, _segments(state, state.used_bytes), state.total_bytes, "head"), *table)


def _segments(state: DeviceState, used: int) -> tuple[doc.Segment, ...]:
    """The parts that are told, and what is in use besides."""
    told = [doc.Segment(_MARKS[row.part], row.seen_bytes) for row in state.rows if row.seen_bytes is not None and row.seen_bytes > 0]
    rest = used - sum(segment.nbytes for segment in told)
    return (*told, doc.Segment("runtime", rest)) if rest > 0 else tuple(told)


def _row(name: str, row: Row) -> tuple[str, ...]:
    promised = row.promised
    amounts = (_NOT_TOLD,) * 3 if promised is None else _three(promised.low, promised.expected, promised.high)
    return (name, *amounts, _gib(row.seen_bytes), _judged(row.drift))


def _three(low: int, expected: int, high: int) -> tuple[str, str, str]:
    return format_gib(low), format_gib(expected), format_gib(high)


def _gib(nbytes: int | None) -> str:
    return _NOT_TOLD if nbytes is None else format_gib(nbytes)


def _judged(drift: Drift | None) -> str:
    if drift is None:
        return ""
    if drift.standing is Standing.WITHIN:
        return "within its bounds"
    return f"{format_bytes(drift.beyond_bytes)} {drift.standing.value} its bounds"


def _pool_words(pool: Pool) -> str:
    size = f" of {format_count(pool.tokens)} tokens" if pool.tokens is not None else ""
    words = [f"pool {pool.usage:.1%} used{size}" if pool.usage is not None else f"pool{size or ': size not told'}"]
    words += [f"{pool.running} running"] if pool.running is not None else []
    before = f" ({pool.queued} of them in the guard)" if pool.queued else ""
    words += [f"{pool.waiting} waiting{before}"] if pool.waiting is not None else []
    words += [f"{pool.preemptions} preemptions"] if pool.preemptions is not None else []
    return ", ".join(words)


def _pool(pool: Pool | None) -> tuple[doc.Block, ...]:
    if pool is None:
        return ()
    items = [_pool_words(pool)]
    if pool.promised_tokens is not None:
        low, expected, high = (
            format_count(count) for count in (pool.promised_tokens.low, pool.promised_tokens.expected, pool.promised_tokens.high)
        )
        judged = {True: ": kept", False: ": not kept", None: ""}[pool.keeps_promise]
        items.append(f"promised {expected} tokens" + (f" ({low} to {high})" if low != high else "") + judged)
    return (doc.Heading("Pool"), doc.Items(tuple(items)))


def _host(host: HostReading | None) -> tuple[doc.Block, ...]:
    if host is None:
        return ()
    items = []
    if host.swap_used_bytes:
        items.append(f"swap: {format_bytes(host.swap_used_bytes)} used")
    if host.pressure is not None and host.pressure.some is not None:
        full = f", all of them {host.pressure.full:.0%}" if host.pressure.full is not None else ""
        items.append(f"tasks stalled on memory for {host.pressure.some:.0%} of the last 10 s{full}")
    if host.group is not None and host.group.current_bytes is not None:
        limit = f" of {format_bytes(host.group.limit_bytes)}" if host.group.limit_bytes is not None else ", without a limit"
        items.append(f"control group (v{host.group.version}): {format_bytes(host.group.current_bytes)}{limit}")
    items += [_process(process) for process in (host.processes or ())[:_MOST_PROCESSES]]
    more = len(host.processes or ()) - _MOST_PROCESSES
    items += [f"{more} processes more"] if more > 0 else []
    items += [f"{_process(process)}; of `ullage serve`, and not counted" for process in host.in_front[:_MOST_PROCESSES]]
    return (doc.Heading("Host"), doc.Items(tuple(items))) if items else ()


def _process(process: ProcessMemory) -> str:
    parts = (
        ("private", process.anon_bytes),
        ("of files", process.file_bytes),
        ("shared", process.shmem_bytes),
        ("its share", process.pss_bytes),
    )
    told = ", ".join(f"{format_bytes(nbytes)} {name}" for name, nbytes in parts if nbytes is not None)
    return f"process {process.pid} {process.name}: {told or 'not told'}"


def _history(history: tuple[Point, ...]) -> tuple[doc.Block, ...]:
    shown = history[-_SHOWN_POINTS:]
    if len(shown) < 2:  # noqa: PLR2004 - one look is no history
        return ()
    lines = [f"{name:<8} |{drawn}|" for name, drawn in _drawn(shown) if drawn.strip()]
    minutes = (shown[-1].at - shown[0].at) / 60
    return (doc.Heading(f"The last {minutes:.1f} min"), doc.Code("\n".join(lines))) if lines else ()


def _drawn(points: tuple[Point, ...]) -> list[tuple[str, str]]:
    found = [("pool", "".join(_level(point.usage, 1.0) for point in points))]
    for name in ("running", "waiting"):
        values = [getattr(point, name) for point in points]
        most = max((value for value in values if value is not None), default=0)
        found.append((name, "".join(_level(value, max(most, 1)) for value in values)))
    return found


def _level(value: float | None, full: float) -> str:
    """A character for a share of the whole; a blank where nothing was told or there was nothing."""
    return " " if value is None else _LEVELS[min(len(_LEVELS) - 1, -int(-value * (len(_LEVELS) - 1) // full))]


def _coming(forecast: Forecast) -> str:
    what = "the pool" if forecast.subject == "pool" else forecast.subject
    return f"at this growth {what} is full in {duration(forecast.seconds)}"


def duration(seconds: float) -> str:
    """A time for people: ``40 s``, ``4 min``, ``3.5 h``."""
    if seconds < 90:  # noqa: PLR2004 - up to here seconds are read more easily
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"  # noqa: PLR2004 - as above, for minutes
