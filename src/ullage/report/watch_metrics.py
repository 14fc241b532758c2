"""One look at a running engine as Prometheus text. What was not told has no series."""

from collections.abc import Iterator
from typing import NamedTuple

from ullage.domain.ledger import Amount
from ullage.domain.reading import HostReading
from ullage.planning.watched import AlarmKind, DeviceState, Pool, Watched


class Metric(NamedTuple):
    """One name: whether it is a gauge or a counter, what it means, and its labels."""

    name: str
    kind: str
    help: str
    labels: tuple[str, ...] = ()


METRICS = (
    Metric("ullage_up", "gauge", "1 where the watched engine answers as healthy, 0 where it does not."),
    Metric("ullage_device_total_bytes", "gauge", "Memory of a device.", ("device",)),
    Metric("ullage_device_used_bytes", "gauge", "Memory in use on a device, by all processes.", ("device",)),
    Metric("ullage_device_free_bytes", "gauge", "Memory that the driver says is free.", ("device",)),
    Metric("ullage_device_utilisation_ratio", "gauge", "How busy a device is, 0 to 1.", ("device",)),
    Metric("ullage_device_engine_bytes", "gauge", "What the watched processes hold on a device.", ("device",)),
    Metric("ullage_promised_peak_bytes", "gauge", "The engine's promised peak on a device.", ("device", "bound")),
    Metric("ullage_promised_bytes", "gauge", "What was promised of one part.", ("device", "part", "bound")),
    Metric("ullage_seen_bytes", "gauge", "What was seen of one part.", ("device", "part")),
    Metric("ullage_pool_promised_tokens", "gauge", "Tokens that the cache was promised to hold.", ("bound",)),
    Metric("ullage_pool_tokens", "gauge", "Tokens that the cache holds when it is full, by the engine's own count."),
    Metric("ullage_pool_usage_ratio", "gauge", "How full the cache is, 0 to 1."),
    Metric("ullage_requests_running", "gauge", "Requests in flight."),
    Metric("ullage_requests_waiting", "gauge", "Requests that wait, in the engine and in the guard in front of it."),
    Metric("ullage_requests_queued", "gauge", "Those of them that wait in the guard; absent without a guard."),
    Metric("ullage_preemptions_total", "counter", "Preemptions that the engine counted; the count can lag."),
    Metric("ullage_full_in_seconds", "gauge", "When the pool or a device is full at the growth of the last minutes.", ("subject",)),
    Metric("ullage_host_available_bytes", "gauge", "Host memory that is available without swapping."),
    Metric("ullage_host_swap_used_bytes", "gauge", "Swap in use."),
    Metric("ullage_host_swapped_in_bytes_total", "counter", "Bytes read from swap since boot."),
    Metric("ullage_host_swapped_out_bytes_total", "counter", "Bytes written to swap since boot."),
    Metric("ullage_host_pressure_ratio", "gauge", "Share of the last 10 s in which some or all tasks waited for memory.", ("tasks",)),
    Metric("ullage_group_limit_bytes", "gauge", "The limit of the control group of the watched process."),
    Metric("ullage_group_current_bytes", "gauge", "What that control group holds, file pages included."),
    Metric("ullage_process_bytes", "gauge", "Host memory of the watched processes together.", ("kind",)),
    Metric("ullage_alarm", "gauge", "1 while an alarm is active for a subject.", ("kind", "subject")),
    Metric("ullage_alarms", "gauge", "How many alarms of a kind are active.", ("kind",)),
)

_Sample = tuple[str, tuple[str, ...], float | None]


def watch_metrics(seen: Watched) -> str:
    """The whole page."""
    samples: dict[str, list[str]] = {}
    known = {metric.name: metric for metric in METRICS}
    for name, values, number in _samples(seen):
        if number is not None:
            labels = ",".join(f'{label}="{_escaped(value)}"' for label, value in zip(known[name].labels, values, strict=True))
            samples.setdefault(name, []).append(f"{name}{{{labels}}} {number!r}" if labels else f"{name} {number!r}")
    lines = (
        line
        for metric in METRICS
        if metric.name in samples
        for line in (f"# HELP {metric.name} {metric.help}", f"# TYPE {metric.name} {metric.kind}", *samples[metric.name])
    )
    return "".join(f"{line}\n" for line in lines)


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _samples(seen: Watched) -> Iterator[_Sample]:
    engine = seen.moment.engine
    if engine is not None and engine.healthy is not None:
        yield "ullage_up", (), int(engine.healthy)
    for state in seen.devices:
        yield from _device(state)
    if seen.pool is not None:
        yield from _pool(seen.pool)
    for forecast in seen.forecasts:
        yield "ullage_full_in_seconds", (forecast.subject,), round(forecast.seconds, 1)
    if seen.moment.host is not None:
        yield from _host(seen.moment.host)
    for alarm in {(alarm.kind.value, alarm.subject): alarm for alarm in seen.alarms}.values():
        yield "ullage_alarm", (alarm.kind.value, alarm.subject), 1
    for kind in AlarmKind:
        yield "ullage_alarms", (kind.value,), sum(alarm.kind is kind for alarm in seen.alarms)


def _device(state: DeviceState) -> Iterator[_Sample]:
    device = (state.device,)
    yield "ullage_device_total_bytes", device, state.total_bytes
    yield "ullage_device_used_bytes", device, state.used_bytes
    yield "ullage_device_free_bytes", device, state.free_bytes
    yield "ullage_device_utilisation_ratio", device, state.utilisation
    yield "ullage_device_engine_bytes", device, state.engine_bytes
    yield from _bounds("ullage_promised_peak_bytes", device, state.peak)
    for row in state.rows:
        yield from _bounds("ullage_promised_bytes", (state.device, row.part.value), row.promised)
        yield "ullage_seen_bytes", (state.device, row.part.value), row.seen_bytes


def _bounds(name: str, labels: tuple[str, ...], amount: Amount | None) -> Iterator[_Sample]:
    if amount is not None:
        for bound, value in (("low", amount.low), ("expected", amount.expected), ("high", amount.high)):
            yield name, (*labels, bound), value


def _pool(pool: Pool) -> Iterator[_Sample]:
    yield from _bounds("ullage_pool_promised_tokens", (), pool.promised_tokens)
    yield "ullage_pool_tokens", (), pool.tokens
    yield "ullage_pool_usage_ratio", (), pool.usage
    yield "ullage_requests_running", (), pool.running
    yield "ullage_requests_waiting", (), pool.waiting
    yield "ullage_requests_queued", (), pool.queued
    yield "ullage_preemptions_total", (), pool.preemptions


def _host(host: HostReading) -> Iterator[_Sample]:
    yield "ullage_host_available_bytes", (), host.available_bytes
    yield "ullage_host_swap_used_bytes", (), host.swap_used_bytes
    yield "ullage_host_swapped_in_bytes_total", (), host.swapped_in_bytes
    yield "ullage_host_swapped_out_bytes_total", (), host.swapped_out_bytes
    if host.pressure is not None:
        yield "ullage_host_pressure_ratio", ("some",), host.pressure.some
        yield "ullage_host_pressure_ratio", ("all",), host.pressure.full
    if host.group is not None:
        yield "ullage_group_limit_bytes", (), host.group.limit_bytes
        yield "ullage_group_current_bytes", (), host.group.current_bytes
    for kind in ("anon", "file", "shmem", "pss"):
        told = [value for process in host.processes or () if (value := getattr(process, f"{kind}_bytes")) is not None]
        yield "ullage_process_bytes", (kind,), sum(told) if told else None
