"""Answers for programs: stable keys, sizes in bytes."""

from ullage.domain.hyperparameters import Json
from ullage.domain.ledger import Amount, Entry
from ullage.domain.plan import Capacity, Command, DeviceVerdict, Plan, Remedy

SCHEMA = "ullage.plan/1"


def _range(amount: Amount) -> dict[str, Json]:
    return {"low": amount.low, "expected": amount.expected, "high": amount.high}


def _entry(entry: Entry) -> dict[str, Json]:
    return {
        "purpose": entry.purpose.value,
        "phase": entry.phase.value,
        **_range(entry.amount),
        "budgeted": entry.budgeted,
        "because": entry.because,
        "source": str(entry.origin),
    }


def _device(plan: Plan, verdict: DeviceVerdict, name: str) -> dict[str, Json]:
    return {
        "id": verdict.device,
        "name": name,
        "total_bytes": verdict.total_bytes,
        "verdict": verdict.verdict.value,
        "peak": _range(verdict.peak),
        "entries": [_entry(entry) for entry in plan.ledger.on(verdict.device)],
    }


def _capacity(capacity: Capacity) -> dict[str, Json]:
    return {
        "kv_bytes_per_token": capacity.kv_bytes_per_token,
        "kv_cache_bytes": _range(capacity.kv_cache_bytes),
        "kv_blocks": capacity.kv_blocks.expected,
        "kv_tokens": _range(capacity.kv_tokens),
        "max_context_tokens": capacity.max_context_tokens.expected,
        "max_sequences": capacity.max_sequences.expected,
    }


def remedy_as_values(remedy: Remedy) -> dict[str, Json]:
    """A single change and what it leads to."""
    return {
        "changes": dict(remedy.changes),
        "frees_bytes": remedy.frees_bytes,
        "cost": remedy.cost,
        "verdict": remedy.verdict.value,
    }


def command_as_values(command: Command) -> dict[str, Json]:
    """A command's words, its environment and its files."""
    return {"argv": list(command.argv), "env": dict(command.environment), "files": dict(command.files)}


def plan_values(plan: Plan) -> dict[str, Json]:
    """A plan under schema ``ullage.plan/1``; ``findings`` stands only where a command was checked and had any."""
    case, model = plan.case, plan.case.model
    machine = case.machine
    names = {device.id: device.name for device in (*machine.devices, *((machine.host,) if machine.host else ()))}
    values: dict[str, Json] = {
        "schema": SCHEMA,
        "verdict": plan.verdict.value,
        "refusals": [objection.text for objection in plan.objections],
        "binding": plan.binding,
        "model": {"name": model.name, "parameters": model.parameters, "weight_bytes": model.checkpoint.nbytes},
        "engine": {"name": case.engine, "version": str(case.version)},
        "workload": {"context_tokens": case.workload.context_tokens, "concurrent_sequences": case.workload.concurrent_sequences},
        "devices": [_device(plan, verdict, names.get(verdict.device, verdict.device)) for verdict in plan.devices],
        "capacity": _capacity(plan.capacity) if plan.capacity is not None else None,
        "settings": dict(case.settings.items),
        "remedies": [remedy_as_values(remedy) for remedy in plan.remedies],
        "command": command_as_values(plan.command),
        "notes": list(plan.notes),
    }
    if plan.forecast is not None:
        from ullage.report.forecast_document import forecast_values  # noqa: PLC0415 - few plans have one

        values["forecast"] = forecast_values(plan.forecast)
    if plan.findings:
        values["findings"] = [{"text": finding.text, "wrong": finding.wrong} for finding in plan.findings]
    return values
