"""The next single change for an engine that ran out of memory although its plan was thought to fit."""

from collections.abc import Callable, Iterator

from ullage.domain.case import Case, Value
from ullage.domain.engine import Engine
from ullage.domain.facts import Fact
from ullage.domain.machine import HOST
from ullage.domain.plan import Command, Lever, Limit, Plan, Remedy
from ullage.domain.supervision import Launch, StepDown
from ullage.errors import UllageError
from ullage.planning.answer import answer
from ullage.planning.change import apply_lever
from ullage.planning.fit import Outcome, evaluate
from ullage.units import format_bytes

# What ran out, from the engine's own words: the case as asked, its plan, the facts, and what the failure says ran out.
NextRemedy = Callable[[Case, Plan, tuple[Fact, ...], Limit | None], Remedy | None]
# A command of ours for a case, made ready as the first one was; None where it cannot be.
Prepared = Callable[[Case, Case, Command], Command | None]


def adviser(
    engine: Engine, next_remedy: NextRemedy, prepared: Prepared
) -> Callable[[Launch, tuple[Fact, ...], Limit | None], StepDown | None]:
    """What the supervisor asks after running out of memory."""

    def next_step(launch: Launch, facts: tuple[Fact, ...], limit: Limit | None) -> StepDown | None:
        if launch.case is None:
            return None
        try:
            remedy = next_remedy(launch.case, answer(engine, launch.case), facts, limit)
            made = None if remedy is None else prepared(launch.case, remedy.case, launch.command)
        except UllageError:  # outside what the engine's rules know: there is nothing to advise
            return None
        if remedy is None or made is None:
            return None
        return StepDown(launch=Launch(command=made, case=remedy.case), changes=remedy.changes, text=in_words(launch.case, remedy))

    return next_step


def in_words(before: Case, remedy: Remedy) -> str:
    """The change, what it was before, what it frees and what it costs."""
    words = []
    for name, value in remedy.changes:
        was = _value(before, name)
        words.append(f"{name} {was} to {value}" if was is not None else f"{name} to {value}")
    frees = f", which frees {format_bytes(remedy.frees_bytes)}" if remedy.frees_bytes else ""
    return f"{', '.join(words)}{frees} (it costs: {remedy.cost})"


def _value(case: Case, name: str) -> Value:
    match name:
        case "tensor":
            return case.parallel.tensor
        case "pipeline":
            return case.parallel.pipeline
        case "context":
            return case.workload.context_tokens
        case "concurrency":
            return case.workload.concurrent_sequences
        case _:
            return case.settings.get(name)


def next_remedy(engine: Engine) -> NextRemedy:
    """By the engine's levers: the plan's own remedies where it did not fit, else the cheapest change that needs less of what ran out."""

    def found(case: Case, plan: Plan, _facts: tuple[Fact, ...], limit: Limit | None) -> Remedy | None:
        if plan.remedies:
            return plan.remedies[0]
        before = evaluate(engine, case)
        tried = sorted(_candidates(engine, before, limit), key=lambda pair: (pair[1].cost_rank, pair[0].verdict.rank))
        return tried[0][0] if tried else None

    return found


def _candidates(engine: Engine, before: Outcome, limit: Limit | None) -> Iterator[tuple[Remedy, Lever]]:
    for lever in engine.levers(before.case):
        if lever.setting == "engine_version" or not (limit is None or limit in lever.relieves or _is_memory(lever)):
            continue
        for value in lever.values:
            try:
                seen = evaluate(engine, apply_lever(before.asked, lever, value, length_setting=engine.profile.length_setting))
            except UllageError:
                continue
            frees = _freed(before, seen, limit)
            if frees > 0 and seen.verdict.rank <= before.verdict.rank:
                changes = ((lever.setting, value), *((name, other) for name, other in lever.also if other is not None))
                yield Remedy(changes=changes, frees_bytes=frees, cost=lever.cost, verdict=seen.verdict, case=seen.asked), lever
                break


def _is_memory(lever: Lever) -> bool:
    return bool(lever.relieves & {Limit.WORKSPACE, Limit.WEIGHTS, Limit.HOST})


def _freed(before: Outcome, after: Outcome, limit: Limit | None) -> int:
    """Bytes that the fullest device of the kind that ran out needs less; for a cache that is too small, what it gains."""
    if limit is Limit.CACHE:
        more = after.capacity.kv_cache_bytes.expected - before.capacity.kv_cache_bytes.expected
        return max(0, more) + max(0, before.capacity.needed_bytes - after.capacity.needed_bytes)
    return _peak(before, limit) - _peak(after, limit)


def _peak(outcome: Outcome, limit: Limit | None) -> int:
    cards = {device.id for device in outcome.case.machine.devices}
    wanted = {HOST} if limit is Limit.HOST and any(seen.device == HOST for seen in outcome.devices) else cards
    return max((seen.peak.expected for seen in outcome.devices if seen.device in wanted), default=outcome.peak_bytes)
