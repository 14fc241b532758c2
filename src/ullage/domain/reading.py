"""What a moment looked like: devices, the host, and an engine. What was not told is None, never zero."""

from typing import NamedTuple

from ullage.domain.facts import Fact
from ullage.frozen import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessUse:
    """One process on a device; ``nbytes`` is None where the driver lists it without saying how much it holds."""

    pid: int
    nbytes: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceReading:
    """One device at one moment, in seconds since the epoch. ``processes`` is None where the driver does not list them."""

    device: str
    kind: str  # as in ``Device``
    name: str
    at: float
    total_bytes: int | None = None
    used_bytes: int | None = None
    free_bytes: int | None = None
    processes: tuple[ProcessUse, ...] | None = None
    utilisation: float | None = None  # 0 to 1
    shares_memory_with: str | None = None
    driver: str = ""  # the release of its driver

    def held_by(self, pids: frozenset[int]) -> int | None:
        """Bytes that these processes hold; None where that is not told of one of them, or of any."""
        if self.processes is None:
            return None
        found = [use.nbytes for use in self.processes if use.pid in pids]
        told = [nbytes for nbytes in found if nbytes is not None]
        return sum(told) if found and len(told) == len(found) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessMemory:
    """Host memory of one process: private pages, pages of files, shared memory, and its proportional share of all of it."""

    pid: int
    parent: int
    name: str
    anon_bytes: int | None = None
    file_bytes: int | None = None
    shmem_bytes: int | None = None
    pss_bytes: int | None = None  # None where the kernel does not let us look

    @property
    def resident_bytes(self) -> int | None:
        """All resident pages, shared ones counted whole."""
        parts = (self.anon_bytes, self.file_bytes, self.shmem_bytes)
        told = [part for part in parts if part is not None]
        return sum(told) if told else None


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupMemory:
    """The control group a process is in: its version, the least limit on the way up, and what the group holds under that limit."""

    version: int
    limit_bytes: int | None = None
    current_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pressure:
    """The share of the last ten seconds in which some, or all, tasks waited for memory: 0 to 1 (pressure stall information)."""

    some: float | None = None
    full: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HostReading:
    """The host at one moment. Swapped bytes count from boot. ``processes`` are the watched process and all below it; None: none watched."""

    at: float
    total_bytes: int | None = None
    available_bytes: int | None = None
    swap_used_bytes: int | None = None
    swapped_in_bytes: int | None = None
    swapped_out_bytes: int | None = None
    pressure: Pressure | None = None
    group: GroupMemory | None = None
    processes: tuple[ProcessMemory, ...] | None = None
    in_front: tuple[ProcessMemory, ...] = ()  # those of ``ullage serve``, which starts an engine and is none


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineReading:
    """What an engine says of itself. ``healthy`` is None where it has no health page; ``facts`` is None where no metrics page answered.

    ``is_engine`` is False where something answers, and with no page of an engine.
    """

    at: float
    url: str  # without credentials
    engine: str | None = None
    healthy: bool | None = None
    model: str | None = None
    max_context_tokens: int | None = None
    facts: tuple[Fact, ...] | None = None
    queued: int | None = None  # requests that wait in the guard in front of it; None where it answers for itself
    is_engine: bool = True
    answers: tuple[str, ...] = ()  # the pages that answered, with how they did: ``/health 200``
    locked: tuple[str, ...] = ()  # the pages that asked for a key

    @property
    def no_engine(self) -> str:
        """What answers in an engine's place; empty where it is one."""
        if self.is_engine:
            return ""
        return f"something answers at {self.url}, but no page of an engine does: {'; '.join(self.answers)}; give the address of an engine"

    @property
    def wants_key(self) -> str:
        """What to do where a page was not shown; empty where none was held back."""
        if not self.locked:
            return ""
        return f"{self.url} asks for a key, or for another ({'; '.join(self.locked)}): give --api-key-file FILE, or set ULLAGE_API_KEY"


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """Everything read at one time."""

    at: float
    devices: tuple[DeviceReading, ...] = ()
    host: HostReading | None = None
    engine: EngineReading | None = None


class Page(NamedTuple):
    """An answer over HTTP: its status, and its text where that is 200."""

    status: int
    text: str
