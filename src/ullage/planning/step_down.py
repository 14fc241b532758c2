"""The next single change for an engine that ran out of memory although its plan was thought to fit."""

from collections.abc import Callable, Iterator
from functools import partial

from ullage.catalog.traceback_frames import AFTER_FACT
from ullage.domain.case import Case, Value
from ullage.domain.cause import Cause, Diagnosis, FirstAid, Kind, Log, Sighting, Stage
from ullage.domain.engine import Engine
from ullage.domain.facts import Fact
from ullage.domain.ledger import Phase, Purpose
from ullage.domain.machine import HOST
from ullage.domain.plan import Command, Lever, Limit, Plan, Remedy
from ullage.domain.supervision import Launch, StepDown
from ullage.errors import UllageError
from ullage.planning.answer import answer
from ullage.planning.change import shown
from ullage.planning.diagnose import diagnose
from ullage.planning.fit import Outcome, evaluate
from ullage.planning.remedy import cache_gained, is_reserving, planned, pool_bytes, remedy_of, reserved_bytes
from ullage.units import format_bytes

# What could be changed, the best first: of the case as asked, its plan, the facts, and what the failure says ran out.
NextRemedies = Callable[[Case, Plan, tuple[Fact, ...], Limit | None], tuple[Remedy, ...]]
# A command of ours for a case, made ready as the first one was; None where it cannot be.
Prepared = Callable[[Case, Case, Command], Command | None]


def adviser(
    engine: Engine, next_remedies: NextRemedies, prepared: Prepared
) -> Callable[[Launch, tuple[Fact, ...], Limit | None], StepDown | None]:
    """What the supervisor asks after running out of memory."""

    def next_step(launch: Launch, facts: tuple[Fact, ...], limit: Limit | None) -> StepDown | None:
        if launch.case is None:
            return None
        try:
            found = next_remedies(launch.case, answer(engine, launch.case), facts, limit)
        except UllageError:  # outside what the engine's rules know: there is nothing to advise
            return None
        ready = ((remedy, _made(prepared, launch.case, remedy.case, launch.command)) for remedy in found)
        remedy, made = next(((remedy, made) for remedy, made in ready if made not in {None, launch.command}), (None, None))
        if remedy is None or made is None:
            return None
        causes = diagnosed(engine, None, launch.case, facts).causes
        why = f" ({_why(causes[0])})" if causes else ""
        return StepDown(launch=Launch(command=made, case=remedy.case), changes=remedy.changes, text=in_words(launch.case, remedy) + why)

    return next_step


def _made(prepared: Prepared, before: Case, after: Case, command: Command) -> Command | None:
    """The command for a change; None where it cannot be made, which says nothing of the next one."""
    try:
        return prepared(before, after, command)
    except UllageError:
        return None


def _why(cause: Cause) -> str:
    """Phase, what ran out, and the term that it was for."""
    term = f", needed for {cause.term.replace('_', ' ')}" if cause.term is not None else ""
    return f"{cause.stage.replace('_', ' ')}: {cause.summary}{term}"


def in_words(before: Case, remedy: Remedy) -> str:
    """The change, what it was before, what it frees and what it costs."""
    words = []
    for name, value in remedy.changes:
        was = _value(before, name)
        words.append(f"{name} {shown(was)} to {shown(value)}" if was is not None else f"{name} to {shown(value)}")
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


