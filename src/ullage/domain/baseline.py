"""What this machine remembers: runs of engines, what was promised and what was seen, and the trials of a tuning."""

from datetime import datetime
from enum import StrEnum

from ullage.domain.case import Settings
from ullage.domain.ledger import Amount, Phase, Purpose, total
from ullage.domain.placement import Parallel
from ullage.domain.workload import Workload
from ullage.frozen import dataclass, field


class Exit(StrEnum):
    """How a run ended."""

    RUNNING = "running"  # it was still running when this was written; the writer may have been killed since
    FINISHED = "finished"
    STOPPED = "stopped"  # somebody asked for it
    OUT_OF_MEMORY = "out_of_memory"
    CRASHED = "crashed"
    KILLED = "killed"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceMark:
    """A device as far as it tells one machine from another."""

    id: str
    kind: str
    name: str
    total_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineMark:
    """The devices a run used, the host's memory, and the driver's release; None and empty where nothing told."""

    devices: tuple[DeviceMark, ...]
    host_bytes: int | None = None
    driver: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelMark:
    """A model as far as memory can tell: ``architecture_hash`` is of its shape, not of its weights."""

    name: str
    model_type: str
    architecture_hash: str
    scheme: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Promised:
    """What the plan said of one purpose in one phase on one device; ``purpose`` None is everything alive there.

    ``joined``: it lies inside a budget that the cache fills up, so that less of it is more cache and the same sum.
    """

    device: str
    purpose: Purpose | None
    phase: Phase
    amount: Amount
    joined: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What was seen of the same: percentiles of ``samples`` readings, and the high-water mark where a counter keeps one.

    ``reached`` says that the load the promise is for was on (a profile run at the start counts): a peak seen under less says little.
    ``missing_bytes`` is how much of the promised cache had not been taken yet when most was seen.
    """

    device: str
    purpose: Purpose | None
    phase: Phase
    samples: int
    p50_bytes: int
    p95_bytes: int
    max_bytes: int
    peak_bytes: int | None = None
    reached: bool = False
    missing_bytes: int = 0

    @property
    def most_bytes(self) -> int:
        """The largest that any counter or reading showed."""
        return max(self.max_bytes, self.peak_bytes or 0)

    @property
    def full_bytes(self) -> int:
        """The same at a full cache, as a promise has it."""
        return self.most_bytes + self.missing_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """How memory followed the tokens held, fitted over ``points`` readings between two numbers of tokens."""

    device: str
    bytes_per_token: float
    from_tokens: int
    to_tokens: int
    points: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OutOfMemory:
    """One failed allocation, as far as its message told; ``text`` is the engine's own line."""

    at: datetime
    device: str
    phase: Phase | None = None
    wanted_bytes: int | None = None
    free_bytes: int | None = None
    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One measured number that is no size: tokens a second, milliseconds to the first token, preemptions."""

    name: str
    value: float
    unit: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run of an engine. Times are aware; ``version`` is the engine's release; settings are in its own names, without secrets.

    ``log`` are the last lines of one that failed.
    """

    id: str
    started_at: datetime
    ended_at: datetime | None
    engine: str
    version: str
    machine: MachineMark
    model: ModelMark
    parallel: Parallel
    workload: Workload
    settings: Settings
    exit: Exit
    promised: tuple[Promised, ...] = ()
    seen: tuple[Seen, ...] = ()
    growth: tuple[Growth, ...] = ()
    out_of_memory: tuple[OutOfMemory, ...] = ()
    figures: tuple[Figure, ...] = ()
    note: str = ""
    log: tuple[str, ...] = ()

    @property
    def tells_memory(self) -> bool:
        """Whether anything was seen of its memory, or it ran out of it."""
        return bool(self.seen or self.growth or self.out_of_memory)

    def others_bytes(self, device: str) -> int:
        """What other processes held when it was planned, which everything on a device counts with."""
        others = self.promise(device, Purpose.OTHERS, Phase.RESIDENT)
        return others.expected if others is not None else 0

    def own_bytes(self, seen: Seen) -> int:
        """The most that was seen, without what other processes held."""
        return seen.most_bytes if seen.purpose is not None else max(0, seen.most_bytes - self.others_bytes(seen.device))

    def peak_bytes(self, device: str) -> int:
        """The most that was seen of everything of the engine's on a device; 0 where that was not read."""
        return max((self.own_bytes(one) for one in self.seen if one.device == device and one.purpose is None), default=0)

    def promise(self, device: str, purpose: Purpose | None, phase: Phase) -> Amount | None:
        """What was promised of it, or None."""
        key = (device, purpose, phase)
        found = [one.amount for one in self.promised if (one.device, one.purpose, one.phase) == key]
        return total(found) if found else None


class TrialState(StrEnum):
    """How far a trial got. One that was STARTED and nothing more was cut short, and has to be run again."""

    STARTED = "started"
    DONE = "done"
    FAILED = "failed"  # the engine did not start, or ran out of memory
    SKIPPED = "skipped"  # its ledger does not fit, so it was never run


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One step of a tuning's journal. ``study`` names the tuning, ``run`` the stored run; writing a number again replaces it."""

    study: str
    number: int
    at: datetime
    settings: Settings
    state: TrialState
    run: str = ""
    figures: tuple[Figure, ...] = ()
    peak: Amount | None = None  # of the fullest device, as it was promised
    kept: bool = False
    because: str = ""
    parallel: Parallel = field(default_factory=Parallel)
