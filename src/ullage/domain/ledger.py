"""The one way to say how much memory something takes."""

from collections.abc import Callable, Iterable
from enum import StrEnum

from ullage.domain.provenance import FORMULA, Constant, Origin
from ullage.frozen import dataclass


class Phase(StrEnum):
    """When an entry is alive. RESIDENT entries are alive in every phase but LOAD, whose entries say what loading needs."""

    LOAD = "load"
    RESIDENT = "resident"
    CAPTURE = "capture"
    PREFILL = "prefill"
    DECODE = "decode"


class Purpose(StrEnum):
    """What memory is for. The same names stand in predictions, observations and log readings."""

    WEIGHTS = "weights"
    BUFFERS = "buffers"  # rotary tables and other tensors an engine makes when it loads
    KV_CACHE = "kv_cache"
    STATE = "state"  # recurrent state
    ACTIVATIONS = "activations"
    LOGITS = "logits"
    WORKSPACE = "workspace"
    GRAPHS = "graphs"
    COMMUNICATION = "communication"
    RUNTIME = "runtime"  # driver context, loaded kernels, library handles, allocator slack
    STAGING = "staging"  # host or device memory that only loading needs
    SWAP = "swap"  # host memory set aside for offloaded cache
    OTHERS = "others"  # other processes


@dataclass(frozen=True, slots=True)
class Amount:
    """A prediction in bytes with its error: ``low <= expected <= high``."""

    low: int
    expected: int
    high: int

    @classmethod
    def exactly(cls, nbytes: int) -> "Amount":
        """An amount without error."""
        return cls(nbytes, nbytes, nbytes)

    def __add__(self, other: "Amount") -> "Amount":
        return Amount(self.low + other.low, self.expected + other.expected, self.high + other.high)

    def map(self, function: Callable[[int], int]) -> "Amount":
        """What a function that never falls makes of the prediction."""
        return Amount(function(self.low), function(self.expected), function(self.high))


def amount_of(constant: Constant) -> Amount:
    """A constant as a range; an end nobody has seen is the value itself."""
    low = constant.value if constant.low is None else constant.low
    high = constant.value if constant.high is None else constant.high
    return Amount(low, constant.value, high)


NOTHING = Amount(0, 0, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line of the ledger. ``budgeted``: the engine's own sizing knows it. ``because`` is the arithmetic in words and numbers."""

    device: str
    purpose: Purpose
    phase: Phase
    amount: Amount
    budgeted: bool
    because: str
    origin: Origin = FORMULA


@dataclass(frozen=True, slots=True, kw_only=True)
class Join:
    """The budgeted entries of a device that together fill exactly ``nbytes``: the cache takes what the others leave.

    ``idle_bytes`` of it are not in use while a prefill runs that the engine did not foresee, and so are free for its workspace.
    """

    device: str
    nbytes: int
    because: str
    idle_bytes: int = 0


def total(amounts: Iterable[Amount]) -> Amount:
    """The sum; low ends add to low ends and high ends to high ends, so the range is never too narrow."""
    low = expected = high = 0
    for amount in amounts:
        low += amount.low
        expected += amount.expected
        high += amount.high
    return Amount(low, expected, high)


def _beyond(workspace: Amount, join: Join) -> Amount:
    """What of an unforeseen workspace the idle part of the budget does not cover."""
    return workspace.map(lambda nbytes: max(0, nbytes - join.idle_bytes))


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """Everything that lies on every device, phase by phase."""

    entries: tuple[Entry, ...]
    joins: tuple[Join, ...] = ()

    def on(self, device: str) -> tuple[Entry, ...]:
        """The entries of one device."""
        return tuple(entry for entry in self.entries if entry.device == device)

    def of(self, device: str, purpose: Purpose) -> Amount:
        """What one purpose takes on one device, all phases added."""
        return total(entry.amount for entry in self.entries if entry.device == device and entry.purpose is purpose)

    def at(self, device: str, phase: Phase) -> Amount:
        """What is alive on a device in a phase. A join replaces the budgeted sum, unless what is fixed alone passes it."""
        return _alive(self.on(device), phase, self._join(device))

    def peak(self, device: str) -> Amount:
        """The largest amount over all phases."""
        entries, join = self.on(device), self._join(device)
        phases = [_alive(entries, phase, join) for phase in {Phase.RESIDENT, *(entry.phase for entry in entries)}]
        return Amount(max(p.low for p in phases), max(p.expected for p in phases), max(p.high for p in phases))

    def _join(self, device: str) -> Join | None:
        return next((join for join in self.joins if join.device == device), None)


def _alive(entries: tuple[Entry, ...], phase: Phase, join: Join | None) -> Amount:
    if phase is Phase.LOAD:
        return total(entry.amount for entry in entries if entry.phase is Phase.LOAD)
    alive = [entry for entry in entries if entry.phase is phase or entry.phase is Phase.RESIDENT]
    if join is None:
        return total(entry.amount for entry in alive)
    outside = total(entry.amount for entry in alive if not entry.budgeted and entry.purpose is not Purpose.WORKSPACE)
    outside += _beyond(total(entry.amount for entry in alive if not entry.budgeted and entry.purpose is Purpose.WORKSPACE), join)
    inside = total(entry.amount for entry in alive if entry.budgeted and entry.purpose is not Purpose.KV_CACHE)
    return Amount(
        outside.low + max(join.nbytes, inside.low),
        outside.expected + max(join.nbytes, inside.expected),
        outside.high + max(join.nbytes, inside.high),
    )
