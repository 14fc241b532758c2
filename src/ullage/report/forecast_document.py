"""A forecast for people and for programs."""

from ullage.domain.forecast import Forecast
from ullage.domain.hyperparameters import Json
from ullage.report import document as doc
from ullage.units import counted, format_bytes, format_count

_HELD = (
    doc.Column("request"),
    doc.Column("tokens", is_number=True),
    doc.Column("cache of one", is_number=True),
    doc.Column("at once", is_number=True),
    doc.Column(""),
)
_GROWTH = {
    "token": "cache is taken as tokens come",
    "request": "cache for the whole answer is taken when a request begins",
    "slot": "every request has a place as large as the longest",
}


def forecast_document(seen: Forecast) -> doc.Document:
    """What the pool holds of the workload, and what became of it."""
    rows = tuple((one.quantile, format_count(one.tokens), format_bytes(one.nbytes), format_count(one.sequences), "") for one in seen.held)
    return (doc.Heading("Under the workload"), doc.Table(_HELD, rows), doc.Items((*_use(seen), *_outcome(seen), _assumed(seen))))


def _of(nbytes: int, seen: Forecast) -> str:
    return f"{format_bytes(nbytes)} ({nbytes / seen.pool_bytes:.0%})"


def _use(seen: Forecast) -> tuple[str, ...]:
    use, want = (seen.use_p50_bytes, seen.use_p99_bytes), (seen.demand_p50_bytes, seen.demand_p99_bytes)
    room = f"{format_bytes(seen.pool_bytes)} a device and at most {format_count(seen.slots)} sequences"
    used = f"{_of(use[0], seen)} half the time, {_of(use[1], seen)} at p99"
    wanted = f"{_of(want[0], seen)} half the time, {_of(want[1], seen)} at p99"
    return (
        f"pool: {room}; {_GROWTH[seen.growth.value]}",
        f"in use: {used}, with at most {format_count(seen.most_running)} sequences at once",
        f"wanted, were memory no limit: {wanted}, more than the pool {seen.share_over:.1%} of the time",
    )


def _outcome(seen: Forecast) -> tuple[str, ...]:
    said = []
    if seen.preemptions:
        said.append(
            f"preempted: {format_count(seen.preempted)} of {counted(seen.requests, 'request')} ({seen.preempted / seen.requests:.1%}), "
            f"{counted(seen.preemptions, 'time')}, {counted(seen.recomputed_tokens, 'token')} computed again"
        )
    else:
        said.append("preempted: none")
    if seen.safe_sequences is not None:
        said.append(f"none would be with at most {format_count(seen.safe_sequences)} sequences at once")
    if seen.refused:
        said.append(f"refused as longer than the whole pool: {counted(seen.refused, 'request')}")
    said.append(f"waiting: {seen.wait_p50_s:,.1f} s half of them, {seen.wait_p99_s:,.1f} s at p99")
    return tuple(said)


def _assumed(seen: Forecast) -> str:
    return (
        f"simulated: {counted(seen.requests, 'request')} {seen.arrivals}, seed {seen.seed}; assumed: {1 / seen.step_s:,.0f} tokens "
        f"a second for each sequence, {seen.prefill_tokens_per_s:,.0f} prompt tokens a second (--decode-rate, --prefill-rate)"
    )


def forecast_values(seen: Forecast) -> dict[str, Json]:
    """The key ``forecast`` of a plan's JSON."""
    arrivals: dict[str, Json] = {
        "rate_per_s": seen.arrivals.rate_per_s,
        "clients": seen.arrivals.clients,
        "recorded": len(seen.arrivals.times_s),
    }
    return {
        "requests": seen.requests,
        "arrivals": arrivals,
        "seed": seen.seed,
        "assumed": {"decode_tokens_per_s": round(1 / seen.step_s, 3), "prefill_tokens_per_s": seen.prefill_tokens_per_s},
        "growth": seen.growth.value,
        "pool_bytes": seen.pool_bytes,
        "slots": seen.slots,
        "held": [{"quantile": h.quantile, "tokens": h.tokens, "bytes": h.nbytes, "sequences": h.sequences} for h in seen.held],
        "use_bytes": {"p50": seen.use_p50_bytes, "p99": seen.use_p99_bytes, "peak": seen.use_peak_bytes},
        "demand_bytes": {"p50": seen.demand_p50_bytes, "p99": seen.demand_p99_bytes, "peak": seen.demand_peak_bytes},
        "demand_over_pool": round(seen.share_over, 6),
        "max_running": seen.most_running,
        "refused": seen.refused,
        "preempted": seen.preempted,
        "preemptions": seen.preemptions,
        "recomputed_tokens": seen.recomputed_tokens,
        "safe_sequences": seen.safe_sequences,
        "wait_s": {"p50": round(seen.wait_p50_s, 3), "p99": round(seen.wait_p99_s, 3)},
        "seconds": round(seen.seconds, 3),
    }
