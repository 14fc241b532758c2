"""A diagnosis for programs: stable keys, sizes in bytes."""

from ullage.domain.cause import Budget, Cause, Change, Diagnosis, Evidence, Sighting, Term
from ullage.domain.hyperparameters import Json

SCHEMA = "ullage.diagnosis/1"


def _evidence(item: Evidence) -> dict[str, Json]:
    return {"line": item.line, "text": item.text, "says": item.says}


def _cause(cause: Cause) -> dict[str, Json]:
    return {
        "kind": cause.kind.value,
        "class": cause.family.value,
        "phase": cause.stage.value,
        "term": cause.term.value if cause.term is not None else None,
        "summary": cause.summary,
        "stated": cause.stated,
        "lacking_bytes": cause.lacking_bytes,
        "evidence": [_evidence(item) for item in cause.evidence],
    }


def _term(term: Term) -> dict[str, Json]:
    predicted = term.predicted
    return {
        "purpose": term.purpose.value,
        "predicted": None if predicted is None else {"low": predicted.low, "expected": predicted.expected, "high": predicted.high},
        "measured_bytes": term.measured,
        "line": term.line,
        "overflowed": term.overflowed,
    }


def _budget(budget: Budget) -> dict[str, Json]:
    return {
        "device": budget.device,
        "total_bytes": budget.total_bytes,
        "limit_bytes": budget.limit_bytes,
        "requested_bytes": budget.requested_bytes,
        "free_bytes": budget.free_bytes,
        "terms": [_term(term) for term in budget.terms],
    }


def _change(change: Change) -> dict[str, Json]:
    return {
        "setting": change.setting,
        "value": change.value,
        "also": dict(change.also),
        "direction": "raise" if change.up else "lower or set",
        "cost": change.cost,
        "says": change.says,
        "verdict": change.verdict.value if change.verdict is not None else None,
        "frees_bytes": change.frees_bytes,
    }


def _fact(seen: Sighting) -> dict[str, Json]:
    return {"line": seen.line, "name": seen.fact.name, "value": seen.fact.value, "details": dict(seen.fact.details), "rank": seen.rank}


def diagnosis_values(found: Diagnosis) -> dict[str, Json]:
    """A diagnosis under schema ``ullage.diagnosis/1``."""
    log = found.log
    return {
        "schema": SCHEMA,
        "found": found.found,
        "ended": _evidence(found.ended) if found.ended is not None else None,
        "engine": log.engine,
        "version": log.version,
        "model": found.model,
        "command": list(found.command),
        "lines": log.lines,
        "phase": found.stage.value,
        "phases": [{"phase": stage.value, "line": line} for stage, line in log.stages],
        "causes": [_cause(cause) for cause in found.causes],
        "budget": _budget(found.budget) if found.budget is not None else None,
        "changes": [_change(change) for change in found.changes],
        "misleading": [_evidence(item) for item in found.misleading],
        "noise": [_evidence(item) for item in found.noise],
        "facts": [_fact(seen) for seen in log.sightings],
        "notes": list(found.notes),
    }
