"""A cache that is too full: how many sequences filled it, and what a change leaves room for."""

from typing import Final

from ullage.domain.cause import Cause, Change, Evidence, Hint, Kind, Log
from ullage.domain.engine import Engine
from ullage.domain.plan import Lever, Verdict
from ullage.frozen import dataclass, replace
from ullage.planning.change import shown
from ullage.planning.diagnose_enough import FITS
from ullage.planning.diagnose_facts import detail
from ullage.planning.fit import Outcome
from ullage.planning.remedy import planned
from ullage.units import counted, format_count

_FULL = 0.9  # of the pool
_USAGE: Final = ("kv_cache_usage", "kv_usage", "token_usage")
_SEQUENCES: Final = frozenset({"max_num_seqs", "max_running_requests", "n_parallel", "max_batch_size", "max_seqs", "concurrency"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Filled:
    """The fewest sequences that the log shows beside a full pool."""

    running: int
    evidence: Evidence


def filled_by(cause: Cause, log: Log) -> Filled | None:
    """Who filled the pool, by the lines that engines write every few seconds; None where none tells."""
    if cause.kind is not Kind.CACHE_PRESSURE:
        return None
    found = []
    for seen in log.sightings:
        value = seen.fact.value
        usage = float(value) if seen.fact.name in _USAGE and isinstance(value, int | float) else 0.0
        running = detail(seen.fact, "requests_running") or 0
        if usage >= _FULL and running > 1:
            waiting = detail(seen.fact, "requests_waiting")
            beside = f", {format_count(waiting)} waiting" if waiting is not None else ""
            says = f"{counted(running, 'sequence')} running{beside}, {usage:.1%} of the cache in use"
            found.append(Filled(running=running, evidence=Evidence(line=seen.line, text=seen.text, says=says)))
    return min(found, key=lambda one: one.running, default=None)


def with_filled(cause: Cause, log: Log) -> Cause:
    """The cause, with the line that tells who filled the pool."""
    filled = filled_by(cause, log)
    if filled is None or any(item.line == filled.evidence.line for item in cause.evidence):
        return cause
    return replace(cause, evidence=(cause.evidence[0], filled.evidence, *cause.evidence[1:]))


def fewer(hint: Hint, filled: Filled) -> Change | None:
    """A bound of sequences below what filled the pool: the next power of two, as each of them still grows."""
    if hint.up or not {hint.setting, *hint.names} & _SEQUENCES:
        return None
    value = 1 << (filled.running - 1).bit_length() - 1
    says = f"{hint.setting} = {value}: {counted(filled.running, 'sequence')} filled the cache"
    return Change(setting=hint.setting, value=value, up=False, cost=hint.cost, says=says, verdict=Verdict.TIGHT)


def more_room(hint: Hint, levers: tuple[Lever, ...], engine: Engine, outcome: Outcome) -> Change | None:
    """The first value that gives the pool more tokens; None where none does."""
    before = outcome.capacity.kv_tokens.expected
    for lever in levers:
        for value, after in planned(engine, outcome, lever):
            tokens = after.capacity.kv_tokens.expected
            if tokens > before and (after.verdict in FITS or after.verdict.rank <= outcome.verdict.rank):
                says = f"{lever.setting} = {shown(value)}: the cache holds {format_count(tokens)} tokens in place of {format_count(before)}"
                verdict = after.verdict if after.verdict in FITS else Verdict.TIGHT  # the engine runs: it is the load that is too much
                return Change(setting=hint.setting, value=value, up=hint.up, cost=lever.cost, says=says, verdict=verdict)
    return None
