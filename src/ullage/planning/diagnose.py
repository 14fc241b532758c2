"""Why an engine died, from its log and, where it is known, its case."""

from ullage.catalog.death_messages import READY
from ullage.domain.case import Case
from ullage.domain.cause import Cause, Change, Diagnosis, Evidence, FirstAid, Kind, Log, Stage
from ullage.domain.engine import Engine
from ullage.errors import UllageError
from ullage.frozen import replace
from ullage.planning.diagnose_budget import device_of, rebuild
from ullage.planning.diagnose_cause import find_causes
from ullage.planning.diagnose_enough import FITS
from ullage.planning.diagnose_facts import Figures, detail, figures_of
from ullage.planning.diagnose_free import with_free
from ullage.planning.diagnose_load import with_filled
from ullage.planning.diagnose_meaning import WRAPPERS
from ullage.planning.diagnose_others import left_by_others, stopped, with_others_told
from ullage.planning.diagnose_pair import with_others
from ullage.planning.diagnose_remedy import MOST, by_turns, changes, in_turn
from ullage.planning.diagnose_rows import as_logits, asked_of
from ullage.planning.diagnose_sizes import by_sizes
from ullage.planning.fit import Outcome, evaluate
from ullage.units import format_bytes


def diagnose(
    log: Log,
    *,
    engine: Engine | None = None,
    aid: FirstAid | None = None,
    case: Case | None = None,
    is_sized: bool = True,
    notes: tuple[str, ...] = (),
) -> Diagnosis:
    """The causes, the rebuilt budget and the changes. A case that cannot be planned is said in the notes and left out.

    Of a case whose devices' size nobody knows only what does not depend on it is said.
    """
    aid, log = aid or FirstAid(), with_free(log)
    planned, complaint = _outcome(engine, case)
    outcome = planned if is_sized else None
    figures = figures_of(
        log, predicted_weight_bytes=_weights(outcome), fraction=outcome.case.settings.number("gpu_memory_utilization") if outcome else None
    )
    causes = tuple(_in_bytes(cause, log, planned) for cause in find_causes(log, figures, fills_budget=aid.fills_budget))
    causes = by_sizes(causes, log, figures, outcome, device_of(figures, outcome))
    if engine is not None and outcome is not None:
        levers = engine.levers(outcome.case)
        causes = tuple(as_logits(cause, asked_of(cause, log, outcome.case, levers)) for cause in causes)
    causes = with_others_told(tuple(with_filled(cause, log) for cause in causes), log, figures)
    first = causes[0] if causes else None
    ended = _ended(log) if first is None else None
    if engine is not None and outcome is not None:
        beside = with_others(outcome.asked, first, figures)
        outcome = outcome if beside is outcome.asked else evaluate(engine, beside)
    return Diagnosis(
        log=log,
        stage=_stage(log, first),
        causes=causes,
        budget=rebuild(log, figures, outcome, first, planned),
        changes=_changes(causes, aid, log, figures, engine=engine, outcome=outcome),
        misleading=_misleading(log, aid, first, figures),
        noise=_noise(log, first, ended),
        notes=(*_ready_again(log, first), *notes, *complaint),
        model=case.model.name if case is not None else None,
        command=log.commands[-1][1] if log.commands else (),
        ended=ended,
    )


def _changes(
    causes: tuple[Cause, ...], aid: FirstAid, log: Log, figures: Figures, *, engine: Engine | None, outcome: Outcome | None
) -> tuple[Change, ...]:
    """Those for the first cause; where it is one of several explanations of the same line, first what helps against most of them."""
    if not causes:
        return ()
    lines = {item.line for item in causes[0].evidence}
    held = next((one for one in causes[:2] if one.kind is Kind.DEVICE_NOT_FREE), None)
    rest = tuple(one for one in causes if one is not held)
    if held is not None and rest and lines & {item.line for item in rest[0].evidence}:
        freed = tuple(
            stopped(change, figures) for change in changes(held, aid, log, left_by_others(figures), engine=engine, outcome=outcome)
        )
        taken = _changes(rest, aid, log, figures, engine=engine, outcome=outcome)
        is_first = held is causes[0] or not taken or (freed[0].verdict in FITS and taken[0].verdict not in FITS)
        return by_turns([freed, taken] if is_first else [taken, freed])[:MOST]
    open_ones = [
        one for one in causes if not one.stated and one.family is causes[0].family and lines & {item.line for item in one.evidence}
    ]
    asked = open_ones if not causes[0].stated and len(open_ones) > 1 else list(causes[:1])
    return in_turn([changes(cause, aid, log, figures, engine=engine, outcome=outcome) for cause in asked])


