"""What to change: single changes in the direction that this failure needs, the smallest that is predicted to fit first."""

import re
from collections.abc import Iterator
from typing import Final

from ullage.catalog.common_hints import AFTER, BEFORE, HAZARDS
from ullage.domain.architecture import ExpertFeedForward
from ullage.domain.case import Value
from ullage.domain.cause import NAMED, Cause, Change, Family, FirstAid, Hint, Kind, Log
from ullage.domain.engine import Engine
from ullage.domain.ledger import Purpose
from ullage.domain.plan import Lever, Verdict
from ullage.planning.change import shown
from ullage.planning.diagnose_enough import FITS, asked_after, is_beside_cards, is_met, is_surely_less, lacking, relief, verdict_after
from ullage.planning.diagnose_facts import Figures, detail, release_of
from ullage.planning.diagnose_guess import FRACTIONS, as_value, guess
from ullage.planning.diagnose_load import Filled, fewer, filled_by, more_room
from ullage.planning.diagnose_pair import of_share, pair
from ullage.planning.diagnose_rows import Asked, asked_of, shrinks
from ullage.planning.diagnose_said import settings_said
from ullage.planning.diagnose_told import is_named, stated
from ullage.planning.fit import Outcome
from ullage.planning.remedy import planned, remedies
from ullage.units import format_bytes

MOST = 8
_SEVERAL = 2
# Our words for what engines name each in their own way.
_OURS: Final = {
    "tensor_parallel_size": "tensor",
    "tp_size": "tensor",
    "ctx_size": "context",
    "torch_dtype": "dtype",
    "cache_type_k": "cache_type",
}
_HALVES = 8
_OF_EXPERTS: Final = re.compile(r"moe|expert")  # settings of models that have such


def changes(
    cause: Cause, aid: FirstAid, log: Log, figures: Figures, *, engine: Engine | None = None, outcome: Outcome | None = None
) -> tuple[Change, ...]:
    """The changes for one cause. With a case each is planned; what does not reach alone stands last."""
    present = _present(log, figures, outcome)
    levers = engine.levers(outcome.case) if engine is not None and outcome is not None else ()
    filled = filled_by(cause, log)
    is_dense = outcome is not None and not any(
        isinstance(one.feed_forward, ExpertFeedForward) for one in outcome.case.model.architecture.layers
    )
    asked = asked_of(cause, log, outcome.case if outcome is not None else None, levers)
    is_beside = log.host_limit_bytes is not None if outcome is None else is_beside_cards(cause, outcome)
    of_devices = FRACTIONS if is_beside and cause.family is Family.HOST else frozenset()
    release = outcome.case.version.parts if outcome is not None else release_of(log)
    made = [
        _of_kind(hint, cause, log, figures, present, filled, engine, outcome)
        if filled is not None or (cause.kind is Kind.DEVICE_NOT_FREE and hint.setting in FRACTIONS)
        else _planned(hint, cause, engine, outcome, asked) or guess(hint, cause, log, figures, present)
        for hint in _ordered((*BEFORE, *aid.hints, *AFTER), cause, figures, stated(log))
        if hint.setting not in of_devices
        and _is_there(hint, release)
        and (not hint.only_from or str(present.get(hint.setting)) in hint.only_from)
        and not (is_dense and _OF_EXPERTS.search(hint.setting))
    ]
    found = [one for one in made if one is not None]
    if filled is None:
        found += _more(cause, engine, outcome, {one.setting for one in found})
    if engine is not None and outcome is not None and not any(one.verdict in FITS for one in found):
        found += [both for both in (pair(cause, engine, outcome),) if both is not None]
    kept = {(change.setting, change.up): change for change in reversed(found)}
    # Of host memory most that an engine can set is planned: what is not comes after what is.
    unknown = 1 if outcome is not None and cause.family is Family.HOST else 0
    weight: dict[Verdict | None, int] = {None: unknown, **dict.fromkeys(FITS, 0)}
    ordered = sorted(kept.values(), key=lambda change: (not change.is_direct, weight.get(change.verdict, 2), found.index(change)))
    return tuple(ordered)[:MOST]


def _is_there(hint: Hint, release: tuple[int, ...]) -> bool:
    """Whether a release has the setting; one that nobody knows has all."""
    return not release or (release >= hint.since and not (hint.before and release >= hint.before))


def in_turn(rows: list[tuple[Change, ...]]) -> tuple[Change, ...]:
    """The changes for several explanations as one row: two that help against more than one, then one of each in turn."""
    return _hazards_late(_in_turn(rows))