def next_remedies(engine: Engine, aid: FirstAid | None = None) -> NextRemedies:
    """By the engine's levers: the plan's own remedies where it did not fit, else what frees enough of what ran out.

    Enough is what the failed allocation lacked, where its line says so; of a cache that was refused whole, a part of that. Of what frees
    enough comes first what the diagnosis names first, then what costs least; where nothing does, what frees most. Where the engine died
    as it loaded, only what loading takes counts: a smaller cache is no help to it.
    """

    def found(case: Case, plan: Plan, facts: tuple[Fact, ...], limit: Limit | None) -> tuple[Remedy, ...]:
        if plan.remedies:
            return plan.remedies
        before = evaluate(engine, case)
        diagnosis = diagnosed(engine, aid, case, facts)
        cause = diagnosis.causes[0] if diagnosis.causes else None
        runs_out = (cause.limit if cause is not None else None) or limit
        reserving = cause is not None and is_reserving(cause)
        lacking = _lacking_bytes(facts) or (cause.lacking_bytes if cause is not None else None)
        enough = max(lacking or 0, pool_bytes(before) // _MARGIN) if reserving else lacking or _peak(before, runs_out) // _LEAST_SHARE
        loading = cause is not None and cause.stage is Stage.LOAD
        frees = _unreserved if reserving else partial(_unloaded if loading else _freed, limit=runs_out)
        if reserving and aid is not None:  # in the order of the hints: a small change is tried before it is sure to be enough
            order = [hint.setting for hint in aid.hints if Kind.HOST in hint.kinds and Stage.CACHE in hint.stages]
        else:
            order = [change.setting for change in diagnosis.changes]
        ranks = {setting: rank for rank, setting in enumerate(dict.fromkeys(order))}

        def asks_less(changed: Case) -> bool:
            return changed.workload != case.workload

        tried = [pair for lever in engine.levers(before.case) for pair in _best(engine, before, lever, runs_out, enough, frees)]
        tried.sort(
            key=lambda pair: (
                pair[0].frees_bytes < enough,
                reserving and asks_less(pair[0].case),
                _rank(ranks, pair[1]),
                pair[1].cost_rank,
                -pair[0].frees_bytes,
            )
        )
        return tuple(remedy for remedy, _ in tried)

    return found


def diagnosed(engine: Engine, aid: FirstAid | None, case: Case | None, facts: tuple[Fact, ...]) -> Diagnosis:
    """What the facts of a run say of its end."""
    sightings = tuple(Sighting(line=index, fact=fact, text=_words(fact)) for index, fact in enumerate(facts, 1))
    stages = tuple((AFTER_FACT[seen.fact.name], seen.line) for seen in sightings if seen.fact.name in AFTER_FACT)
    log = Log(lines=len(facts), engine=engine.profile.name, version=None, sightings=sightings, stages=stages)
    return diagnose(log, engine=engine, aid=aid, case=case)


def _words(fact: Fact) -> str:
    """All that a fact states, as a line would."""
    return " ".join(str(value) for value in (fact.value, *(value for _, value in fact.details)))


def _rank(ranks: dict[str, int], lever: Lever) -> int:
    """Where the diagnosis names a lever; after all that it names where it does not."""
    names = (lever.setting, *(name for name, _ in lever.also))
    return min((rank for setting, rank in ranks.items() if any(setting.startswith(name) for name in names)), default=len(ranks))


_LEAST_SHARE = 32  # of the peak: what is worth a change where nobody said what was lacking
_TRIFLE = 4  # what frees less than this part of enough is not worth a start
_MARGIN = 4  # of a request that failed with nobody saying what was free: between nothing and all of it was lacking


def _lacking_bytes(facts: tuple[Fact, ...]) -> int:
    """What the last failed allocation lacked, as far as its line tells; 0 where it does not."""
    for fact in reversed(facts):
        if not fact.is_error:
            continue
        details = dict(fact.details)
        wanted = fact.value if fact.unit == "bytes" else details.get("requested_bytes")
        free = details.get("free_bytes")
        if isinstance(wanted, int) and wanted > 0:
            return max(wanted - free, 1) if isinstance(free, int) else max(wanted // _MARGIN, 1)
    return 0


def _best(
    engine: Engine, before: Outcome, lever: Lever, limit: Limit | None, enough: int, freed: Callable[[Outcome, Outcome], int]
) -> Iterator[tuple[Remedy, Lever]]:
    """The first value of a lever that frees enough, else the last that frees anything; none that leaves the command as it is."""
    if lever.setting == "engine_version" or not (limit is None or limit in lever.relieves or _is_memory(lever)):
        return
    best: Remedy | None = None
    same = engine.command(before.case)
    for value, seen in planned(engine, before, lever):
        frees = freed(before, seen)
        if frees <= enough // _TRIFLE or seen.verdict.rank > before.verdict.rank or engine.command(seen.case) == same:
            continue
        best = remedy_of(lever, value, seen, frees)
        if frees >= enough:
            break
    if best is not None:
        yield best, lever


def _is_memory(lever: Lever) -> bool:
    return bool(lever.relieves & {Limit.WORKSPACE, Limit.WEIGHTS, Limit.HOST})


def _unreserved(before: Outcome, after: Outcome) -> int:
    return reserved_bytes(before) - reserved_bytes(after)


def _unloaded(before: Outcome, after: Outcome, limit: Limit | None) -> int:
    """Bytes that loading takes less on the fullest device of the kind that ran out."""
    kinds = (device.id for device in before.case.machine.devices if limit is not Limit.HOST or device.kind == "cpu")
    wanted = {*kinds, *({HOST} if limit is Limit.HOST else ())}
    was, now = (max((_loading(seen, device) for device in wanted), default=0) for seen in (before, after))
    return was - now


def _loading(outcome: Outcome, device: str) -> int:
    """What a device holds as the weights are loaded."""
    ledger = outcome.ledger
    stays = ledger.of(device, Purpose.WEIGHTS).expected + ledger.of(device, Purpose.BUFFERS).expected
    return max(ledger.at(device, Phase.LOAD).expected, stays)


def _freed(before: Outcome, after: Outcome, limit: Limit | None) -> int:
    """Bytes that the fullest device of the kind that ran out needs less; for a cache that is too small, what it gains."""
    if limit is Limit.CACHE:
        return cache_gained(before, after)
    return _peak(before, limit) - _peak(after, limit)


def _peak(outcome: Outcome, limit: Limit | None) -> int:
    cards = {device.id for device in outcome.case.machine.devices}
    wanted = {HOST} if limit is Limit.HOST and any(seen.device == HOST for seen in outcome.devices) else cards
    return max((seen.peak.expected for seen in outcome.devices if seen.device in wanted), default=outcome.peak_bytes)
