"""Why an engine died: what its log shows, the budget it broke, the causes with their evidence, and what to change."""

import re
from enum import StrEnum

from ullage.domain.case import Value
from ullage.domain.facts import Fact
from ullage.domain.ledger import Amount, Purpose
from ullage.domain.plan import Limit, Verdict
from ullage.frozen import dataclass


class Stage(StrEnum):
    """How far a run came."""

    START = "start"  # before anything is loaded
    LOAD = "load"
    PROFILE = "profile"
    CACHE = "cache"  # the pool is sized or allocated
    SAMPLER = "sampler_warm_up"
    CAPTURE = "capture"
    FIRST_PROMPT = "first_long_prompt"
    UNDER_LOAD = "under_load"
    SHUTDOWN = "shutdown"
    UNKNOWN = "unknown"


class Family(StrEnum):
    """Kinds of failure that need different, sometimes opposite, remedies."""

    CACHE = "cache"  # the pool is too small for the sequences: give it more, or ask less of it
    DEVICE = "device_memory"  # an allocation on the device failed: take less
    OTHERS = "other_processes"  # the device was not free
    HOST = "host_memory"
    ONE_BLOCK = "allocation_limit"  # one allocation is larger than the platform allows, however much is free
    REQUEST = "request"  # one request is longer than what was set up for it; the engine may live
    PRESSURE = "pressure"  # no death: sequences are put back, or the engine shrank what was asked
    COMMAND = "command"  # the command or configuration is refused
    NOT_MEMORY = "not_memory"


class Kind(StrEnum):
    """What happened, in one word each."""

    CACHE_TOO_SMALL = "cache_too_small"  # a pool, but shorter than one sequence
    NO_ROOM_FOR_CACHE = "no_room_for_cache"  # weights and profile leave nothing
    DEVICE_NOT_FREE = "device_not_free"
    WEIGHTS = "weights_too_large"
    ACTIVATIONS = "activations"
    SAMPLER = "sampler"
    GRAPHS = "graphs"
    CACHE_ALLOCATION = "cache_allocation"  # the pool itself passes the device
    WORKSPACE = "workspace"  # outside the engine's own budget, while serving
    PLACEMENT = "placement"  # a split by hand or by the loader runs out of devices
    SPILL = "spill"  # more than the device, silently in host memory
    HOST = "host"
    SHARED_MEMORY = "shared_memory"
    ONE_BLOCK = "one_block"
    REQUEST_TOO_LONG = "request_too_long"
    CACHE_PRESSURE = "cache_pressure"
    REDUCED = "reduced_to_fit"
    COMMAND = "command"
    ILLEGAL_INSTRUCTION = "illegal_instruction"
    MISSING_LIBRARY = "missing_library"
    WRONG_MODULE = "wrong_module"
    DEVICE_LOST = "device_lost"
    DRIVER = "driver"
    NETWORK = "network"
    BUG = "bug"


