"""The causes that a log supports, the likeliest first, each with its evidence."""

from collections.abc import Iterator
from typing import Final

from ullage.catalog.traceback_frames import stage_of, term_of
from ullage.domain.cause import Cause, Evidence, Family, Kind, Log, Sighting, Stage
from ullage.domain.ledger import Purpose
from ullage.domain.plan import Limit
from ullage.frozen import replace
from ullage.planning.diagnose_facts import Figures, detail
from ullage.planning.diagnose_meaning import ALLOCATIONS, BY_STAGE, FAMILIES, KINDS, LIMITS, STAGES, SUMMARIES, TERMS, WRAPPERS
from ullage.units import format_bytes

_NEAR = 120  # lines within which two errors tell of one death
_MOST = 5
_ANSWERED = 8  # requests after which a server is under load
_LARGE = 0.85  # of a device: what is in use when loading fills it
# Errors that other failures cause, or that mean little beside a death for want of memory.
_WEAK: Final = frozenset({Kind.WRONG_MODULE, Kind.MISSING_LIBRARY, Kind.DRIVER, Kind.NETWORK, Kind.BUG, Kind.COMMAND})
_MILD: Final = frozenset({Kind.CACHE_PRESSURE, Kind.REDUCED, Kind.REQUEST_TOO_LONG, Kind.SPILL})
_STATED_STAGES: Final = (
    (Stage.SAMPLER, ("sampler warm", "warming up sampler", "sampler warmup")),
    (Stage.CAPTURE, ("graph capture", "cuda graphs", "cuda-graph", "capturing", "capture cuda")),
    (Stage.PROFILE, ("profiling", "profile run", "profile_run", "memory profiling")),
    (Stage.CACHE, ("kv allocation", "kv cache allocation", "allocating kv", "initialize_from_config", "initialize_kv_cache")),
    (Stage.LOAD, ("while loading", "during loading", "at load", "loading weights", "load_model", "loading model", "loading the model")),
    (Stage.UNDER_LOAD, ("concurrency", "under load", "decode")),
    (Stage.FIRST_PROMPT, ("long prompt", "first prompt", "prefill", "generation", "generate", "first token", "inference")),
)


def find_causes(log: Log, figures: Figures, *, fills_budget: bool) -> tuple[Cause, ...]:
    """What the log says and what follows from its figures. Empty when nothing failed."""
    stated = [_as_cause(log, figures, seen, fills_budget=fills_budget) for seen in _errors(log)]
    found = _merged([cause for cause in stated if cause is not None])
    if not any(cause.stated and cause.kind not in _MILD for cause in found):
        found = _merged([*found, *_inferred(log, figures)])
    return tuple(sorted(found, key=_rank(found)))[:_MOST]


def _errors(log: Log) -> Iterator[Sighting]:
    for seen in log.sightings:
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
        return _cause(seen, Kind.NO_ROOM_FOR_CACHE if profiled <= 0 else Kind.REDUCED, Stage.CACHE)
    if name in WRAPPERS:
        return _cause(seen, Kind.HOST, Stage.LOAD)
    if name == "error.max_len_over_model" and log.engine == "transformers":
        return None
    stage = stage_at(log, seen)
    if name in ALLOCATIONS:
        kind, is_sure = _allocation(log, figures, seen, stage)
        if kind is Kind.WORKSPACE and not fills_budget:
            kind = Kind.ACTIVATIONS
        return _cause(seen, kind, stage if stage is not Stage.UNKNOWN else STAGES.get(kind, stage), stated=is_sure)
    kind = KINDS[name]
    if kind is Kind.DEVICE_NOT_FREE and detail(seen.fact, "requested_bytes"):
        kind = Kind.CACHE_ALLOCATION
    return _cause(seen, kind, STAGES.get(kind, stage) if stage in {Stage.UNKNOWN, Stage.START, Stage.PROFILE} else _settled(kind, stage))


def _settled(kind: Kind, stage: Stage) -> Stage:
    """The stage a kind of failure belongs to, whatever came before it in the file."""
    return STAGES[kind] if kind in STAGES and kind not in {Kind.REQUEST_TOO_LONG, Kind.COMMAND} else stage


