"""What is said while an engine is kept running: the state, what can happen, and what is to be done.

Times are seconds of one clock that only goes forwards; ``at`` says when something happened.
"""

from enum import StrEnum

from ullage.domain.case import Case, Value
from ullage.domain.facts import Fact
from ullage.domain.plan import Command
from ullage.frozen import dataclass

_TAIL_LINES = 40


class Phase(StrEnum):
    """Where an engine is in its life. STOPPED and GIVEN_UP are the ends."""

    STARTING = "starting"
    READY = "ready"
    STOPPING = "stopping"
    BACKING_OFF = "backing off"
    GIVEN_UP = "given up"
    STOPPED = "stopped"

    @property
    def is_end(self) -> bool:
        """Nothing is done any more."""
        return self in {Phase.GIVEN_UP, Phase.STOPPED}


class Kind(StrEnum):
    """Why a run ended."""

    STOPPED = "stopped"  # as it was asked to, by us or by somebody else
    OUT_OF_MEMORY = "out of memory"
    HOPELESS = "hopeless"  # the same command cannot succeed
    UNWELL = "unwell"  # it ran and did not answer
    CRASHED = "crashed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How patient to be. ``most_failures`` within ``window_seconds`` end the matter, and so do ``most_steps`` changed settings."""

    first_delay_seconds: float = 1.0
    longest_delay_seconds: float = 60.0
    most_failures: int = 5
    window_seconds: float = 600.0
    most_steps: int = 8
    start_seconds: float = 3600.0
    unhealthy_seconds: float = 60.0  # of one that was ready: a busy one may take long to answer
    question_seconds: float = 10.0  # in which it says whether it is well
    probe_seconds: float = 1.0
    watch_seconds: float = 2.0
    grace_seconds: float = 30.0
    recent_seconds: float = 60.0  # error lines older than this say nothing of an exit


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """What is started. ``case`` is the question it answers, as asked; None for a command nobody could plan."""

    command: Command
    case: Case | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StepDown:
    """A launch with one setting changed, and what that is in words."""

    launch: Launch
    changes: tuple[tuple[str, Value], ...]
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Noted:
    """A fact and when it was read."""

    at: float
    fact: Fact


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One process from its start to its end. ``ready_seconds`` is None for one that never answered a request."""

    launch: Launch
    started_at: float
    ended_at: float
    ready_seconds: float | None
    kind: Kind
    reason: str
    code: int | None = None
    signal: int | None = None
    facts: tuple[Fact, ...] = ()
    log: tuple[str, ...] = ()


# What happens.


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """The process is there."""

    at: float
    pid: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CouldNotStart:
    """There is no process, and why."""

    at: float
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line of its output stated something."""

    at: float
    fact: Fact


@dataclass(frozen=True, slots=True, kw_only=True)
class Healthy:
    """It says that it is well."""

    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Unhealthy:
    """It does not, or a request was not answered."""

    at: float
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AnsweredARequest:
    """One token was asked for and came."""

    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Exited:
    """The process ended, with all that belonged to it. ``log`` are the last lines it wrote.

    ``killed_for_memory``: shortly before the kernel killed something to free memory, which may have been this.
    """

    at: float
    code: int | None = None
    signal: int | None = None
    killed_for_memory: bool = False
    log: tuple[str, ...] = ()

    @property
    def tail(self) -> tuple[str, ...]:
        """The lines that may tell why it ended: the very last."""
        return self.log[-_TAIL_LINES:]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """Time passed."""

    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StopAsked:
    """A person or the system wants it to end."""

    at: float
    signal: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Drained:
    """No request is in flight any more."""

    at: float


Event = Started | CouldNotStart | Line | Healthy | Unhealthy | AnsweredARequest | Exited | Tick | StopAsked | Drained


# What is to be done.


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """Start the process."""

    launch: Launch


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """Ask it to end; a Kill follows when the grace is over."""

    signal: int


@dataclass(frozen=True, slots=True)
class Kill:
    """End it and everything it started, at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeHealth:
    """Ask whether it is well; answered by Healthy or Unhealthy, the latter where nothing is said in time."""

    seconds: float


@dataclass(frozen=True, slots=True)
class ProbeRequest:
    """Ask for one token; answered by AnsweredARequest or Unhealthy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Open:
    """It is ready: let requests in."""

    launch: Launch


@dataclass(frozen=True, slots=True)
class Close:
    """It is gone: hold requests back."""


@dataclass(frozen=True, slots=True)
class Leave:
    """It ends and does not come back: hold nothing any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Say:
    """Tell the person who started it."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplyRemedy:
    """One setting is changed before the next start."""

    step: StepDown


@dataclass(frozen=True, slots=True, kw_only=True)
class GiveUp:
    """It is not started again."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordRun:
    """Remember a run that ended."""

    run: Run


Action = Start | Stop | Kill | ProbeHealth | ProbeRequest | Open | Close | Leave | Say | ApplyRemedy | GiveUp | RecordRun


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """All that the next decision depends on."""

    phase: Phase
    launch: Launch
    policy: Policy
    since: float  # when the phase began
    started_at: float = 0.0
    ready_at: float | None = None
    is_running: bool = False
    is_probing: bool = False
    probe_at: float = 0.0
    unwell_since: float | None = None
    unwell_reason: str = ""
    notes: tuple[Noted, ...] = ()
    failures: tuple[float, ...] = ()  # when, within the window
    last_failure: str = ""  # of this very launch, before it was ready
    steps: int = 0
    stop_asked: bool = False
    stop_signal: int = 0
    drain_until: float | None = None  # what is in flight may come to its end until then; answered by Drained
    kill_at: float | None = None
    restart_at: float = 0.0
    reason: str = ""