def _hazards_late(row: tuple[Change, ...]) -> tuple[Change, ...]:
    """What lifts a limit that guards the machine stands behind two changes that take less."""
    safe = [change for change in row if change.setting not in HAZARDS]
    return (*safe[:_SEVERAL], *(change for change in row if change.setting in HAZARDS), *safe[_SEVERAL:])


def _in_turn(rows: list[tuple[Change, ...]]) -> tuple[Change, ...]:
    if len(rows) < _SEVERAL:
        return rows[0] if rows else ()
    settings = [{(change.setting, change.up) for change in row} for row in rows]
    shared = [change for row in rows for change in row if sum((change.setting, change.up) in known for known in settings) > 1]
    return by_turns(rows, first=by_turns([tuple(shared)])[:_SEVERAL])[:MOST]


def by_turns(rows: list[tuple[Change, ...]], *, first: tuple[Change, ...] = ()) -> tuple[Change, ...]:
    """Each row's best, then each row's second best, and so on, behind ``first``; of one setting only the earliest."""
    kept: dict[str, Change] = {}
    for change in (*first, *(row[index] for index in range(max(map(len, rows), default=0)) for row in rows if index < len(row))):
        kept.setdefault(change.setting, change)
    return tuple(kept.values())


def _ordered(hints: tuple[Hint, ...], cause: Cause, figures: Figures, known: frozenset[str]) -> Iterator[Hint]:
    """The hints for this kind of failure; those for what the error states, and for what takes most, come first."""
    largest = _largest(figures)
    told = " ".join(item.text for item in cause.evidence).lower().replace("-", "_")
    fitting = [hint for hint in hints if cause.kind in hint.kinds and (not hint.stages or cause.stage in hint.stages)]
    yield from (hint for hint in fitting if hint.when is not None and hint.when is largest)
    yield from (hint for hint in fitting if hint.stated and (hint.stated in known or (hint.stated == NAMED and is_named(hint, told))))
    yield from (hint for hint in fitting if hint.when is None and not hint.stated)


def _largest(figures: Figures) -> Purpose | None:
    """What takes most beside weights and cache, where it takes more than half of what the weights do."""
    sizes = {one.purpose: one.nbytes for one in figures.measured}
    beside = {purpose: size for purpose, size in sizes.items() if purpose not in {Purpose.WEIGHTS, Purpose.KV_CACHE, Purpose.OTHERS}}
    top = max(beside, key=lambda purpose: beside[purpose], default=None)
    return top if top is not None and beside[top] * 2 > sizes.get(Purpose.WEIGHTS, 0) else None


def _present(log: Log, figures: Figures, outcome: Outcome | None) -> dict[str, Value]:
    """What settings are: as the case resolves them, as the log repeats them, as the error says them."""
    found: dict[str, Value] = {**settings_said(log), **{name: as_value(value) for name, value in log.arguments}}
    if outcome is not None:
        found.update({name: value for name, value in outcome.case.settings.items if value is not None})
        found["tensor"] = found["tensor_parallel_size"] = found["tp_size"] = outcome.case.parallel.tensor
        found["concurrency"] = outcome.case.workload.concurrent_sequences
    for seen in log.sightings:
        for name in ("max_num_seqs", "max_model_len", "max_num_batched_tokens", "context_length", "context_tokens"):
            value = detail(seen.fact, name)
            if value is not None and seen.fact.name.startswith(("error.", "max_")):
                found.setdefault(name, value)
    if figures.fraction is not None:
        for name in ("gpu_memory_utilization", "mem_fraction_static"):
            found.setdefault(name, figures.fraction)
    return found


def _of_kind(
    hint: Hint,
    cause: Cause,
    log: Log,
    figures: Figures,
    present: dict[str, Value],
    filled: Filled | None,
    engine: Engine | None,
    outcome: Outcome | None,
) -> Change | None:
    """A change where bytes that were missing tell nothing: a pool that sequences filled, a share of a device that others hold."""
    if filled is not None and (bound := fewer(hint, filled)) is not None:
        return bound
    if engine is not None and outcome is not None:
        levers = tuple(_levers(hint, engine, outcome))
        if filled is None:
            return of_share(hint.setting, hint.cost, figures, engine, outcome)
        if levers:
            return more_room(hint, levers, engine, outcome)
    return guess(hint, cause, log, figures, present)


def _planned(hint: Hint, cause: Cause, engine: Engine | None, outcome: Outcome | None, asked: Asked | None) -> Change | None:
    """The smallest value that makes up for what was missing by our own plan; the last tried where none does."""
    if engine is None or outcome is None or cause.limit is None:
        return None
    best: Change | None = None
    for lever in _levers(hint, engine, outcome):
        for value, after in planned(engine, outcome, lever):
            change = _tried(hint, lever, value, cause, outcome, after, asked)
            if change is None:
                continue
            best = change
            if change.verdict in FITS:
                return change
    return best


