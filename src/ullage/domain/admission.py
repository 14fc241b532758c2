"""What the guard in front of an engine decides about: costs, limits, requests, what happens to them, and what is done.

Times ``at`` are seconds of one clock that never goes back; where it starts is nobody's business.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Mapping
from operator import itemgetter

from ullage.domain.foresight import Foresight
from ullage.frozen import dataclass, field

Steps = tuple[tuple[int, int], ...]  # (tokens, bytes), both rising: what lies between costs what the next step costs


def at_step(steps: Steps, tokens: int) -> int:
    """The bytes of the first step that holds ``tokens``; in proportion to the last one beyond it."""
    if tokens <= 0 or not steps:
        return 0
    index = bisect_left(steps, (tokens, 0))
    if index < len(steps):
        return steps[index][1]
    last_tokens, last_bytes = steps[-1]
    return -(-last_bytes * tokens // max(1, last_tokens))


def within_steps(steps: Steps, nbytes: int) -> int:
    """The most tokens that cost at most ``nbytes``."""
    index = bisect_right(steps, nbytes, key=itemgetter(1))
    return steps[index - 1][0] if index else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class CostModel:
    """What one sequence takes of the engine's cache by its length, and what there is.

    ``steps`` holds pages, windows and recurrent state. ``longest_prompt_tokens`` is where the workspace of a prefill, one prompt at a
    time, fills what the device has left beside the pool; None where no workspace grows with the prompt.
    """

    pool_bytes: int
    steps: Steps
    longest_tokens: int  # prompt and answer of one sequence
    most_sequences: int  # how many the engine runs at once
    longest_prompt_tokens: int | None = None
    item_tokens: int = 0  # the most tokens of one image or sound

    def cost_bytes(self, tokens: int) -> int:
        """Cache of one sequence of ``tokens`` tokens."""
        return at_step(self.steps, tokens)

    def longest_within(self, nbytes: int) -> int:
        """The longest sequence that takes at most ``nbytes`` of the cache and that the engine accepts."""
        return min(self.longest_tokens, within_steps(self.steps, nbytes))


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How the guard is told to behave."""

    queue_requests: int = 256
    deadline_s: float = 60.0  # in the queue
    caps_answers: bool = False  # shorten max_tokens to what is left instead of refusing
    answer_tokens: int | None = None  # reserved for a request that says no length; None: all that is left of the length
    replays: int = 2  # how often a request may be sent again after the engine died under it
    restart_s: float = 900.0  # how long a request that is to be sent again waits for the engine
    ahead_s: float = 0.0  # admit by the forecast this far ahead; 0: by what every request may take in the worst case
    least_free_bytes: int = 0  # of the fullest device in use; below it fewer requests run
    settle_s: float = 5.0  # between two changes of how many may run
    full_fraction: float = 0.98  # of the pool, with requests waiting inside the engine
    easy_fraction: float = 0.90  # of the pool; below it more may run
    retry_s: int = 5  # where nothing has finished yet that a time could be reckoned from


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticket:
    """A request that has been let in or waits. ``cost_bytes`` is for all its sequences together."""

    id: str
    client: str
    cost_bytes: int
    prompts: tuple[int, ...]  # tokens of each sequence's prompt
    answer_tokens: int  # of each sequence at most, or as reserved
    at: float
    replays_left: int
    exact: bool = True
    is_stated: bool = True  # False: the request says no length of its answer
    streamed: bool = False
    generated: int = 0
    tokens_per_s: float = 0.0
    measured_at: float = 0.0

    @property
    def sequences(self) -> int:
        """How many sequences the engine runs for it."""
        return len(self.prompts)


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """Everything the guard knows. ``served`` is the cost let in for each client that has requests here, for fairness."""

    cost: CostModel
    limits: Limits = field(default_factory=Limits)
    allowed: int = 1  # sequences in flight just now
    up: bool = False
    gone: bool = False  # the engine does not come back
    in_flight: Mapping[str, Ticket] = field(default_factory=dict)
    waiting: tuple[Ticket, ...] = ()
    replays: tuple[Ticket, ...] = ()  # let in once, to be sent again
    served: Mapping[str, int] = field(default_factory=dict)
    reserved_bytes: int = 0
    sequences: int = 0
    preemptions: int | None = None
    changed_at: float = 0.0
    device_short: bool = False
    bytes_per_s: float = 0.0  # given back by finished requests
    finished_at: float | None = None
    foresight: Foresight | None = None  # what ``ahead_s`` is looked ahead by; None: by how fast those in flight grow
    answers: tuple[int, ...] = ()  # lengths of the last ones, UNENDED among them, where there is foresight


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrived:
    """A request, counted. ``exact`` False: ``prompts`` are bounds; ``is_least``: they are so long at least.

    ``answer_tokens`` None: it does not say.
    """

    id: str
    client: str
    prompts: tuple[int, ...]
    answer_tokens: int | None
    at: float
    exact: bool = True
    is_least: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """The first byte of its answer went to the client."""

    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """Answered in full, whatever the answer was; ``generated`` tokens for all its sequences, 0 where nobody counted."""

    id: str
    at: float
    generated: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancelled:
    """The client went away, or what the engine was to send did not come in time."""

    id: str
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """The engine dropped this request and goes on."""

    id: str
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """Time passes. ``generated`` counts the answer's tokens of requests in flight."""

    at: float
    generated: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolReading:
    """The engine's own counters: the used fraction of its pool, preemptions since it started, requests waiting inside."""

    at: float
    usage: float | None = None
    preemptions: int | None = None
    waiting: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceReading:
    """What is free on the fullest device."""

    at: float
    free_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineReady:
    """The engine answers; ``cost`` where it runs with another plan than before."""

    at: float
    cost: CostModel | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineDied:
    """The engine is gone and may come back."""

    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineGone:
    """The engine does not come back."""

    at: float


Event = Arrived | Started | Finished | Cancelled | Lost | Tick | PoolReading | DeviceReading | EngineReady | EngineDied | EngineGone


@dataclass(frozen=True, slots=True, kw_only=True)
class Admit:
    """Send it to the engine now. ``reserved_bytes`` is what all requests in flight have reserved, this one among them.

    ``ahead``: in the worst case they would pass the pool, and by the forecast they will not.
    """

    id: str
    cost_bytes: int
    reserved_bytes: int
    ahead: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """Send these again: the engine died before a byte of their answers was passed on."""

    ids: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Refuse:
    """It can never fit. ``unit`` is that of ``need`` and ``have``; ``longest_tokens`` is the longest sequence that fits."""

    id: str
    status: int
    what: str
    unit: str
    need: int
    have: int
    longest_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """It waits; 1 is the place of the next of its client."""

    id: str
    position: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Reject:
    """Not now: 429 where the queue is full, 503 where it took too long or there is no engine."""

    id: str
    status: int
    why: str
    retry_after_s: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Cap:
    """When it is sent, it asks for an answer of at most so many tokens."""

    id: str
    max_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Fail:
    """Part of its answer is out: end it with an error."""

    id: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SetInFlight:
    """So many sequences may run at once from now on."""

    sequences: int


Action = Admit | Replay | Refuse | Queue | Reject | Cap | Fail | SetInFlight
