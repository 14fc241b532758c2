"""What a running engine says of itself, as the facts of a log without lines."""

from ullage.domain.cause import Log, Sighting, Stage
from ullage.domain.facts import Fact
from ullage.domain.reading import EngineReading

FULL = 0.95  # of the pool; with requests waiting, sequences are about to be put back
_USAGE = ("kv_cache_usage", "kv_usage")
_WAITING = ("requests_waiting", "waiting")


def log_of(reading: EngineReading) -> Log:
    """The metrics of an engine that answers; a full pool with requests waiting counts as one that is too full."""
    facts = reading.facts or ()
    seen = [Sighting(line=0, fact=fact, text=f"{fact.name} = {fact.value} now") for fact in facts if not _is_nothing(fact)]
    usage, waiting = _largest(facts, _USAGE), _largest(facts, _WAITING)
    if usage >= FULL and waiting > 0:
        full = Fact(name="error.pool_full", value=usage)
        seen.append(Sighting(line=0, fact=full, text=f"{usage:.0%} of the cache in use and {waiting:.0f} requests waiting"))
    return Log(lines=0, engine=reading.engine, version=None, sightings=tuple(seen), stages=((Stage.UNDER_LOAD, 0),))


def _is_nothing(fact: Fact) -> bool:
    """A counter of sequences put back that counted none."""
    return fact.name in {"preemptions", "retracted"} and not fact.value


def _largest(facts: tuple[Fact, ...], names: tuple[str, ...]) -> float:
    return max((float(fact.value) for fact in facts if fact.name in names and isinstance(fact.value, int | float)), default=0.0)
