"""What was seen in a file of requests."""

from ullage.domain.workload import Lengths
from ullage.frozen import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """How one length is spread over the requests: mean, quantiles and a histogram of (from, to, count), ``to`` not included.

    Values from 2,048 are counted in steps of a thousandth at most, rounded up; the least and the most are exact.
    """

    count: int
    mean: float
    least: int
    p50: int
    p90: int
    p95: int
    p99: int
    most: int
    bars: tuple[tuple[int, int, int], ...]


@dataclass(frozen=True, slots=True)
class Fault:
    """A record that was not understood: its number from 1, the line it begins on from 1 (0: the format has none), and why."""

    record: int
    line: int
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """A file of requests, counted. ``tokenizer`` says by what; ``is_exact`` is False for an estimate.

    ``faults`` are the first of the ``malformed``; ``dropped`` counts records by the reason a filter gave. ``times_s`` are the arrivals
    that the records state, from the first. ``cut_requests`` went with what was cut from records written anew; fewer than none where
    parts made more of them.
    """

    source: str
    format: str
    tokenizer: str
    is_exact: bool
    records: int
    malformed: int
    faults: tuple[Fault, ...]
    dropped: tuple[tuple[str, int], ...]
    rewritten: int
    cut_requests: int
    counted_tokens: int  # of all texts, before anything was dropped
    prompt: Spread
    output: Spread
    total: Spread
    turns: Spread
    lengths: Lengths
    times_s: tuple[float, ...] = ()
    notes: tuple[str, ...] = ()
