"""Promised and seen side by side, as values. What was not told is None."""

from enum import StrEnum

from ullage.domain.ledger import Amount
from ullage.domain.reading import Moment
from ullage.frozen import dataclass
from ullage.planning.drift import Drift
from ullage.planning.promise import Part, Promise


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One part of one device."""

    part: Part
    promised: Amount | None
    seen_bytes: int | None
    drift: Drift | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceState:
    """One device. ``engine_bytes`` is what the watched processes hold of ``used_bytes``; ``drift`` holds it against the peak."""

    device: str
    name: str
    total_bytes: int | None
    used_bytes: int | None
    free_bytes: int | None
    utilisation: float | None
    engine_bytes: int | None
    peak: Amount | None
    drift: Drift | None
    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """The cache as the engine itself counts it, all its ranks together; ``usage`` is of the fullest.

    ``waiting`` is all that wait, ``queued`` those of them that the guard in front of the engine has not let in; None without a guard.
    ``held`` is the share that takes memory by now, of a pool that grows as it is used; None of one that takes all of it at the start.
    """

    promised_tokens: Amount | None
    tokens: int | None
    usage: float | None
    running: int | None
    waiting: int | None
    preemptions: int | None
    held: float | None = None
    queued: int | None = None

    @property
    def used_tokens(self) -> int | None:
        """Tokens held, as far as usage and size are told."""
        return None if self.tokens is None or self.usage is None else round(self.tokens * self.usage)

    @property
    def keeps_promise(self) -> bool | None:
        """Whether its size is within the plan's bounds; None where one of the two is not known."""
        if self.promised_tokens is None or self.tokens is None:
            return None
        return self.promised_tokens.low <= self.tokens <= self.promised_tokens.high


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """At this growth, ``subject`` is full in so many seconds. Growth is in its own unit by the minute: bytes, or the pool's share."""

    subject: str
    per_minute: float
    seconds: float


class AlarmKind(StrEnum):
    """What may be wrong."""

    DRIFT = "drift"
    IMBALANCE = "imbalance"
    LEAK = "leak"
    SWAP = "swap"
    PRESSURE = "pressure"
    POOL = "pool"
    HOST = "host"
    ENGINE = "engine"


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """One thing that is wrong now: of what, and in a sentence what was expected, what there is, and what to do."""

    kind: AlarmKind
    subject: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One moment as the history keeps it."""

    at: float
    usage: float | None = None
    running: int | None = None
    waiting: int | None = None
    queued: int | None = None  # of those waiting, in front of the engine
    preemptions: int | None = None
    private_bytes: int | None = None  # host memory of the watched processes that is not a file's
    swapped_out_bytes: int | None = None
    devices: tuple[tuple[str, int], ...] = ()  # bytes in use, of the devices that told
    held: tuple[tuple[str, int], ...] = ()  # bytes held by the watched processes, likewise


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """One look: what was read, what it means, and the history up to it."""

    moment: Moment
    promise: Promise | None
    devices: tuple[DeviceState, ...]
    pool: Pool | None
    forecasts: tuple[Forecast, ...]
    alarms: tuple[Alarm, ...]
    history: tuple[Point, ...]
