"""The guard in front of an engine as others see it: how it listens, what it is told, and what became of every request."""

from collections.abc import Callable
from typing import NamedTuple, Protocol

from ullage.domain.admission import Action, CostModel, Event, State

Step = Callable[[State, Event], tuple[State, tuple[Action, ...]]]


class GuardOptions(NamedTuple):
    """How a guard listens. Keys stand one a line in ``keys_file``, or in the environment variable ``keys_variable``; none: open to all.

    ``engine_url`` is for an engine that somebody else keeps running: the guard asks it for itself whether it answers.
    The engine's own key is ``engine_key``, or stands in the variable ``engine_key_variable``; clients of a guard with keys do not know it.
    """

    host: str = "127.0.0.1"
    port: int = 0
    keys_file: str = ""
    keys_variable: str = ""
    engine_key: str = ""
    engine_key_variable: str = ""
    engine_url: str = ""
    body_bytes: int = 32 << 20
    held_bytes: int = 512 << 20  # all bodies here together
    header_bytes: int = 32 << 10
    idle_s: float = 75.0  # a connection without a whole request head
    body_s: float = 120.0  # until a body is there
    stall_s: float = 120.0  # a client that takes nothing of what is sent to it
    silent_s: float = 3600.0  # an engine that sends nothing of an answer, from the request on and between two pieces
    records: int = 1024
    journal: str = ""  # a file that every record is appended to
    journal_bytes: int = 64 << 20  # of that file; there are at most two
    poll_s: float = 0.5


class GuardRecord(NamedTuple):
    """What became of one request.

    ``ended``: finished, cancelled, refused, rejected, failed after part of its answer was out, or late: the engine sent nothing for long.
    """

    id: str
    client: str
    path: str
    ended: str
    status: int
    queue_s: float
    whole_s: float
    prompt_tokens: int
    sequences: int
    is_exact: bool
    generated: int  # tokens of all its sequences together
    cost_bytes: int
    reserved_bytes: int  # by all requests in flight, when it was let in
    replays: int
    was_cut: bool = False  # its answer reached the length that was allowed
    ahead: bool = False  # let in by the forecast of the pool, beyond the worst case


class Series(NamedTuple):
    """One name on the guard's page of metrics: a gauge, a counter or a histogram, what it means, and its label."""

    name: str
    kind: str
    help: str
    label: str = ""


WAITING = "ullage_guard_waiting_requests"
SERIES = (
    Series("ullage_guard_requests_total", "counter", "Requests that have ended, by how.", "end"),
    Series("ullage_guard_tokens_total", "counter", "Tokens of prompts and of answers of requests that have ended.", "of"),
    Series("ullage_guard_replays_total", "counter", "How often a request was sent again after the engine died."),
    Series("ullage_guard_ahead_total", "counter", "Requests let in by the forecast of the pool, beyond the worst case."),
    Series("ullage_guard_in_flight_requests", "gauge", "Requests that the engine has."),
    Series("ullage_guard_in_flight_sequences", "gauge", "Sequences of those requests."),
    Series("ullage_guard_allowed_sequences", "gauge", "Sequences that may be in flight just now."),
    Series(WAITING, "gauge", "Requests that wait in the guard, those held for a restart among them."),
    Series("ullage_guard_reserved_bytes", "gauge", "Cache that is reserved for the requests in flight."),
    Series("ullage_guard_pool_bytes", "gauge", "The engine's cache, as planned."),
    Series("ullage_guard_engine_up", "gauge", "1 where the engine answers."),
    Series("ullage_guard_queue_seconds", "histogram", "How long requests that have ended had waited.", "le"),
)


class Guard(Protocol):
    """A proxy that listens. All methods may be called from any thread; ``start`` raises WorldError where it cannot listen."""

    @property
    def url(self) -> str:
        """Where clients send their requests."""

    def start(self) -> None:
        """Listen; requests wait until the engine is ready."""

    def stop(self) -> None:
        """End what runs and listen no more."""

    def engine_ready(self, url: str, cost: CostModel | None = None) -> None:
        """The engine answers at ``url``; ``cost`` where it was started with another plan than before."""

    def engine_died(self) -> None:
        """The engine is gone and may come back: what it had not begun to answer waits to be sent again."""

    def engine_gone(self) -> None:
        """The engine does not come back: nothing waits any more."""

    def drain(self) -> bool:
        """The engine is to end: what comes from now on is refused; returns whether there is still a request that came before."""

    def observe(self, event: Event) -> None:
        """A reading of the engine's pool or of a device."""

    def state(self) -> State:
        """What it holds now."""

    def records(self) -> tuple[GuardRecord, ...]:
        """The last requests that ended, the oldest first."""