def _cause(seen: Sighting, kind: Kind, stage: Stage, *, stated: bool = True, says: str = "") -> Cause:
    family = FAMILIES.get(kind, Family.NOT_MEMORY)
    term = TERMS.get(kind)
    if kind in {Kind.WORKSPACE, Kind.ACTIVATIONS}:
        term = term_of(seen.frames) or term
    if kind is Kind.HOST and ("pinned" in seen.text or "KV" in seen.text or "kv cache" in seen.text):
        term = Purpose.KV_CACHE
    return Cause(
        kind=kind,
        family=family,
        stage=stage,
        term=term,
        limit=Limit.WEIGHTS if kind in {Kind.WEIGHTS, Kind.PLACEMENT} else LIMITS.get(family),
        summary=SUMMARIES[kind],
        evidence=(Evidence(line=seen.line, text=seen.text, says=says or _said(seen)),),
        stated=stated,
        lacking_bytes=_lacking(seen),
    )


def _said(seen: Sighting) -> str:
    """An error's figures in words."""
    parts = [
        f"{word} {format_bytes(value)}"
        for word, name in (
            ("asked for", "requested_bytes"),
            ("free", "free_bytes"),
            ("allocated", "allocated_bytes"),
            ("of", "total_bytes"),
            ("needed", "needed_bytes"),
            ("available", "available_bytes"),
            ("share", "budget_bytes"),
            ("others hold", "others_bytes"),
            ("in graphs' pools", "graph_bytes"),
        )
        if (value := detail(seen.fact, name)) is not None
    ]
    where = f"in {seen.frames[-1]}" if seen.frames else ""
    return ", ".join([*parts, *([where] if where else [])]) or seen.fact.name.removeprefix("error.").replace("_", " ")


def _lacking(seen: Sighting) -> int | None:
    """How many bytes were short, where the line holds both sides."""
    for need, have in (("requested_bytes", "free_bytes"), ("needed_bytes", "available_bytes"), ("budget_bytes", "free_bytes")):
        first, second = detail(seen.fact, need), detail(seen.fact, have)
        if first is not None and second is not None and first > second:
            return first - second
    return detail(seen.fact, "requested_bytes") if seen.fact.name in ALLOCATIONS else None


def stage_at(log: Log, seen: Sighting) -> Stage:
    """How far the run was at an error: its traceback, its own words, then the last mark before it."""
    stage = stage_of(seen.frames)
    words = seen.text.lower()
    stage = stage or next((known for known, texts in _STATED_STAGES if any(text in words for text in texts)), None)
    if stage is None:
        before = [known for known, line in log.stages if line < seen.line]
        stage = before[-1] if before else Stage.UNKNOWN
        if stage in {Stage.CACHE, Stage.CAPTURE, Stage.PROFILE} and detail(seen.fact, "graph_bytes"):
            stage = Stage.CAPTURE
    if stage is Stage.FIRST_PROMPT and _is_loaded(log, seen.line):
        return Stage.UNDER_LOAD
    return stage


def _is_loaded(log: Log, line: int) -> bool:
    """Whether several sequences were being served before that line."""
    if log.requests >= _ANSWERED:
        return True
    for seen in log.sightings:
        if seen.line > line:
            break
        if seen.fact.name in {"retracted", "preemptions"} or (
            seen.fact.name == "kv_cache_usage" and (detail(seen.fact, "requests_running") or 0) > 1
        ):
            return True
    return False


def _allocation(log: Log, figures: Figures, seen: Sighting, stage: Stage) -> tuple[Kind, bool]:
    """What an allocation that failed was for, and whether the log says so."""
    follows = next(
        (other for other in log.sightings if 0 <= other.line - seen.line <= _NEAR and other.fact.name in _NAMES_ALLOCATION), None
    )
    if follows is not None:
        return KINDS[follows.fact.name], True
    by_size = _by_size(figures, seen, stage)
    if by_size is not None:
        return by_size
    if stage is not Stage.UNKNOWN and stage is not Stage.START:
        return BY_STAGE[stage], True
    if detail(seen.fact, "graph_bytes"):
        return Kind.GRAPHS, False
    requested, total = detail(seen.fact, "requested_bytes"), figures.total_bytes or detail(seen.fact, "total_bytes")
    held = detail(seen.fact, "allocated_bytes") or detail(seen.fact, "in_use_bytes")
    fills = held and total and requested and held / total > _LARGE and requested < total / 16
    return (Kind.ACTIVATIONS if requested and total and not fills else Kind.WEIGHTS), False


