"""Whether a case fits: its ledger against its devices, its cache against its workload, and what binds."""

from ullage.domain.case import Case
from ullage.domain.engine import Engine
from ullage.domain.ledger import Amount, Entry, Ledger, Phase, Purpose
from ullage.domain.machine import HOST, Device
from ullage.domain.plan import Capacity, DeviceVerdict, Limit, Objection, Verdict
from ullage.errors import InputError, UnsupportedModelError
from ullage.frozen import dataclass
from ullage.units import counted, format_bytes, format_count


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A case as asked, as the engine resolved it, and everything that follows from it."""

    asked: Case
    case: Case
    objections: tuple[Objection, ...]
    ledger: Ledger
    capacity: Capacity
    devices: tuple[DeviceVerdict, ...]
    verdict: Verdict
    limit: Limit | None
    binding: str

    @property
    def peak_bytes(self) -> int:
        """The largest expected peak of an accelerator; of the host where there is none."""
        cards = [seen for seen in self.devices if seen.device != HOST] or self.devices
        return max((seen.peak.expected for seen in cards), default=0)


def evaluate(engine: Engine, asked: Case) -> Outcome:
    """Answer one case. Raises InputError when the placement needs more devices than there are."""
    _check_request(engine, asked)
    case = engine.resolve(asked)
    objections = engine.objections(case)
    ledger = engine.ledger(case)
    capacity = engine.capacity(case, ledger)
    devices = tuple(_judge_device(case, ledger, device) for device in _used_devices(case, ledger))
    verdict, limit, binding = _judge(case, objections, ledger, capacity, devices)
    return Outcome(
        asked=asked,
        case=case,
        objections=objections,
        ledger=ledger,
        capacity=capacity,
        devices=devices,
        verdict=verdict,
        limit=limit,
        binding=binding,
    )


def _check_request(engine: Engine, case: Case) -> None:
    there, needed = len(case.machine.devices), case.parallel.devices
    is_shared = engine.profile.shares_processor and case.machine.is_processor
    if needed > there and not is_shared:
        raise InputError(
            f"{case.parallel.tensor} tensor x {case.parallel.pipeline} pipeline x {case.parallel.data} data ranks need {needed} devices, "
            f"and there are {there}: give more with --gpu, or smaller degrees"
        )
    _check_kinds(engine, case)
    profile = engine.profile
    if not profile.oldest <= case.version <= profile.newest:
        raise UnsupportedModelError(
            f"{profile.title} {case.version} is outside what is known: the rules are those of {profile.oldest} to {profile.newest}. "
            f"Give --engine-version within them"
        )


def _check_kinds(engine: Engine, case: Case) -> None:
    """Raises UnsupportedModelError for a device the placement uses and the engine has no rules for."""
    profile = engine.profile
    foreign = next((device for device in case.devices if device.kind not in profile.device_kinds), None)
    if foreign is None:
        return
    from ullage import engines  # noqa: PLC0415 - only a refusal names the others

    others = [other.profile.name for other in engines.engines().values() if foreign.kind in other.profile.device_kinds]
    raise UnsupportedModelError(
        f"{profile.title} is planned for {', '.join(sorted(profile.device_kinds))} devices, and {foreign.id} ({foreign.name}) is "
        f"{foreign.kind}: give --engine {' or '.join(others)}"
    )


def _used_devices(case: Case, ledger: Ledger) -> tuple[Device, ...]:
    named = {entry.device for entry in ledger.entries}
    host = (case.machine.host,) if case.machine.host is not None else ()
    return tuple(device for device in (*case.machine.devices, *host) if device.id in named)


def _judge_device(case: Case, ledger: Ledger, device: Device) -> DeviceVerdict:
    peak = ledger.peak(device.id)
    host = case.machine.host
    need = peak
    if host is not None and device.shares_memory_with == host.id:
        twice = ledger.of(host.id, Purpose.OTHERS).expected if ledger.of(device.id, Purpose.OTHERS).expected else 0
        need = peak + ledger.peak(host.id) + Amount.exactly(-twice)
    return DeviceVerdict(device=device.id, verdict=verdict_of(need, device.total_bytes), peak=peak, total_bytes=device.total_bytes)


def verdict_of(need: Amount, have_bytes: int) -> Verdict:
    """FITS when even the high end fits, TIGHT when the expected does."""
    if need.high <= have_bytes:
        return Verdict.FITS
    return Verdict.TIGHT if need.expected <= have_bytes else Verdict.DOES_NOT_FIT


def _judge(
    case: Case, objections: tuple[Objection, ...], ledger: Ledger, capacity: Capacity, devices: tuple[DeviceVerdict, ...]
) -> tuple[Verdict, Limit | None, str]:
    worst = max(devices, key=lambda seen: (seen.verdict.rank, seen.peak.expected / max(1, seen.total_bytes)), default=None)
    if objections:
        return Verdict.REFUSED, objections[0].limit, f"the engine refuses to start: {objections[0].why}"
    if worst is not None and worst.verdict is Verdict.DOES_NOT_FIT:
        return worst.verdict, _limit_of(ledger, worst), _overflow(case, ledger, worst, worst.peak.expected)
    cache = _judge_cache(capacity)
    if cache is Verdict.DOES_NOT_FIT:
        return cache, Limit.CACHE, _cache_binding(case, capacity, low=False)
    if worst is not None and worst.verdict is Verdict.TIGHT:
        return worst.verdict, _limit_of(ledger, worst), "at the high end " + _overflow(case, ledger, worst, worst.peak.high)
    if cache is Verdict.TIGHT:
        return cache, Limit.CACHE, "at the low end " + _cache_binding(case, capacity, low=True)
    return Verdict.FITS, None, _room(capacity, worst)


def _judge_cache(capacity: Capacity) -> Verdict:
    have = capacity.usable_bytes
    if capacity.needed_bytes <= have.low:
        return Verdict.FITS
    return Verdict.TIGHT if capacity.needed_bytes <= have.expected else Verdict.DOES_NOT_FIT


def _limit_of(ledger: Ledger, seen: DeviceVerdict) -> Limit:
    """What passes a device: what the engine's own sizing does not know, or what is fixed."""
    if seen.device == HOST:
        return Limit.HOST
    entries = tuple(entry for entry in ledger.on(seen.device) if entry.phase is not Phase.LOAD)
    outside = sum(entry.amount.high for entry in entries if not entry.budgeted)
    fixed = sum(entry.amount.expected for entry in entries if entry.purpose in {Purpose.WEIGHTS, Purpose.BUFFERS})
    if fixed > seen.total_bytes:
        return Limit.WEIGHTS
    if outside and seen.peak.high - outside <= seen.total_bytes:
        return Limit.WORKSPACE
    cache = sum(entry.amount.expected for entry in entries if entry.purpose in {Purpose.KV_CACHE, Purpose.STATE})
    return Limit.CACHE if cache > fixed else Limit.WEIGHTS


