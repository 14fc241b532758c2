"""Stored runs and their comparison for programs: stable keys, sizes in bytes."""

from collections.abc import Sequence

from ullage.domain.baseline import Run, Seen
from ullage.domain.hyperparameters import Json
from ullage.domain.ledger import Amount
from ullage.planning.drift import judge_drift
from ullage.planning.regress import Change, Contrast


def list_values(runs: Sequence[Run]) -> dict[str, Json]:
    """Runs under ``ullage.baselines/1``, a short line each."""
    return {"schema": "ullage.baselines/1", "runs": [_line(run) for run in runs]}


def _line(run: Run) -> dict[str, Json]:
    return {
        "id": run.id,
        "started_at": run.started_at.isoformat(),
        "ended_at": run.ended_at.isoformat() if run.ended_at is not None else None,
        "engine": {"name": run.engine, "version": run.version},
        "model": {"name": run.model.name, "scheme": run.model.scheme, "architecture_hash": run.model.architecture_hash},
        "devices": [{"id": one.id, "name": one.name, "total_bytes": one.total_bytes} for one in run.machine.devices],
        "exit": run.exit.value,
        "peaks": {device: nbytes for device in dict.fromkeys(one.device for one in run.seen) if (nbytes := run.peak_bytes(device))},
    }


def run_values(run: Run) -> dict[str, Json]:
    """One run under ``ullage.baseline/1``, whole."""
    return {
        "schema": "ullage.baseline/1",
        **_line(run),
        "driver": run.machine.driver,
        "host_bytes": run.machine.host_bytes,
        "parallel": {"tensor": run.parallel.tensor, "pipeline": run.parallel.pipeline, "data": run.parallel.data},
        "workload": {"context_tokens": run.workload.context_tokens, "concurrent_sequences": run.workload.concurrent_sequences},
        "settings": dict(run.settings.items),
        "terms": [_term(run, one) for one in run.seen],
        "growth": [
            {"device": one.device, "bytes_per_token": one.bytes_per_token, "from_tokens": one.from_tokens, "to_tokens": one.to_tokens}
            for one in run.growth
        ],
        "out_of_memory": [
            {
                "at": event.at.isoformat(),
                "device": event.device,
                "phase": event.phase.value if event.phase is not None else None,
                "wanted_bytes": event.wanted_bytes,
                "free_bytes": event.free_bytes,
                "text": event.text,
            }
            for event in run.out_of_memory
        ],
        "figures": [{"name": one.name, "value": one.value, "unit": one.unit} for one in run.figures],
        "note": run.note,
    }


def _range(amount: Amount) -> dict[str, Json]:
    return {"low": amount.low, "expected": amount.expected, "high": amount.high}


def _term(run: Run, seen: Seen) -> dict[str, Json]:
    promised = run.promise(seen.device, seen.purpose, seen.phase)
    return {
        "device": seen.device,
        "purpose": seen.purpose.value if seen.purpose is not None else None,
        "phase": seen.phase.value,
        "promised": _range(promised) if promised is not None else None,
        "seen": {
            "p50": seen.p50_bytes,
            "p95": seen.p95_bytes,
            "max": seen.max_bytes,
            "peak": seen.peak_bytes,
            "samples": seen.samples,
            "reached": seen.reached,
            "missing": seen.missing_bytes,
        },
        "standing": judge_drift(promised, seen.full_bytes).standing.value if promised is not None else None,
    }


def contrast_values(contrast: Contrast) -> dict[str, Json]:
    """Two sets of runs under ``ullage.baselines.compare/1``; ``grown`` is the terms beyond their bounds, the first the likeliest cause."""
    return {
        "schema": "ullage.baselines.compare/1",
        "before": [run.id for run in contrast.before],
        "after": [run.id for run in contrast.after],
        "compared": not contrast.is_empty,
        "regression": contrast.is_regression,
        "differences": list(contrast.differences),
        "grown": [_change(change) for change in contrast.grown],
        "changes": [_change(change) for change in contrast.changes],
        "failures": list(contrast.failures),
    }


def _change(change: Change) -> dict[str, Json]:
    return {
        "device": change.device,
        "purpose": change.purpose.value if change.purpose is not None else None,
        "phase": change.phase.value,
        "per_token": change.per_token,
        "before": change.before_bytes,
        "after": change.after_bytes,
        "expected": change.base_bytes,
        "allowed": change.allowed_bytes,
        "grew": change.grew_bytes,
        "regression": change.is_regression,
    }
