"""How full the cache would be under real requests."""

from ullage.domain.workload import Arrivals, Growth
from ullage.frozen import dataclass


@dataclass(frozen=True, slots=True)
class Held:
    """Requests of one length: their tokens, the cache one takes, and how many the pool holds at once."""

    quantile: str
    tokens: int
    nbytes: int
    sequences: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """A workload on one replica of a plan, simulated. Bytes are of the device that holds the least cache.

    ``demand_*`` are quantiles over the time were memory no limit; ``share_over`` is the share of the time in which that passes the pool.
    ``use_*`` are those of the pool there is. ``pace`` is assumed: seconds of a step, and prompt tokens worked through in a second.
    ``safe_sequences`` at once were never put out, where some were with as many as the engine admits.
    """

    requests: int
    arrivals: Arrivals
    growth: Growth
    seed: int
    step_s: float
    prefill_tokens_per_s: float
    pool_bytes: int
    slots: int
    held: tuple[Held, ...]
    demand_p50_bytes: int
    demand_p99_bytes: int
    demand_peak_bytes: int
    share_over: float
    use_p50_bytes: int
    use_p99_bytes: int
    use_peak_bytes: int
    most_running: int
    refused: int
    preempted: int
    preemptions: int
    recomputed_tokens: int
    wait_p50_s: float
    wait_p99_s: float
    seconds: float
    safe_sequences: int | None = None