NAMED = "named"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hint:
    """A change that helps against some kinds of failure, in the engine's own setting; ``up`` says that it is raised.

    ``value`` stands where one value is meant whatever there was. ``names`` are its other spellings.
    """

    kinds: frozenset[Kind]
    setting: str
    cost: str
    up: bool = False
    value: Value = None
    names: tuple[str, ...] = ()
    when: Purpose | None = None  # only where this takes more than any other term beside the weights; it then comes first
    only_from: tuple[str, ...] = ()  # only where the setting has one of these values
    stages: frozenset[Stage] = frozenset()  # only in these; none: in all
    since: tuple[int, ...] = ()  # the first release that has the setting
    before: tuple[int, ...] = ()  # the first that has it no more
    stated: str = ""  # only where an error states this detail, or names the setting (NAMED); it then comes first


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """A sentence that an engine prints and that can mislead: its text as a pattern, when it does, and why.

    ``kinds`` are the failures in which it is wrong; none means in all. ``gives`` names what following it could free at most,
    "share" (of the device, beyond the engine's own) or "unallocated" (by the allocator): it misleads where that is less than was missing.
    """

    pattern: str
    why: str
    kinds: frozenset[Kind] = frozenset()
    gives: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstAid:
    """What an engine's logs are recognised by and what helps it. ``signs`` are patterns; a group called ``version`` is its release."""

    signs: tuple[str, ...] = ()
    hints: tuple[Hint, ...] = ()
    advice: tuple[Advice, ...] = ()
    arguments: tuple[str, ...] = ()  # patterns of lines that repeat the settings as Python values; the group ``said`` holds them
    stands_before: tuple[str, ...] = ()  # engines whose words its logs hold too
    reads: tuple[re.Pattern[str], ...] | None = None  # one of them is found in every line that its log reader reads; None: nobody knows
    fills_budget: bool = False  # its cache takes what a share of the device leaves, so that what is outside the share overflows


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """One fact and where it stands. ``frames`` are its traceback's functions, outermost first, ``source`` the last lines of it."""

    line: int
    fact: Fact
    text: str
    rank: str = ""
    frames: tuple[str, ...] = ()
    source: tuple[str, ...] = ()
    count: int = 1  # how often it was said


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """What a log holds that matters. ``stages`` are the marks passed, in order; ``arguments`` what it repeats of the settings."""

    lines: int
    engine: str | None
    version: str | None
    sightings: tuple[Sighting, ...]
    stages: tuple[tuple[Stage, int], ...] = ()
    commands: tuple[tuple[int, tuple[str, ...]], ...] = ()
    arguments: tuple[tuple[str, str], ...] = ()
    arguments_line: int = 0
    card: str = ""
    host_limit_bytes: int | None = None  # of the container it ran in
    requests: int = 0  # answered before the end
    advice: tuple[tuple[int, int, str], ...] = ()  # which sentence of the engine's advice stands where

    @property
    def is_unlike(self) -> bool:
        """Whether a text was read of which no line is an engine's, a system's, or a command."""
        return self.lines > 0 and not (self.engine or self.sightings or self.commands)


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """A line of the log and what it shows."""

    line: int
    text: str
    says: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """One explanation. ``stated`` says that the log names it; else it is inferred. ``lacking_bytes`` is how much was short."""

    kind: Kind
    family: Family
    stage: Stage
    term: Purpose | None
    limit: Limit | None
    summary: str
    evidence: tuple[Evidence, ...]
    stated: bool = True
    lacking_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """One line of the rebuilt budget: what we predict, and what the log measured in its place."""

    purpose: Purpose
    predicted: Amount | None
    measured: int | None
    line: int | None = None
    says: str = ""
    overflowed: bool = False

    @property
    def nbytes(self) -> int:
        """The measured where there is one, else the expected."""
        if self.measured is not None:
            return self.measured
        return self.predicted.expected if self.predicted is not None else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """One device's memory as the run left it. ``limit_bytes`` is what the engine may fill, where it has such a share."""

    device: str
    total_bytes: int | None
    limit_bytes: int | None
    terms: tuple[Term, ...]
    requested_bytes: int | None = None
    free_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A single change. ``verdict`` is that of the plan it leads to, None where the case is not known well enough to plan."""

    setting: str
    value: Value
    up: bool
    cost: str
    says: str
    verdict: Verdict | None = None
    frees_bytes: int | None = None
    also: tuple[tuple[str, Value], ...] = ()  # what has to change with it
    is_direct: bool = False  # the very allocation that failed becomes so much smaller that it fits


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """The answer: causes with the likeliest first, and what to change, with the smallest first."""

    log: Log
    stage: Stage
    causes: tuple[Cause, ...]
    budget: Budget | None
    changes: tuple[Change, ...]
    misleading: tuple[Evidence, ...] = ()
    noise: tuple[Evidence, ...] = ()
    notes: tuple[str, ...] = ()
    model: str | None = None
    command: tuple[str, ...] = ()
    ended: Evidence | None = None  # the line that says that the engine died, where nothing in the log says why
    healthy: str = ""  # the address of an engine that answers, where no log was read

    @property
    def found(self) -> bool:
        """Whether there is a cause."""
        return bool(self.causes)
