"""One look at a running engine: what was promised and what is there, side by side, with what may be wrong."""

from collections.abc import Iterable

from ullage.domain.facts import Fact
from ullage.domain.machine import HOST
from ullage.domain.reading import DeviceReading, HostReading, Moment
from ullage.frozen import replace
from ullage.planning.alarms import alarms
from ullage.planning.drift import judge_drift
from ullage.planning.promise import DevicePromise, Part, Promise
from ullage.planning.ranks import rank_of
from ullage.planning.watched import DeviceState, Point, Pool, Row, Watched
from ullage.planning.when_full import forecasts

LONGEST_HISTORY = 720
_WEIGHTS = frozenset({"weights_bytes", "seen.weights"})  # as an engine's log has it, and as its page has
_OF_ALL = frozenset({"seen.weights"})  # on all devices together, where no rank is named
_CACHE = frozenset({"kv_bytes"})


def observe(promise: Promise | None, moment: Moment, history: tuple[Point, ...] = (), *, longest: int = LONGEST_HISTORY) -> Watched:
    """This moment against the promise and the moments before it; the history that comes back has at most ``longest`` points."""
    facts = moment.engine.facts if moment.engine is not None else None
    pool = pool_of(facts, promise, moment.engine.queued if moment.engine is not None else None)
    devices = _devices(promise, moment, pool, facts or ())
    points = (*history, _point(moment, pool, devices))[-longest:]
    seen = Watched(moment=moment, promise=promise, devices=devices, pool=pool, forecasts=(), alarms=(), history=points)
    return replace(seen, forecasts=forecasts(seen), alarms=alarms(seen))


def pool_of(facts: tuple[Fact, ...] | None, promise: Promise | None, queued: int | None = None) -> Pool | None:
    """The cache as the engine counts it, and who waits there or in front of it; None where nothing is told and nothing was promised."""
    promised = promise.kv_tokens if promise is not None else None
    found = facts or ()
    usage, inside = _numbers(found, "kv_cache_usage"), _sum(found, "requests_waiting")
    pool = Pool(
        promised_tokens=promised,
        tokens=_tokens(found),
        usage=max(usage) if usage else None,
        running=_sum(found, "requests_running"),
        waiting=None if inside is None and queued is None else (inside or 0) + (queued or 0),
        preemptions=_sum(found, "preemptions"),
        held=max(_numbers(found, "kv_cache_held"), default=None),
        queued=queued,
    )
    told = (pool.tokens, pool.usage, pool.running, pool.waiting, pool.preemptions, promised)
    return None if all(value is None for value in told) else pool


def _numbers(facts: Iterable[Fact], name: str) -> list[float]:
    return [fact.value for fact in facts if fact.name == name and not isinstance(fact.value, str)]


def _sum(facts: Iterable[Fact], name: str) -> int | None:
    found = _numbers(facts, name)
    return round(sum(found)) if found else None


def _tokens(facts: tuple[Fact, ...]) -> int | None:
    """The pool's size: of the rank that has least, as every rank plans for itself."""
    for name in ("kv_tokens", "max_total_tokens"):
        found = _numbers(facts, name)
        if found:
            return round(min(found))
    blocks, size = _numbers(facts, "kv_blocks"), _numbers(facts, "block_tokens")
    return round(min(blocks) * size[0]) if blocks and size else None


def _devices(promise: Promise | None, moment: Moment, pool: Pool | None, facts: tuple[Fact, ...]) -> tuple[DeviceState, ...]:
    host = moment.host
    processes = host.processes if host is not None else None
    pids = frozenset(process.pid for process in processes or ())
    used = {one.device for one in promise.devices} if promise is not None else {reading.device for reading in moment.devices}
    is_processor, alone = used <= {HOST}, len(used - {HOST}) <= 1
    facts = tuple(fact for fact in facts if alone or rank_of(fact) is not None or fact.name not in _OF_ALL)
    found = [_accelerator(reading, promise, pids, pool, () if is_processor else facts) for reading in moment.devices]
    known = {state.device for state in found} | {HOST}
    missing = [one for one in (promise.devices if promise is not None else ()) if one.device not in known]
    found += [_state(one, _unread(one, moment.at), None, pool, facts) for one in missing]
    if host is not None:
        found.append(_host(host, promise.on(HOST) if promise is not None else None, pool, facts if is_processor else ()))
    return tuple(found)


def _accelerator(
    reading: DeviceReading, promise: Promise | None, pids: frozenset[int], pool: Pool | None, facts: tuple[Fact, ...]
) -> DeviceState:
    promised = promise.on(reading.device) if promise is not None else None
    return _state(promised, reading, reading.held_by(pids) if pids else None, pool, facts)


def _unread(promised: DevicePromise, at: float) -> DeviceReading:
    """A device of the plan that no driver of this machine answers for."""
    return DeviceReading(device=promised.device, kind="", name=promised.name, at=at)


