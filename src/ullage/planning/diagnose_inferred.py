"""Causes that figures alone show, where no line says what went wrong."""

import re
from collections.abc import Iterator

from ullage.domain.cause import Cause, Kind, Log, Sighting, Stage
from ullage.planning.diagnose_evidence import cause_of
from ullage.planning.diagnose_facts import Figures, detail
from ullage.planning.diagnose_live import FULL
from ullage.planning.diagnose_meaning import KINDS, WRAPPERS
from ullage.units import format_bytes

_CONTEXT = re.compile(r"failed to (?:create|initialize) (?:the |llama_)?context")
_SMALL = 0.12  # of a device: what is left when weights fill it


def inferred(log: Log, figures: Figures) -> Iterator[Cause]:
    """What figures alone show, where no line says what went wrong."""
    last = log.sightings[-1] if log.sightings else None
    if last is None:
        return
    for seen in log.sightings:
        value = seen.fact.value
        size = value if isinstance(value, int) and not isinstance(value, bool) else None
        if seen.fact.name == "available_kv_bytes" and size is not None and size <= 0:
            yield cause_of(seen, Kind.NO_ROOM_FOR_CACHE, Stage.CACHE, stated=False, says=f"{format_bytes(size)} for the cache")
        if seen.fact.name in {"kv_blocks", "kv_tokens"} and size is not None and size <= 0:
            yield cause_of(seen, Kind.NO_ROOM_FOR_CACHE, Stage.CACHE, stated=False, says=f"{size} blocks")
    failed = next((seen for seen in log.sightings if seen.fact.name in WRAPPERS), None)
    available = next((seen for seen in reversed(log.sightings) if seen.fact.name == "available_kv_bytes"), None)
    positive = available is not None and isinstance(available.fact.value, int) and available.fact.value > 0
    sized = next((seen for seen in log.sightings if seen.fact.name == "kv_tokens" and detail(seen.fact, "kv_tokens")), None)
    if failed is not None and available is None and sized is not None:
        yield cause_of(sized, Kind.CACHE_ALLOCATION, Stage.CACHE, stated=False, says="the start fails after the cache is sized")
    if failed is not None and available is not None and positive:
        yield cause_of(available, Kind.CACHE_TOO_SMALL, Stage.CACHE, stated=False, says="the start fails right after the cache is sized")
    unmade = next((seen for seen in log.sightings if seen.fact.name in WRAPPERS and _CONTEXT.search(seen.text)), None)
    if unmade is not None and available is None and sized is None:
        says = "no context could be made: its cache or its buffers"
        yield cause_of(unmade, Kind.CACHE_ALLOCATION, Stage.CACHE, stated=False, says=says)
    yield from _shrunk(log, figures)
    full = next((seen for seen in log.sightings if seen.fact.name == "kv_cache_usage" and _is_full(seen)), None)
    if full is not None and not any(KINDS.get(seen.fact.name) is Kind.CACHE_PRESSURE for seen in log.sightings):
        yield cause_of(full, Kind.CACHE_PRESSURE, Stage.UNDER_LOAD, stated=False, says="the cache is full, and requests wait")


def _is_full(seen: Sighting) -> bool:
    return isinstance(seen.fact.value, float) and seen.fact.value >= FULL and bool(detail(seen.fact, "requests_waiting"))


def _shrunk(log: Log, figures: Figures) -> Iterator[Cause]:
    """An engine that fitted the request to the device, or placed more on it than it has."""
    names = {seen.fact.name: seen for seen in log.sightings}
    for name in ("fitted_context_tokens", "fit_shortfall_bytes", "fitted_layers", "fitted_step_tokens"):
        if name in names:
            yield cause_of(names[name], Kind.REDUCED, Stage.LOAD, stated=False)
            return
    projected = names.get("projected_bytes")
    if projected is not None and (detail(projected.fact, "available_bytes") or 0) < int(projected.fact.value):
        yield cause_of(projected, Kind.REDUCED, Stage.LOAD, stated=False)
        return
    for seen in log.sightings:
        own = detail(seen.fact, "self_bytes")
        if seen.fact.name == "total_bytes" and own is not None and isinstance(seen.fact.value, int) and own > seen.fact.value:
            free = detail(seen.fact, "free_bytes")
            if free is not None and 0 <= seen.fact.value - free < own // 2:  # most of it is not there yet: a projection
                says = f"{format_bytes(own)} would lie on a device with {format_bytes(free)} free"
                yield cause_of(seen, Kind.REDUCED, Stage.LOAD, stated=False, says=says)
                return
            says = f"{format_bytes(own)} placed on a device of {format_bytes(seen.fact.value)}"
            yield cause_of(seen, Kind.SPILL, Stage.LOAD, stated=False, says=says)
            return
    yield from _filled(log, figures, names)


def _filled(log: Log, figures: Figures, names: dict[str, Sighting]) -> Iterator[Cause]:
    """Weights after which too little is left, in a log that ends there."""
    free = [size for seen in log.sightings if (size := detail(seen.fact, "free_bytes")) is not None and not seen.fact.is_error]
    ends = not {"kv_tokens", "kv_bytes", "kv_blocks", "available_kv_bytes", "free_after_pool_bytes"} & set(names)
    if len(free) > 1 and ends and free[-1] < _SMALL * free[0]:
        says = f"{format_bytes(free[-1])} of {format_bytes(free[0])} are left after the weights"
        last = next(seen for seen in reversed(log.sightings) if detail(seen.fact, "free_bytes") is not None)
        yield cause_of(last, Kind.NO_ROOM_FOR_CACHE, Stage.CACHE, stated=False, says=says)
        return
    share = figures.unused_share_bytes
    loaded = names.get("weights_bytes")
    if loaded is not None and share is not None and share <= 0:
        yield cause_of(loaded, Kind.NO_ROOM_FOR_CACHE, Stage.CACHE, stated=False, says="the weights fill the engine's share")
