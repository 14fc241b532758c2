"""What a tuning changes and what it measured: dials with their values, points, and estimates with their spread."""

from enum import StrEnum
from math import log

from ullage.domain.baseline import TrialState
from ullage.domain.case import Value
from ullage.frozen import dataclass

Point = tuple[int, ...]  # for each dial the index of its value
_LEAST_MEAN = 1e-12


class Objective(StrEnum):
    """What to make the most of."""

    THROUGHPUT = "throughput"  # answer tokens a second
    TTFT = "ttft"  # the mean time to the first token, as short as can be
    CONTEXT = "context"  # the longest sequence that the plan holds
    MEMORY = "memory"  # the smallest peak that keeps up its speed

    @property
    def is_planned(self) -> bool:
        """Whether it follows from the ledger, so that a trial only has to confirm it."""
        return self in {Objective.CONTEXT, Objective.MEMORY}


class Shown(StrEnum):
    """What a tuning's trials show of its winner."""

    BEST = "best"
    NEAR = "too near to tell"  # from all others that were measured
    ALONE = "compared with nothing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Dial:
    """One setting that is tried in steps: its values from the safest to the most daring; None is the engine's own default.

    ``loses`` says what it costs in quality; such a dial is turned only when asked for. ``also`` goes along with every value.
    """

    setting: str
    values: tuple[Value, ...]
    loses: str = ""
    also: tuple[tuple[str, Value], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """The mean of ``count`` repetitions and their standard deviation."""

    mean: float
    deviation: float = 0.0
    count: int = 1

    @property
    def log_mean(self) -> float:
        """The natural logarithm of the mean, of 1e-12 where that is more."""
        return log(max(self.mean, _LEAST_MEAN))


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What became of one start at a point. ``speed`` is None for one that was not measured; ``seconds`` is what the trial took.

    ``peak_bytes`` is what its ledger expects of the fullest device: of two that are alike the smaller wins.
    """

    point: Point
    state: TrialState
    speed: Estimate | None = None
    seconds: float = 0.0
    peak_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """All that the next trial depends on, besides what was told.

    ``sizes`` are the numbers of values of the dials. ``ranked`` is for a planned objective: the points, the best first. A gain below
    ``least_gain`` of the whole is not worth a step; ``keeps`` is the share of the start's speed that a planned objective may not lose.
    ``unrest`` is how far two starts of the same settings are assumed to lie apart (standard deviation, as a share) until that is measured;
    where it leaves a step open, the challenger and the best are measured again in turn, ``pairs`` times at most.
    """

    sizes: tuple[int, ...]
    start: Point
    more_is_better: bool = True
    ranked: tuple[Point, ...] = ()
    least_gain: float = 0.01
    keeps: float = 0.9
    patience: int = 2  # steps of one dial without a gain before it is turned back
    unrest: float = 0.0
    pairs: int = 2
    is_exhaustive: bool = False  # every combination is tried, in an order that no slow change of the machine follows
    passes: int = 1  # times that an exhaustive search measures each, every time in another order
    budget_s: float = float("inf")
    most_trials: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """The next point to try, one or two dials away from ``base``, the best so far; None for the start.

    ``rival`` is the point that one is measured beside again, None for a first look.
    """

    point: Point
    base: Point | None
    stage: str
    rival: Point | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """The search is over: the best point, None where nothing ran, and why it ended."""

    best: Point | None
    reason: str