def _overflow(case: Case, ledger: Ledger, seen: DeviceVerdict, need: int) -> str:
    over = need - seen.total_bytes
    phase = max(Phase, key=lambda phase: ledger.at(seen.device, phase).expected)
    outside = _largest(entry for entry in ledger.on(seen.device) if not entry.budgeted and entry.phase in {phase, Phase.RESIDENT})
    because = ""
    is_the_cause = _limit_of(ledger, seen) is Limit.WORKSPACE and any(join.device == seen.device for join in ledger.joins)
    if outside is not None and is_the_cause:
        because = f"; {outside.purpose} of {format_bytes(outside.amount.expected)} is outside the engine's own budget"
    name = case.machine.device(seen.device).name
    return (
        f"{seen.device} ({name}) needs {format_bytes(need)} of {format_bytes(seen.total_bytes)} in the {phase} phase, "
        f"{format_bytes(over)} too much{because}"
    )


def _largest(entries: object) -> Entry | None:
    return max(entries, key=lambda entry: entry.amount.expected, default=None)  # type: ignore[call-overload, no-any-return]


def _cache_binding(case: Case, capacity: Capacity, *, low: bool) -> str:
    """What was asked, what it needs, and what the expected or the low end of the cache holds."""
    context, count = case.workload.context_tokens or 0, case.workload.concurrent_sequences
    length = f"{format_count(context)} tokens" if context else "the whole length"
    have = capacity.usable_bytes.low if low else capacity.usable_bytes.expected
    longest = capacity.max_context_tokens.low if low else capacity.max_context_tokens.expected
    held = capacity.max_sequences.low if low else capacity.max_sequences.expected
    hold = f"one of {format_count(longest)} tokens"
    hold = f"{format_count(held)} such sequences, or {hold}" if held > 1 else hold
    asked = f"{counted(count, 'sequence')} of {length} {'needs' if count == 1 else 'need'}"
    return f"{asked} {format_bytes(capacity.needed_bytes)} of cache; {format_bytes(have)} are left, which hold {hold}"


def _room(capacity: Capacity, worst: DeviceVerdict | None) -> str:
    room = f"{format_bytes(worst.total_bytes - worst.peak.high)} stay free on {worst.device} even at the high end" if worst else ""
    if capacity.kv_tokens.expected:
        return f"the cache holds {format_count(capacity.kv_tokens.expected)} tokens, and {room}"
    return room
