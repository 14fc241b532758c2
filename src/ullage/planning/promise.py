"""What a plan promises, device by device, in the parts that can be watched; from a plan or from its JSON."""

from collections.abc import Callable
from enum import StrEnum
from typing import Any

from ullage.domain.hyperparameters import Json
from ullage.domain.ledger import NOTHING, Amount, Entry, Ledger, Phase, Purpose, total
from ullage.domain.machine import HOST
from ullage.domain.plan import Plan
from ullage.errors import MalformedFileError
from ullage.frozen import dataclass

PLAN_SCHEMA = "ullage.plan/1"


class Part(StrEnum):
    """The parts of a device's memory that can be told apart from outside."""

    WEIGHTS = "weights"
    CACHE = "cache"  # keys and values, and recurrent state
    REST = "rest"  # all else that the engine holds: activations, workspace, graphs, driver context, slack
    OTHERS = "others"  # other processes


_PARTS = {
    Purpose.WEIGHTS: Part.WEIGHTS,
    Purpose.KV_CACHE: Part.CACHE,
    Purpose.STATE: Part.CACHE,
    Purpose.OTHERS: Part.OTHERS,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class DevicePromise:
    """One device: the engine's peak, without other processes, and the parts alive in the fullest phase after loading."""

    device: str
    name: str
    total_bytes: int
    peak: Amount
    parts: tuple[tuple[Part, Amount], ...]

    def of(self, part: Part) -> Amount | None:
        """The amount of a part, or None where the plan says nothing of it."""
        return next((amount for known, amount in self.parts if known is part), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """What an engine was promised to take. Memory of the processor and of the host is one device, ``host``."""

    engine: str
    version: str
    model: str
    devices: tuple[DevicePromise, ...]
    kv_tokens: Amount | None = None

    def on(self, device: str) -> DevicePromise | None:
        """The promise of one device, or None."""
        return next((one for one in self.devices if one.device == device), None)


def promise_of(plan: Plan) -> Promise:
    """The promise of a plan."""
    machine = plan.case.machine
    names = {device.id: device.name for device in (*machine.devices, *((machine.host,) if machine.host else ()))}
    found = tuple(
        _device(
            verdict.device, names.get(verdict.device, verdict.device), verdict.total_bytes, plan.ledger.on(verdict.device), verdict.peak
        )
        for verdict in plan.devices
    )
    return Promise(
        engine=plan.case.engine,
        version=str(plan.case.version),
        model=plan.case.model.name,
        devices=_one_host(found),
        kv_tokens=plan.capacity.kv_tokens if plan.capacity is not None else None,
    )


def _device(device: str, name: str, total_bytes: int, entries: tuple[Entry, ...], peak: Amount) -> DevicePromise:
    phases = [phase for phase in Phase if phase is not Phase.LOAD]
    ledger = Ledger(entries=entries)  # without joins, which a plan's JSON does not have
    fullest = max(phases, key=lambda phase: ledger.at(device, phase).expected)
    alive = [entry for entry in entries if entry.phase in {Phase.RESIDENT, fullest}]
    sums = [(part, total(entry.amount for entry in alive if _PARTS.get(entry.purpose, Part.REST) is part)) for part in Part]
    others = next(amount for part, amount in sums if part is Part.OTHERS)
    return DevicePromise(
        device=device,
        name=name,
        total_bytes=total_bytes,
        peak=Amount(peak.low - others.low, peak.expected - others.expected, peak.high - others.high),
        parts=tuple((part, amount) for part, amount in sums if amount != NOTHING),
    )


def _one_host(devices: tuple[DevicePromise, ...]) -> tuple[DevicePromise, ...]:
    """The processor's share and the host's as one, since both lie in the host's memory."""
    inside = [device for device in devices if device.device in {HOST, "cpu"}]
    if not inside:
        return devices
    parts = tuple((part, total(amount for one in inside if (amount := one.of(part)) is not None)) for part in Part)
    host = DevicePromise(
        device=HOST,
        name=inside[-1].name,
        total_bytes=max(one.total_bytes for one in inside),
        peak=total(one.peak for one in inside),
        parts=tuple((part, amount) for part, amount in parts if amount != NOTHING),
    )
    return (*(device for device in devices if device not in inside), host)


def promise_from(values: Json) -> Promise:
    """The promise of a plan that was written as JSON. Raises MalformedFileError naming the key."""
    if not isinstance(values, dict) or values.get("schema") != PLAN_SCHEMA:
        raise MalformedFileError(f"this is no plan: its schema should be {PLAN_SCHEMA!r}; write one with `ullage plan ... --json -o FILE`")
    devices = tuple(_stated_device(one) for one in _read(values, "devices", list))
    capacity = values.get("capacity")
    return Promise(
        engine=_read(_read(values, "engine", dict), "name", str),
        version=_read(_read(values, "engine", dict), "version", str),
        model=_read(_read(values, "model", dict), "name", str),
        devices=_one_host(devices),
        kv_tokens=_amount(_read(capacity, "kv_tokens", dict)) if isinstance(capacity, dict) else None,
    )


def _stated_device(values: Any) -> DevicePromise:
    device = _read(values, "id", str)
    entries = tuple(_stated_entry(device, one) for one in _read(values, "entries", list))
    return _device(device, _read(values, "name", str), _read(values, "total_bytes", int), entries, _amount(_read(values, "peak", dict)))


def _stated_entry(device: str, values: Any) -> Entry:
    return Entry(
        device=device,
        purpose=_word(Purpose, _read(values, "purpose", str)),
        phase=_word(Phase, _read(values, "phase", str)),
        amount=_amount(values),
        budgeted=_read(values, "budgeted", bool),
        because=_read(values, "because", str),
    )


def _word(kind: Callable[[str], Any], word: str) -> Any:
    try:
        return kind(word)
    except ValueError as error:
        raise MalformedFileError(f"the plan says {error}; write it again with this release") from error


def _amount(values: Any) -> Amount:
    low, expected, high = (_read(values, name, int) for name in ("low", "expected", "high"))
    return Amount(low, expected, high)


def _read(values: Any, key: str, kind: type) -> Any:
    value = values.get(key) if isinstance(values, dict) else None
    if type(value) is not kind:
        raise MalformedFileError(f"the plan's {key!r} is {str(value)[:40]!r}, which is no {kind.__name__}; write the plan again")
    return value