def _levers(hint: Hint, engine: Engine, outcome: Outcome) -> Iterator[Lever]:
    now = outcome.case.settings.number(hint.setting)
    own = engine.levers(outcome.case)
    for lever in own if any(lever.setting == hint.setting for lever in own) else (*own, *_halved(hint, now, outcome)):
        if lever.setting not in {hint.setting, *hint.names, _OURS.get(hint.setting, hint.setting)}:
            continue
        first = next(iter(lever.values), None)
        is_number = isinstance(first, int | float) and not isinstance(first, bool)
        if now is not None and is_number and isinstance(first, int | float) and (first > now) is not hint.up:
            continue
        yield lever


def _halved(hint: Hint, now: float | None, outcome: Outcome) -> Iterator[Lever]:
    """A whole number that was stated, halved again and again: the engine has no lever for what nobody sets unasked."""
    stated = outcome.asked.settings.get(hint.setting)
    if hint.up or hint.value is not None or now is None or stated is None or now != int(now):
        return
    values = tuple(int(now) >> times for times in range(1, _HALVES + 1) if int(now) >> times)
    yield Lever(setting=hint.setting, values=values, relieves=frozenset(), cost=hint.cost, cost_rank=2)


def _tried(hint: Hint, lever: Lever, value: Value, cause: Cause, outcome: Outcome, after: Outcome, asked: Asked | None) -> Change | None:
    if is_beside_cards(cause, outcome) and not relief(cause, outcome, after):
        return None  # a remedy of the devices' memory
    freed, short, piece = relief(cause, outcome, after), lacking(cause, outcome), asked_after(asked, cause, outcome, after)
    is_told = asked is not None and asked.free_bytes is not None  # so what was missing is known, and not only what was asked for
    explained = outcome.verdict not in FITS and cause.family is not Family.HOST  # whose limit may be less than the memory there is
    reaches = short is None or freed >= short or (explained and not is_told) or is_met(asked, piece)
    is_direct = asked is not None and asked.rows > 0 and is_met(asked, piece)
    leads_to = verdict_after(cause, outcome, after)
    if leads_to not in FITS and (piece == 0 or (is_direct and explained)):
        leads_to = Verdict.TIGHT  # what was too much is not made at all; or the log tells more of it than a plan that took it for larger
    enough = leads_to in FITS and reaches and is_surely_less(cause, outcome, after, freed)
    gain = f"frees {format_bytes(freed)}" if freed > 0 else "frees nothing by our plan"
    if asked is not None and piece and enough:
        gain = shrinks(asked, piece)
    tail = "; then it fits" if enough and leads_to is Verdict.FITS else "; then it is tight" if enough else "; not enough alone"
    return Change(
        setting=hint.setting,
        value=value,
        up=hint.up,
        cost=lever.cost,
        says=f"{lever.setting} = {shown(value)}: {gain}{tail}{_reason(after, leads_to, short, reaches=reaches) if not enough else ''}",
        verdict=leads_to if enough else Verdict.DOES_NOT_FIT,
        frees_bytes=freed,
        is_direct=enough and is_direct,
    )


def _reason(after: Outcome, leads_to: Verdict, short: int | None, *, reaches: bool) -> str:
    """Why a change is not enough."""
    if not reaches and short:
        return f", {format_bytes(short)} were missing"
    if leads_to in FITS:
        return ""
    if leads_to is after.verdict:
        return f": {after.binding}"
    worst = max(after.devices, key=lambda seen: seen.peak.expected - seen.total_bytes)
    return f": {worst.device} still needs {format_bytes(worst.peak.expected)} of {format_bytes(worst.total_bytes)}"


def _more(cause: Cause, engine: Engine | None, outcome: Outcome | None, known: set[str]) -> list[Change]:
    """Remedies of the plan itself, where what binds there is what failed here."""
    if engine is None or outcome is None or outcome.limit is not cause.limit:
        return []
    found = []
    for remedy in remedies(engine, outcome):
        name, value = remedy.changes[0]
        if name in known or name in {_OURS.get(word, word) for word in known}:
            continue
        says = f"{name} = {shown(value)}: frees {format_bytes(remedy.frees_bytes)}"
        found.append(
            Change(setting=name, value=value, up=False, cost=remedy.cost, says=says, verdict=remedy.verdict, frees_bytes=remedy.frees_bytes)
        )
    return found
