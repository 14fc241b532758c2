"""The causes that a log supports, the likeliest first, each with its evidence."""

import re
from collections.abc import Iterator
from typing import Final

from ullage.catalog.death_messages import read_death
from ullage.catalog.traceback_frames import takes_slots
from ullage.domain.cause import Cause, Kind, Log, Sighting, Stage
from ullage.frozen import replace
from ullage.planning.diagnose_evidence import cause_of
from ullage.planning.diagnose_facts import Figures, detail
from ullage.planning.diagnose_inferred import inferred
from ullage.planning.diagnose_meaning import ALLOCATIONS, KINDS, MAY_BE_REDUCED, STAGES, SUMMARIES, TERMS, WRAPPERS
from ullage.planning.diagnose_stage import NAMES_ALLOCATION, NEAR, allocation_of, names_after, passed_before, stage_at

_MOST = 5
# Errors that other failures cause, or that mean little beside a death for want of memory.
_WEAK: Final = frozenset({Kind.WRONG_MODULE, Kind.MISSING_LIBRARY, Kind.DRIVER, Kind.NETWORK, Kind.BUG, Kind.COMMAND})
# Steps whose failure can have another reason, which they then say; what an allocation that failed can have been for.
_WITH_REASON: Final = frozenset({Kind.GRAPHS, Kind.SAMPLER})
_OPEN: Final = frozenset({Kind.WEIGHTS, Kind.WORKSPACE, Kind.ACTIVATIONS, Kind.GRAPHS})
_MEMORY: Final = re.compile(r"memory|alloc|\bOOM|OUT_OF_", re.IGNORECASE)
_NOT_MEMORY: Final = re.compile(r"illegal memory|memory access fault")
_LEAST_REASON = 4
_NOTHING: Final = "NoneType"
_MILD: Final = frozenset({Kind.CACHE_PRESSURE, Kind.REDUCED, Kind.REQUEST_TOO_LONG, Kind.SPILL})


def find_causes(log: Log, figures: Figures, *, fills_budget: bool) -> tuple[Cause, ...]:
    """What the log says and what follows from its figures. Empty when nothing failed."""
    stated = [_as_cause(log, figures, seen, fills_budget=fills_budget) for seen in _errors(log)]
    found = _merged([cause for cause in stated if cause is not None])
    found = _merged([*found, *_others(found, fills_budget=fills_budget)])
    if not any(cause.stated and cause.kind not in _MILD for cause in found):
        found = _merged([*found, *inferred(log, figures)])
    return tuple(sorted(found, key=_rank(found)))[:_MOST]


def _errors(log: Log) -> Iterator[Sighting]:
    told = {seen.line for seen in log.sightings if seen.fact.name in KINDS}
    hosts = [seen.line for seen in log.sightings if seen.fact.name == "error.host_oom"]
    for seen in log.sightings:
        if seen.fact.name in ALLOCATIONS and seen.line in told:
            continue  # the line says better what it is
        if seen.fact.name in NAMES_ALLOCATION and any(0 <= seen.line - line <= NEAR for line in hosts):
            continue  # it says what the host's memory was for
        if (
            seen.fact.name in KINDS
            or seen.fact.name in ALLOCATIONS
            or (seen.fact.name in WRAPPERS and detail(seen.fact, "needed_bytes") is not None)
        ):
            yield seen


def _as_cause(log: Log, figures: Figures, seen: Sighting, *, fills_budget: bool) -> Cause | None:
    """One error as a cause, or None when it is a warning only."""
    name = seen.fact.name
    if name in MAY_BE_REDUCED:
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
    return _told(log, seen, KINDS[name], stage)


def _told(log: Log, seen: Sighting, kind: Kind, stage: Stage) -> Cause:
    """An error whose name tells what it is of."""
    name = seen.fact.name
    if kind is Kind.BUG and _NOTHING in seen.text and takes_slots(seen.frames):
        return cause_of(seen, Kind.CACHE_PRESSURE, Stage.UNDER_LOAD, stated=False, says="no place was left in the pool")
    if kind is Kind.COMMAND:  # whose words name settings, and not what the run did
        return cause_of(seen, kind, passed_before(log, seen))
    if kind in _WITH_REASON and (other := _reason(seen.text)) is not None:
        return cause_of(seen, other, stage)
    if name == "error.host_oom" and (named := names_after(log, seen)) is not None:
        return cause_of(seen, kind, STAGES.get(KINDS[named.fact.name], Stage.PROFILE))
    if name == "error.host_killed" and _MEMORY.search(seen.text) is None:
        return cause_of(seen, kind, stage, stated=False, says="killed from outside, as is done when memory runs out")
    if kind is Kind.DEVICE_NOT_FREE and detail(seen.fact, "requested_bytes"):
        kind = Kind.CACHE_ALLOCATION
    return cause_of(seen, kind, STAGES.get(kind, stage) if stage in {Stage.UNKNOWN, Stage.START, Stage.PROFILE} else _settled(kind, stage))


def _reason(text: str) -> Kind | None:
    """What is no want of memory, where a step says why it failed; None where it does not, or where it was memory."""
    _, failed, reason = text.partition("ailed: ")
    if not failed or len(reason.strip()) < _LEAST_REASON or _MEMORY.search(_NOT_MEMORY.sub("", reason)):
        return None
    death = read_death(reason)
    return KINDS.get(death.name, Kind.BUG) if death is not None else Kind.BUG


def _others(found: list[Cause], *, fills_budget: bool) -> list[Cause]:
    """The other explanations of a failed allocation, where nothing tells how far the run was."""
    deaths = [cause for cause in found if cause.kind not in _WEAK and cause.kind not in _MILD]
    first = deaths[0] if len(deaths) == 1 else None
    if first is None or first.stated or first.kind not in _OPEN:
        return []
    kinds = (Kind.WEIGHTS, Kind.WORKSPACE, Kind.GRAPHS) if fills_budget else (Kind.WEIGHTS, Kind.ACTIVATIONS)
    says = "the log does not tell how far the run was"
    evidence = tuple(replace(item, says=says) for item in first.evidence[:1])
    return [
        replace(first, kind=kind, stage=STAGES.get(kind, first.stage), term=TERMS.get(kind), summary=SUMMARIES[kind], evidence=evidence)
        for kind in kinds
        if kind is not first.kind and not (first.kind is Kind.ACTIVATIONS and kind is Kind.WEIGHTS and fills_budget)
    ]


def _settled(kind: Kind, stage: Stage) -> Stage:
    """The stage a kind of failure belongs to, whatever came before it in the file."""
    return STAGES[kind] if kind in STAGES and kind is not Kind.REQUEST_TOO_LONG else stage


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
            term=known.term if known.stage is not Stage.UNKNOWN else cause.term,
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
        if not cause.stated and any(other.stated for other in self._deaths):
            return 1
        earlier = [other for other in self._deaths if other.evidence[0].line < cause.evidence[0].line]
        if cause.kind is Kind.HOST and earlier:  # a process that is ended because another died
            return 3
        return 0
