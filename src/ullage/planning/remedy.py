"""Single changes that would make a case fit, each planned again, ranked by what they lead to and what they cost."""

from collections import Counter
from collections.abc import Iterator, Sequence

from ullage.domain.case import Value
from ullage.domain.cause import Cause, Family, Stage
from ullage.domain.engine import Engine
from ullage.domain.ledger import Phase, Purpose
from ullage.domain.machine import HOST
from ullage.domain.plan import Lever, Limit, Remedy, Verdict
from ullage.errors import UllageError
from ullage.planning.change import apply_lever
from ullage.planning.fit import Outcome, evaluate
from ullage.units import format_bytes

MOST = 8
Ranked = Sequence[tuple[Remedy, Lever]]
_MOST_NAMED = 3


def remedies(engine: Engine, outcome: Outcome) -> tuple[Remedy, ...]:
    """The smallest value of each lever that leads to a better verdict, best first. Empty when the case fits.

    What frees nothing where it is short and is tight all the same only moves the figures about: it is left out.
    """
    return helping(ranked(engine, outcome), outcome)


def helping(found: Ranked, outcome: Outcome) -> tuple[Remedy, ...]:
    """Those of the ranked changes that lead to a better verdict."""
    return tuple(remedy for remedy, _ in found if _helps(remedy, outcome))[:MOST]


def _helps(remedy: Remedy, outcome: Outcome) -> bool:
    if remedy.verdict is Verdict.TIGHT and not remedy.frees_bytes:
        return False
    return remedy.verdict.rank < outcome.verdict.rank and remedy.verdict in {Verdict.FITS, Verdict.TIGHT}


def failed_attempts(engine: Engine, found: Ranked, outcome: Outcome) -> tuple[str, ...]:
    """Levers that relieve what binds and still do not reach, each with how far it gets."""
    lines = []
    for remedy, lever in found:
        if remedy.verdict in {Verdict.FITS, Verdict.TIGHT} or lever.cost_rank > 1 or outcome.limit is Limit.START:
            continue
        (name, value), *_ = remedy.changes
        seen = evaluate(engine, remedy.case)
        lines.append(f"{name} {value} alone does not help: {seen.binding}")
    return tuple(lines)


def why_nothing_helps(found: Ranked, outcome: Outcome) -> tuple[str, ...]:
    """What fills the device that is too small, and the change that frees most; nothing where the engine's own check refuses."""
    over = [seen for seen in outcome.devices if seen.verdict is Verdict.DOES_NOT_FIT]
    if not over:
        return ()
    worst = max(over, key=lambda seen: seen.peak.expected / max(1, seen.total_bytes))
    phase = max(Phase, key=lambda phase: outcome.ledger.at(worst.device, phase).expected)
    sizes: Counter[str] = Counter()
    for entry in outcome.ledger.on(worst.device):
        if entry.phase in {phase, Phase.RESIDENT}:
            sizes[entry.purpose.value] += entry.amount.expected
    held = ", ".join(f"{name.replace('_', ' ')} {format_bytes(nbytes)}" for name, nbytes in sizes.most_common(_MOST_NAMED) if nbytes)
    said = f"no single change makes it fit: {worst.device} has {format_bytes(worst.total_bytes)}, and the largest parts are {held}"
    freeing = [remedy for remedy, _ in found if remedy.frees_bytes > 0]
    if not freeing:
        return (f"{said}; no setting of the engine makes them smaller",)
    most = max(freeing, key=lambda remedy: remedy.frees_bytes)
    changes = ", ".join(f"{name}={value}" for name, value in most.changes)
    return (f"{said}; what frees most, {changes}, frees {format_bytes(most.frees_bytes)}",)


