"""A plan under a workload: its pool simulated, and the same requests without an end to memory."""

from ullage.domain.engine import Engine
from ullage.domain.forecast import Forecast, Held
from ullage.domain.plan import Plan
from ullage.domain.workload import Arrivals, Lengths
from ullage.frozen import replace
from ullage.planning.pool import pool_of
from ullage.planning.simulate import Pace, Pool, Request, draw, simulate

PACE = Pace(step_s=0.03, prefill_tokens_per_s=5000.0)  # assumed where no rate is said: 33 tokens a second for each sequence
_QUANTILES = (("p50", 0.5), ("p95", 0.95), ("p99", 0.99), ("longest", 1.0))
_NO_END = 1 << 62


def forecast(engine: Engine, plan: Plan, lengths: Lengths, arrivals: Arrivals, *, pace: Pace = PACE, seed: int = 0) -> Forecast | None:
    """What the requests would do to the plan's cache; None where it has none. Each of several replicas gets its share of them."""
    pool = pool_of(engine, plan, lengths.longest_total_tokens)
    if pool is None or not lengths.bins:
        return None
    replicas = max(1, plan.case.parallel.data)
    own = _share_of(arrivals, replicas)
    requests = draw(lengths, own, seed=seed)
    free = simulate(requests, pool._replace(nbytes=_NO_END), pace, clients=own.clients, watched_bytes=pool.nbytes)
    use = simulate(requests, pool, pace, clients=own.clients)
    return Forecast(
        requests=use.requests,
        arrivals=arrivals,
        growth=pool.growth,
        seed=seed,
        step_s=pace.step_s,
        prefill_tokens_per_s=pace.prefill_tokens_per_s,
        pool_bytes=pool.nbytes,
        slots=pool.slots,
        held=_held(pool, lengths),
        demand_p50_bytes=free.p50_bytes,
        demand_p99_bytes=free.p99_bytes,
        demand_peak_bytes=free.peak_bytes,
        share_over=free.share_over,
        use_p50_bytes=use.p50_bytes,
        use_p99_bytes=use.p99_bytes,
        use_peak_bytes=use.peak_bytes,
        most_running=use.most_running,
        refused=use.refused,
        preempted=use.preempted,
        preemptions=use.preemptions,
        recomputed_tokens=use.recomputed_tokens,
        wait_p50_s=use.wait_p50_s,
        wait_p99_s=use.wait_p99_s,
        seconds=use.seconds,
        safe_sequences=_safe(requests, pool, pace, min(use.most_running, own.clients or use.most_running)) if use.preemptions else None,
    )


def _share_of(arrivals: Arrivals, replicas: int) -> Arrivals:
    return replace(
        arrivals,
        rate_per_s=arrivals.rate_per_s / replicas if arrivals.rate_per_s is not None else None,
        clients=-(-arrivals.clients // replicas) if arrivals.clients is not None else None,
        times_s=arrivals.times_s[::replicas],
    )


def _held(pool: Pool, lengths: Lengths) -> tuple[Held, ...]:
    found = []
    for name, fraction in _QUANTILES:
        tokens = lengths.total_quantile(fraction)
        nbytes = pool.demand(max(1, tokens))
        found.append(Held(name, tokens, nbytes, min(pool.slots, pool.nbytes // max(1, nbytes))))
    return tuple(found)


def _safe(requests: tuple[Request, ...], pool: Pool, pace: Pace, running: int) -> int:
    """A number of sequences at once with which nothing is put out, found by halving: more may by luck do too."""
    low, high = 1, max(1, running - 1)
    while low < high:
        middle = (low + high + 1) // 2
        if simulate(requests, pool._replace(slots=middle), pace).preemptions:
            high = middle - 1
        else:
            low = middle
    return low
