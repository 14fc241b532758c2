"""What was free when an allocation failed, in a log that tells what was free at the start and what was taken since."""

from typing import Final

from ullage.domain.cause import Log, Sighting
from ullage.frozen import replace
from ullage.planning.diagnose_facts import detail, text_of

_AT_START: Final = "device_free_bytes"
_TAKEN: Final = frozenset({"weights_bytes", "kv_bytes", "state_bytes", "activation_bytes", "output_bytes"})


def with_free(log: Log) -> Log:
    """The log, whose errors say what was free where they do not themselves."""
    if not any(seen.fact.name == _AT_START for seen in log.sightings):
        return log
    return replace(log, sightings=tuple(_with_free(log, seen) for seen in log.sightings))


def _with_free(log: Log, error: Sighting) -> Sighting:
    fact = error.fact
    device = text_of(fact, "device")
    if not fact.is_error or not device or detail(fact, "requested_bytes") is None or detail(fact, "free_bytes") is not None:
        return error
    there = [seen for seen in log.sightings if seen.line < error.line and _is_same(text_of(seen.fact, "device"), device)]
    start = next((seen for seen in reversed(there) if seen.fact.name == _AT_START), None)
    if start is None:
        return error
    taken = sum(detail(seen.fact, seen.fact.name) or 0 for seen in there if seen.line > start.line and seen.fact.name in _TAKEN)
    free = (detail(start.fact, _AT_START) or 0) - taken
    return replace(error, fact=replace(fact, details=(*fact.details, ("free_bytes", free)))) if free >= 0 else error


def _is_same(name: str, other: str) -> bool:
    """Whether two words name one device: its number alone, or the number behind its kind."""
    if name.isdigit() or other.isdigit():
        return bool(name) and _number(name) == _number(other)
    return name == other


def _number(name: str) -> str:
    return name[len(name.rstrip("0123456789")) :]