def _by_size(figures: Figures, seen: Sighting, stage: Stage) -> tuple[Kind, bool] | None:
    """What the figures of an allocation alone tell: a tensor larger than the device, or less held than the weights take."""
    requested, total = detail(seen.fact, "requested_bytes"), figures.total_bytes or detail(seen.fact, "total_bytes")
    if requested and total and requested >= total and stage is not Stage.CACHE:
        return Kind.ACTIVATIONS, True  # what grows with a length
    held = detail(seen.fact, "allocated_bytes") or detail(seen.fact, "in_use_bytes")
    if stage in {Stage.UNKNOWN, Stage.LOAD, Stage.START} and held and figures.predicted_weight_bytes:
        if held < 0.97 * figures.predicted_weight_bytes:
            return Kind.WEIGHTS, stage is Stage.LOAD
        if stage is not Stage.LOAD:
            return Kind.ACTIVATIONS, False
    return None


_NAMES_ALLOCATION: Final = frozenset(
    {
        "error.sampler_warmup",
        "error.graph_capture",
        "error.graph_oom",
        "error.kv_allocation",
        "error.compute_allocation",
        "error.state_allocation",
    }
)


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
            evidence=(*known.evidence, *cause.evidence)[:_MOST],
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


def _inferred(log: Log, figures: Figures) -> Iterator[Cause]:
    """What figures alone show, where no line says what went wrong."""
    last = log.sightings[-1] if log.sightings else None
    if last is None:
        return
    for seen in log.sightings:
        value = seen.fact.value
        size = value if isinstance(value, int) and not isinstance(value, bool) else None
        if seen.fact.name == "available_kv_bytes" and size is not None and size <= 0:
            yield _cause(seen, Kind.NO_ROOM_FOR_CACHE, Stage.CACHE, stated=False, says=f"{format_bytes(size)} for the cache")
        if seen.fact.name in {"kv_blocks", "kv_tokens"} and size is not None and size <= 0:
            yield _cause(seen, Kind.NO_ROOM_FOR_CACHE, Stage.CACHE, stated=False, says=f"{size} blocks")
    failed = next((seen for seen in log.sightings if seen.fact.name in WRAPPERS), None)
    available = next((seen for seen in reversed(log.sightings) if seen.fact.name == "available_kv_bytes"), None)
    positive = available is not None and isinstance(available.fact.value, int) and available.fact.value > 0
    if failed is not None and available is not None and positive:
        yield _cause(available, Kind.CACHE_TOO_SMALL, Stage.CACHE, stated=False, says="the start fails right after the cache is sized")
    yield from _shrunk(log, figures)


def _shrunk(log: Log, figures: Figures) -> Iterator[Cause]:
    """An engine that fitted the request to the device, or placed more on it than it has."""
    names = {seen.fact.name: seen for seen in log.sightings}
    for name in ("fitted_context_tokens", "fit_shortfall_bytes", "fitted_layers"):
        if name in names:
            yield _cause(names[name], Kind.REDUCED, Stage.LOAD, stated=False)
            return
    projected = names.get("projected_bytes")
    if projected is not None and (detail(projected.fact, "available_bytes") or 0) < int(projected.fact.value):
        yield _cause(projected, Kind.REDUCED, Stage.LOAD, stated=False)
        return
    for seen in log.sightings:
        own = detail(seen.fact, "self_bytes")
        if seen.fact.name == "total_bytes" and own is not None and isinstance(seen.fact.value, int) and own > seen.fact.value:
            says = f"{format_bytes(own)} placed on a device of {format_bytes(seen.fact.value)}"
            yield _cause(seen, Kind.SPILL, Stage.LOAD, stated=False, says=says)
            return
    share = figures.unused_share_bytes
    loaded = names.get("weights_bytes")
    if loaded is not None and share is not None and share <= 0:
        yield _cause(loaded, Kind.NO_ROOM_FOR_CACHE, Stage.CACHE, stated=False, says="the weights fill the engine's share")
