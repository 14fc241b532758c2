"""What a real engine took on a real device: the question it was asked, where it ran, and the bytes that were seen."""

from enum import StrEnum

from ullage.domain.case import Settings
from ullage.domain.hyperparameters import Json
from ullage.domain.ledger import Phase, Purpose
from ullage.domain.workload import Workload
from ullage.frozen import dataclass


class Counting(StrEnum):
    """How bytes were counted."""

    ALLOCATOR = "allocator"  # PyTorch's caching allocator on the device: blocks
    LIVE_TENSORS = "live tensors"  # storages alive between operations: bytes asked for, without what one kernel needs inside
    PROCESSES = "processes"  # what lies in memory of all the engine's processes, pages that several map divided among them


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What was run. ``configuration`` is the whole shape of the model as its ``config.json``, layers cut off where some were.

    ``settings`` are in the engine's own names.
    """

    engine: str
    version: str
    model: str
    configuration: Json
    settings: Settings
    workload: Workload


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """Where and when it ran. ``kind`` is the device's, as in ``Device``; ``driver`` is empty where the device has none of its own."""

    kind: str
    device: str
    total_bytes: int
    torch: str
    date: str  # ISO 8601
    driver: str = ""
    compute_capability: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """Bytes of one purpose alive at the end of a phase."""

    purpose: Purpose
    nbytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One phase: the most bytes that were alive in it, weights included, and what was alive at its end by purpose.

    ``peak_reserved_bytes`` is what the allocator had taken from the driver, ``device_used_bytes`` what the driver said was in use at the
    phase's end by all processes; None where nothing tells.
    """

    phase: Phase
    peak_allocated_bytes: int
    peak_reserved_bytes: int | None = None
    device_used_bytes: int | None = None
    held: tuple[Held, ...] = ()

    def of(self, purpose: Purpose) -> int:
        """Bytes alive at the phase's end for one purpose; 0 where none were seen."""
        return sum(part.nbytes for part in self.held if part.purpose is purpose)


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """One run, its site, and a reading a phase. ``name`` is that of its file, and what a ``Measured`` source states."""

    name: str
    run: Run
    site: Site
    counting: Counting
    readings: tuple[Reading, ...]

    def at(self, phase: Phase) -> Reading | None:
        """The reading of a phase, or None when it was not taken."""
        return next((reading for reading in self.readings if reading.phase is phase), None)
