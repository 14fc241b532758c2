"""The answer."""

from enum import StrEnum

from ullage.domain.case import Case, Value
from ullage.domain.forecast import Forecast
from ullage.domain.ledger import Amount, Ledger
from ullage.frozen import dataclass


class Verdict(StrEnum):
    """FITS when even the high end fits, TIGHT when the expected does and the high end does not; REFUSED when the engine will not start."""

    FITS = "fits"
    TIGHT = "tight"
    DOES_NOT_FIT = "does_not_fit"
    REFUSED = "refused"

    @property
    def rank(self) -> int:
        """0 for the best answer."""
        return list(Verdict).index(self)


class Limit(StrEnum):
    """What runs out. Remedies for one can make the other worse, so they are kept apart."""

    CACHE = "cache"  # the pool is too small for the sequences asked for
    WORKSPACE = "workspace"  # something outside the engine's own budget passes the device
    WEIGHTS = "weights"  # weights and fixed parts alone pass the device or the budget
    START = "start"  # the engine refuses to start
    HOST = "host"  # host memory


@dataclass(frozen=True, slots=True, kw_only=True)
class Objection:
    """Why an engine will not start: the text it will print, what is wrong in our words, and the next step."""

    text: str  # the engine's own sentence, with its numbers
    why: str
    next_step: str
    limit: Limit = Limit.START


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """What the cache holds. ``max_context_tokens`` is the longest single sequence; ``max_sequences`` how many at the asked context.

    ``kv_bytes_per_token`` is for the whole model over all layers (before any division over devices).
    """

    kv_bytes_per_token: int
    kv_cache_bytes: Amount  # per device that holds the least
    kv_blocks: Amount
    kv_tokens: Amount
    max_context_tokens: Amount
    max_sequences: Amount
    block_tokens: int
    needed_bytes: int = 0  # cache bytes per device that the asked workload needs
    withheld_bytes: int = 0  # of the cache, what the engine counts and gives to no sequence

    @property
    def usable_bytes(self) -> Amount:
        """The part of the cache that sequences can have."""
        return self.kv_cache_bytes.map(lambda nbytes: max(0, nbytes - self.withheld_bytes))


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """What to run: arguments, environment, and files to write first (name, content)."""

    argv: tuple[str, ...]
    environment: tuple[tuple[str, str], ...] = ()
    files: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something wrong or noteworthy in a command somebody wrote."""

    text: str
    wrong: bool = True  # False: a remark only


@dataclass(frozen=True, slots=True, kw_only=True)
class Lever:
    """One setting that could be changed: candidate values in the order to try, what it relieves, what it costs.

    ``setting`` is the engine's own name, or one of the words "tensor", "pipeline", "context", "concurrency".
    ``searched`` are the values to try when the setting is solved for; empty for levers that are only remedies.
    """

    setting: str
    values: tuple[Value, ...]
    relieves: frozenset[Limit]
    cost: str
    cost_rank: int  # 0 free, 1 speed, 2 capacity, 3 quality, 4 hardware
    searched: tuple[Value, ...] = ()
    also: tuple[tuple[str, Value], ...] = ()  # settings that have to go along with it


@dataclass(frozen=True, slots=True, kw_only=True)
class Remedy:
    """A single change and what it leads to."""

    changes: tuple[tuple[str, Value], ...]
    frees_bytes: int
    cost: str
    verdict: Verdict
    case: Case


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceVerdict:
    """The verdict of one device."""

    device: str
    verdict: Verdict
    peak: Amount
    total_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A case, its ledger, the verdicts and what follows from them."""

    case: Case
    ledger: Ledger
    verdict: Verdict
    devices: tuple[DeviceVerdict, ...]
    capacity: Capacity | None
    limit: Limit | None
    binding: str
    objections: tuple[Objection, ...]
    command: Command
    remedies: tuple[Remedy, ...] = ()
    notes: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
    forecast: Forecast | None = None

    @property
    def runs(self) -> bool:
        """Whether the engine starts and serves what was asked."""
        return self.verdict in {Verdict.FITS, Verdict.TIGHT}

    def __str__(self) -> str:
        """The verdict and what binds."""
        return f"{self.verdict.value.replace('_', ' ').upper()}: {self.binding}"

    def __repr__(self) -> str:
        """One line: what was asked, and the answer; the rest stands in the fields."""
        return f"<Plan of {self.case.model.name} with {self.case.engine} {self.case.version}: {self}>"