def _state(
    promised: DevicePromise | None, reading: DeviceReading, engine: int | None, pool: Pool | None, facts: tuple[Fact, ...]
) -> DeviceState:
    weights, cache = _on_device(facts, _WEIGHTS, reading.device), _cache_bytes(facts, reading.device, promised, pool)
    rest = None if engine is None or weights is None or cache is None else engine - weights - cache
    others = None if engine is None or reading.used_bytes is None else max(0, reading.used_bytes - engine)
    seen = {Part.WEIGHTS: weights, Part.CACHE: cache, Part.REST: rest, Part.OTHERS: others}
    return DeviceState(
        device=reading.device,
        name=reading.name,
        total_bytes=reading.total_bytes,
        used_bytes=reading.used_bytes,
        free_bytes=reading.free_bytes,
        utilisation=reading.utilisation,
        engine_bytes=engine,
        peak=promised.peak if promised is not None else None,
        drift=judge_drift(promised.peak, engine) if promised is not None and engine is not None else None,
        rows=tuple(_row(part, promised, seen[part]) for part in Part if seen[part] is not None or _promises(promised, part)),
    )


def _promises(promised: DevicePromise | None, part: Part) -> bool:
    return promised is not None and promised.of(part) is not None


def _row(part: Part, promised: DevicePromise | None, seen: int | None) -> Row:
    amount = promised.of(part) if promised is not None else None
    return Row(
        part=part, promised=amount, seen_bytes=seen, drift=judge_drift(amount, seen) if amount is not None and seen is not None else None
    )


def _on_device(facts: tuple[Fact, ...], names: frozenset[str], device: str) -> int | None:
    """What the engine says lies on one device: by its rank, which counts as the devices do; without ranks, on the first.

    Of ranks that compute on the processor, all lie on the host.
    """
    ranks: dict[int, int] = {}
    for fact in facts:
        rank = rank_of(fact) or 0
        if fact.name in names and device in {HOST, f"gpu{rank}"} and not isinstance(fact.value, str):
            ranks.setdefault(rank, round(fact.value))
    return sum(ranks.values()) if ranks else None


def _cache_bytes(facts: tuple[Fact, ...], device: str, promised: DevicePromise | None, pool: Pool | None) -> int | None:
    """The cache on a device: what its tokens take there by the plan's bytes for each, or else as the engine says.

    Tokens come first since an engine may state the bytes it was given and not those that whole blocks take of them. All that a pool may
    grow to is the high end of its promise; of that, what it holds by now is seen.
    """
    amount = promised.of(Part.CACHE) if promised is not None else None
    tokens = pool.promised_tokens.expected if pool is not None and pool.promised_tokens is not None else 0
    if amount is None or pool is None or pool.tokens is None or not tokens:
        return _on_device(facts, _CACHE, device)
    if pool.held is not None and pool.promised_tokens is not None:
        return round(amount.high * pool.tokens * pool.held / pool.promised_tokens.high)
    return amount.expected * pool.tokens // tokens


def host_bytes(host: HostReading) -> int | None:
    """Host memory of the watched processes: their proportional shares, or else private pages and the largest shared part of one."""
    found = host.processes or ()
    if not found:
        return None
    shares = [process.pss_bytes for process in found if process.pss_bytes is not None]
    if len(shares) == len(found):
        return sum(shares)
    private = private_bytes(host)
    shared = [(process.file_bytes or 0) + (process.shmem_bytes or 0) for process in found]
    return None if private is None else private + max(shared)


def private_bytes(host: HostReading) -> int | None:
    """Private pages of the watched processes together."""
    found = [process.anon_bytes for process in host.processes or () if process.anon_bytes is not None]
    return sum(found) if found else None


def _host(host: HostReading, promised: DevicePromise | None, pool: Pool | None, facts: tuple[Fact, ...]) -> DeviceState:
    """The host's memory; ``facts`` where it is what the engine computes in."""
    limit = host.group.limit_bytes if host.group is not None else None
    held = host.group.current_bytes if host.group is not None and limit is not None else None
    used = None if host.total_bytes is None or host.available_bytes is None else host.total_bytes - host.available_bytes
    reading = DeviceReading(
        device=HOST,
        kind="cpu",
        name="host memory" if limit is None else "host memory (container limit)",
        at=host.at,
        total_bytes=host.total_bytes if limit is None else limit,
        used_bytes=used if limit is None else held,
        free_bytes=host.available_bytes if limit is None or held is None else limit - held,
    )
    return _state(promised, reading, host_bytes(host), pool, facts)


def _point(moment: Moment, pool: Pool | None, devices: tuple[DeviceState, ...]) -> Point:
    host = moment.host
    return Point(
        at=moment.at,
        usage=pool.usage if pool is not None else None,
        running=pool.running if pool is not None else None,
        waiting=pool.waiting if pool is not None else None,
        queued=pool.queued if pool is not None else None,
        preemptions=pool.preemptions if pool is not None else None,
        private_bytes=private_bytes(host) if host is not None else None,
        swapped_out_bytes=host.swapped_out_bytes if host is not None else None,
        devices=tuple((state.device, state.used_bytes) for state in devices if state.used_bytes is not None),
        held=tuple((state.device, state.engine_bytes) for state in devices if state.engine_bytes is not None),
    )