def _outcome(engine: Engine | None, case: Case | None) -> tuple[Outcome | None, tuple[str, ...]]:
    if engine is None or case is None:
        return None, ()
    try:
        return evaluate(engine, case), ()
    except UllageError as error:
        return None, (f"the case cannot be planned, so the budget holds only what the log says: {error}",)


def _in_bytes(cause: Cause, log: Log, outcome: Outcome | None) -> Cause:
    """A cache told in tokens: how many bytes are missing for the length asked for."""
    if cause.kind is not Kind.CACHE_TOO_SMALL or cause.lacking_bytes is not None or outcome is None:
        return cause
    pairs = ((detail(seen.fact, "max_model_len"), detail(seen.fact, "kv_tokens")) for seen in log.sightings)
    length, tokens = next(((length, tokens) for length, tokens in pairs if length and tokens is not None), (None, None))
    if length is None or tokens is None or tokens >= length:
        return cause
    return replace(cause, lacking_bytes=outcome.capacity.needed_bytes * (length - tokens) // length)


def _weights(outcome: Outcome | None) -> int | None:
    """What we predict the weights take on the fullest device."""
    if outcome is None:
        return None
    sizes = [
        sum(entry.amount.expected for entry in outcome.ledger.on(device.id) if entry.purpose.value == "weights")
        for device in outcome.case.machine.devices
    ]
    return max(sizes, default=None)


def _stage(log: Log, first: Cause | None) -> Stage:
    """How far the run came: where it died, else the last mark."""
    if first is not None and first.stage is not Stage.UNKNOWN:
        return first.stage
    return log.stages[-1][0] if log.stages else Stage.UNKNOWN


def _misleading(log: Log, aid: FirstAid, first: Cause | None, figures: Figures) -> tuple[Evidence, ...]:
    """Sentences of advice that would not have helped here."""
    found = []
    for line, index, text in log.advice:
        advice = aid.advice[index]
        if first is None or (advice.kinds and first.kind not in advice.kinds):
            continue
        if not advice.gives:
            found.append(Evidence(line=line, text=text, says=advice.why))
            continue
        most, lacking = _gives(advice.gives, log, figures), first.lacking_bytes
        if most is None or lacking is None or most >= lacking:
            continue
        says = f"it can give {format_bytes(max(0, most))} at most, and {format_bytes(lacking)} are missing: {advice.why}"
        found.append(Evidence(line=line, text=text, says=says))
    return tuple(found)


def _gives(what: str, log: Log, figures: Figures) -> int | None:
    if what == "share":
        total, budget = figures.total_bytes, figures.budget_bytes
        return total - budget if total is not None and budget is not None else None
    spare = [detail(seen.fact, "unallocated_bytes") for seen in log.sightings]
    return next((size for size in spare if size is not None), None)


def _ready_again(log: Log, first: Cause | None) -> tuple[str, ...]:
    """That a server came up after the last failure, if one did."""
    failed = max((seen.line for seen in log.sightings if seen.fact.is_error), default=0)
    came_up = next((seen for seen in log.sightings if seen.fact.name == READY and seen.line > failed), None)
    if first is None or came_up is None:
        return ()
    return (f"after this failure, at line {came_up.line}, a server was ready again: {came_up.text[:80]!r}",)


def _ended(log: Log) -> Evidence | None:
    """The last line that stands for an error told elsewhere, unless a server came up after it."""
    seen = next((seen for seen in reversed(log.sightings) if seen.fact.name in WRAPPERS), None)
    if seen is None or any(one.fact.name == READY and one.line > seen.line for one in log.sightings):
        return None
    return Evidence(line=seen.line, text=seen.text, says="it died, and nothing in the log says why")


def _noise(log: Log, first: Cause | None, ended: Evidence | None) -> tuple[Evidence, ...]:
    """What looks like an error and is none: the talk of a shutdown, and what only wraps the cause."""
    words = {"benign": "what a process says when it stops; no failure", "wrapper": "stands for an error told elsewhere in the log"}
    words["warning"] = "a warning: the engine goes on without it"
    if ended is not None:  # nothing tells the error that they stand for
        del words["wrapper"]
    found: dict[str, Evidence] = {}
    for seen in log.sightings:
        says = words.get(seen.fact.name)
        if says is not None and (first is None or first.kind is not Kind.BUG):
            found.setdefault(seen.text[:60], Evidence(line=seen.line, text=seen.text, says=says))
    return tuple(found.values())[:6]
