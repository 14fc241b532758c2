"""One look at a running engine for programs: stable keys, sizes in bytes, null for what was not told."""

from ullage.domain.hyperparameters import Json
from ullage.domain.ledger import Amount
from ullage.domain.reading import HostReading, ProcessMemory
from ullage.planning.drift import Drift
from ullage.planning.watched import Alarm, DeviceState, Pool, Watched

SCHEMA = "ullage.watch/1"
ALARM_SCHEMA = "ullage.alarm/1"


def watch_values(seen: Watched, notes: tuple[str, ...] = ()) -> dict[str, Json]:
    """A look under schema ``ullage.watch/1``."""
    engine = seen.moment.engine
    return {
        "schema": SCHEMA,
        "at": round(seen.moment.at, 3),
        "engine": None
        if engine is None
        else {
            "url": engine.url,
            "name": engine.engine,
            "healthy": engine.healthy,
            "model": engine.model,
            "max_context_tokens": engine.max_context_tokens,
        },
        "devices": [_device(state) for state in seen.devices],
        "pool": _pool(seen.pool) if seen.pool is not None else None,
        "host": _host(seen.moment.host) if seen.moment.host is not None else None,
        "forecasts": [
            {"subject": one.subject, "per_minute": round(one.per_minute, 6), "full_in_seconds": round(one.seconds, 1)}
            for one in seen.forecasts
        ],
        "alarms": [_alarm(alarm) for alarm in seen.alarms],
        "notes": list(notes),
    }


def alarm_values(at: float, raised: tuple[Alarm, ...], cleared: tuple[Alarm, ...], active: tuple[Alarm, ...]) -> dict[str, Json]:
    """What a webhook is told: alarms that are new, those that are gone, and all that are active."""
    return {
        "schema": ALARM_SCHEMA,
        "at": round(at, 3),
        "raised": [_alarm(alarm) for alarm in raised],
        "cleared": [_alarm(alarm) for alarm in cleared],
        "active": [_alarm(alarm) for alarm in active],
    }


def _alarm(alarm: Alarm) -> dict[str, Json]:
    return {"kind": alarm.kind.value, "subject": alarm.subject, "text": alarm.text}


def _range(amount: Amount | None) -> Json:
    return None if amount is None else {"low": amount.low, "expected": amount.expected, "high": amount.high}


def _drift(drift: Drift | None) -> Json:
    return None if drift is None else {"standing": drift.standing.value, "beyond_bytes": drift.beyond_bytes, "off_bytes": drift.off_bytes}


def _device(state: DeviceState) -> dict[str, Json]:
    return {
        "id": state.device,
        "name": state.name,
        "total_bytes": state.total_bytes,
        "used_bytes": state.used_bytes,
        "free_bytes": state.free_bytes,
        "utilisation": state.utilisation,
        "engine_bytes": state.engine_bytes,
        "promised_peak": _range(state.peak),
        "drift": _drift(state.drift),
        "parts": [
            {"part": row.part.value, "promised": _range(row.promised), "seen_bytes": row.seen_bytes, "drift": _drift(row.drift)}
            for row in state.rows
        ],
    }


def _pool(pool: Pool) -> dict[str, Json]:
    return {
        "promised_tokens": _range(pool.promised_tokens),
        "tokens": pool.tokens,
        "keeps_promise": pool.keeps_promise,
        "usage": pool.usage,
        "used_tokens": pool.used_tokens,
        "requests_running": pool.running,
        "requests_waiting": pool.waiting,
        "requests_queued": pool.queued,
        "preemptions": pool.preemptions,
    }


def _host(host: HostReading) -> dict[str, Json]:
    group, pressure = host.group, host.pressure
    return {
        "total_bytes": host.total_bytes,
        "available_bytes": host.available_bytes,
        "swap_used_bytes": host.swap_used_bytes,
        "swapped_in_bytes": host.swapped_in_bytes,
        "swapped_out_bytes": host.swapped_out_bytes,
        "pressure": None if pressure is None else {"some": pressure.some, "full": pressure.full},
        "group": None
        if group is None
        else {"version": group.version, "limit_bytes": group.limit_bytes, "current_bytes": group.current_bytes},
        "processes": None if host.processes is None else [_process(process) for process in host.processes],
        "in_front": [_process(process) for process in host.in_front],
    }


def _process(process: ProcessMemory) -> dict[str, Json]:
    return {
        "pid": process.pid,
        "parent": process.parent,
        "name": process.name,
        "anon_bytes": process.anon_bytes,
        "file_bytes": process.file_bytes,
        "shmem_bytes": process.shmem_bytes,
        "pss_bytes": process.pss_bytes,
    }
