"""The causes that a log supports, the likeliest first, each with its evidence."""

from collections.abc import Iterator
from typing import Final

from ullage.domain.cause import Cause, Kind, Log, Sighting, Stage
from ullage.frozen import replace
from ullage.planning.diagnose_evidence import cause_of
from ullage.planning.diagnose_facts import Figures, detail
from ullage.planning.diagnose_inferred import inferred
from ullage.planning.diagnose_meaning import ALLOCATIONS, KINDS, STAGES, WRAPPERS
from ullage.planning.diagnose_stage import allocation_of, stage_at

_MOST = 5
# Errors that other failures cause, or that mean little beside a death for want of memory.
_WEAK: Final = frozenset({Kind.WRONG_MODULE, Kind.MISSING_LIBRARY, Kind.DRIVER, Kind.NETWORK, Kind.BUG, Kind.COMMAND})
_MILD: Final = frozenset({Kind.CACHE_PRESSURE, Kind.REDUCED, Kind.REQUEST_TOO_LONG, Kind.SPILL})


def find_causes(log: Log, figures: Figures, *, fills_budget: bool) -> tuple[Cause, ...]:
    """What the log says and what follows from its figures. Empty when nothing failed."""
    stated = [_as_cause(log, figures, seen, fills_budget=fills_budget) for seen in _errors(log)]
    found = _merged([cause for cause in stated if cause is not None])
    if not any(cause.stated and cause.kind not in _MILD for cause in found):
        found = _merged([*found, *inferred(log, figures)])
    return tuple(sorted(found, key=_rank(found)))[:_MOST]


def _errors(log: Log) -> Iterator[Sighting]:
    told = {seen.line for seen in log.sightings if seen.fact.name in KINDS}
    for seen in log.sightings:
        if seen.fact.name in ALLOCATIONS and seen.line in told:
            continue  # the line says better what it is
        if (
            seen.fact.name in KINDS
            or seen.fact.name in ALLOCATIONS
            or seen.fact.name in {"error.total_tokens", "error.kv_over_profiled"}
            or (seen.fact.name in WRAPPERS and detail(seen.fact, "needed_bytes") is not None)
        ):
            yield seen


def _as_cause(log: Log, figures: Figures, seen: Sighting, *, fills_budget: bool) -> Cause | None:
    """One error as a cause, or None when it is a warning only."""
    name = seen.fact.name
    if name in {"error.total_tokens", "error.kv_over_profiled"}:
        profiled = detail(seen.fact, "profiled_tokens") or detail(seen.fact, "kv_tokens") or 0
        return cause_of(seen, Kind.NO_ROOM_FOR_CACHE if profiled <= 0 else Kind.REDUCED, Stage.CACHE)
    if name in WRAPPERS:
        return cause_of(seen, Kind.HOST, Stage.LOAD)
    if name == "error.max_len_over_model" and log.engine == "transformers":
        return None
    stage = stage_at(log, seen)
    if name in ALLOCATIONS:
        kind, is_sure = allocation_of(log, figures, seen, stage)
        if kind is Kind.WORKSPACE and not fills_budget:
            kind = Kind.ACTIVATIONS
        return cause_of(seen, kind, stage if stage is not Stage.UNKNOWN else STAGES.get(kind, stage), stated=is_sure)
    kind = KINDS[name]
    if kind is Kind.DEVICE_NOT_FREE and detail(seen.fact, "requested_bytes"):
        kind = Kind.CACHE_ALLOCATION
    return cause_of(seen, kind, STAGES.get(kind, stage) if stage in {Stage.UNKNOWN, Stage.START, Stage.PROFILE} else _settled(kind, stage))


def _settled(kind: Kind, stage: Stage) -> Stage:
    """The stage a kind of failure belongs to, whatever came before it in the file."""
    return STAGES[kind] if kind in STAGES and kind not in {Kind.REQUEST_TOO_LONG, Kind.COMMAND} else stage


def _merged(causes: list[Cause]) -> list[Cause]:
    """One cause of each kind, with all its evidence; what one of them states is stated."""
    by_kind: dict[Kind, Cause] = {}
    for cause in causes:
        known = by_kind.get(cause.kind)
        if known is None:
            by_kind[cause.kind] = cause
            continue
        by_kind[cause.kind] = replace(
            known,
            evidence=tuple({item.line: item for item in (*known.evidence, *cause.evidence)}.values())[:_MOST],
            stated=known.stated or cause.stated,
            stage=known.stage if known.stage is not Stage.UNKNOWN else cause.stage,
            lacking_bytes=known.lacking_bytes if known.lacking_bytes is not None else cause.lacking_bytes,
        )
    return list(by_kind.values())


def _rank(causes: list[Cause]) -> "_Ranking":
    return _Ranking(causes)


class _Ranking:
    """The order of causes: deaths for want of memory before what they bring about, then the first in the log."""

    def __init__(self, causes: list[Cause]) -> None:
        self._deaths = [cause for cause in causes if cause.kind not in _WEAK and cause.kind not in _MILD]

    def __call__(self, cause: Cause) -> tuple[int, int]:
        return (self._weight(cause), cause.evidence[0].line)

    def _weight(self, cause: Cause) -> int:
        if cause.stage is Stage.SHUTDOWN:
            return 4
        if cause.kind in _MILD:
            return 2
        if cause.kind in _WEAK:
            return 1 if self._deaths else 0
        earlier = [other for other in self._deaths if other.evidence[0].line < cause.evidence[0].line]
        if cause.kind is Kind.HOST and earlier:  # a process that is ended because another died
            return 3
        return 0