def ranked(engine: Engine, outcome: Outcome) -> Ranked:
    """The best value of each lever that relieves what binds, the best first. Empty when the case fits."""
    if outcome.verdict is Verdict.FITS or outcome.limit is None:
        return []
    found = [(remedy, lever) for lever in _relevant(engine, outcome) for remedy in _best(engine, outcome, lever)]
    return sorted(found, key=lambda pair: (pair[0].verdict.rank, pair[1].cost_rank, -pair[0].frees_bytes))


def _relevant(engine: Engine, outcome: Outcome) -> Iterator[Lever]:
    """Only levers for what binds: a cache that is too small and a workspace that is too small need opposite changes."""
    limit = outcome.limit
    for lever in engine.levers(outcome.case):
        if limit in lever.relieves or (limit is Limit.WEIGHTS and Limit.CACHE in lever.relieves and lever.setting == "tensor"):
            yield lever


def planned(engine: Engine, outcome: Outcome, lever: Lever, *, last: int | None = None) -> Iterator[tuple[Value, Outcome]]:
    """Each value of a lever, or the last few, with the case that it leads to; what the engine's rules do not know is passed over."""
    for value in lever.values[-last:] if last else lever.values:
        try:
            yield value, evaluate(engine, apply_lever(outcome.asked, lever, value, length_setting=engine.profile.length_setting))
        except UllageError:
            continue


def remedy_of(lever: Lever, value: Value, after: Outcome, frees_bytes: int) -> Remedy:
    """One value of a lever, with what goes along with it."""
    also = tuple((name, other) for name, other in lever.also if other is not None)
    return Remedy(
        changes=((lever.setting, value), *also), frees_bytes=frees_bytes, cost=lever.cost, verdict=after.verdict, case=after.asked
    )


def _best(engine: Engine, outcome: Outcome, lever: Lever) -> Iterator[Remedy]:
    """The first value that fits; else the first that is tight; else the last tried, to show that it does not help."""
    best: tuple[Value, Outcome] | None = None
    for value, seen in planned(engine, outcome, lever):
        if best is None or seen.verdict.rank < best[1].verdict.rank or _is_failure(best[1]):
            best = (value, seen)
        if seen.verdict is Verdict.FITS:
            break
    if best is None:
        return
    value, seen = best
    yield remedy_of(lever, value, seen, freed_bytes(outcome, seen))


def _is_failure(outcome: Outcome) -> bool:
    return outcome.verdict in {Verdict.DOES_NOT_FIT, Verdict.REFUSED}


def reserved_bytes(outcome: Outcome) -> int:
    """What lies in host memory once the cache is there, with all that its pool may grow to."""
    hosts = {HOST, *(device.id for device in outcome.case.machine.devices if device.kind == "cpu")}
    return max((outcome.ledger.at(device, Phase.RESIDENT).high for device in hosts), default=0)


def pool_bytes(outcome: Outcome) -> int:
    """The most of it that is the cache's."""
    return max(
        (outcome.ledger.of(device, Purpose.KV_CACHE).high for device in {entry.device for entry in outcome.ledger.entries}), default=0
    )


def is_reserving(cause: Cause) -> bool:
    """Whether host memory was refused to the whole cache, which is asked for in pieces: one says little of what was missing."""
    return cause.family is Family.HOST and cause.stage is Stage.CACHE and cause.term is Purpose.KV_CACHE


def cache_gained(before: Outcome, after: Outcome) -> int:
    """Bytes more that the cache has, and those less that are needed of it."""
    more = after.capacity.kv_cache_bytes.expected - before.capacity.kv_cache_bytes.expected
    return max(0, more) + max(0, before.capacity.needed_bytes - after.capacity.needed_bytes)


def freed_bytes(before: Outcome, after: Outcome) -> int:
    """Bytes gained on the device that binds: more cache or less need of it, or a lower peak."""
    if before.limit in {Limit.CACHE, Limit.START}:
        return cache_gained(before, after)
    if before.limit is Limit.HOST:
        return max(0, before.ledger.peak(HOST).expected - after.ledger.peak(HOST).expected)
    return max(0, before.peak_bytes - after.peak_bytes)
