"""What nobody stated is solved for: where the model lies, how long a context, and the settings that make it fit.

Effects are not assumed to be monotonic: every candidate is a full case, evaluated as the engine would run it.
"""

from collections.abc import Iterable, Iterator
from itertools import islice, product
from math import log

from ullage.domain.case import Case, Value
from ullage.domain.engine import Engine
from ullage.domain.ledger import Purpose
from ullage.domain.placement import Parallel
from ullage.domain.plan import Finding, Lever, Limit, Plan, Verdict
from ullage.errors import InputError
from ullage.frozen import replace
from ullage.planning.answer import as_plan
from ullage.planning.change import apply_change
from ullage.planning.fit import Outcome, evaluate

OBJECTIVES = ("context", "concurrency", "devices")
ROUNDS = 5  # how often a length is shortened to what the last one's cache held
MOST_TRIED = 16  # settings and lengths of one candidate among many
MOST_SEQUENCES = 4097  # more at once is nobody's question
COMFORTABLE_TOKENS = 8192  # the context assumed when only concurrency is asked for


def solve(engine: Engine, case: Case, *, objective: str = "context", remedies: bool = True, findings: tuple[Finding, ...] = ()) -> Plan:
    """The best plan for the objective. Stated settings, degrees and lengths are kept as they are. Raises InputError."""
    return as_plan(engine, find_best(engine, case, objective), remedies=remedies, findings=findings)


def find_best(engine: Engine, case: Case, objective: str = "context") -> Outcome:
    """The best outcome for the objective, with the question it answers. Raises InputError."""
    if objective not in OBJECTIVES:
        raise InputError(f"objective {objective!r} is not known: use {', '.join(OBJECTIVES)}")
    if objective == "concurrency" and case.workload.context_tokens is None and not _states_length(engine, case):
        length = min(COMFORTABLE_TOKENS, case.model.architecture.max_context_tokens or COMFORTABLE_TOKENS)
        case = replace(case, workload=replace(case.workload, context_tokens=length))
    best: Outcome | None = None
    for outcome in _candidates(engine, case, objective):
        if best is None or key(outcome, objective) < key(best, objective):
            best = outcome
    return best if best is not None else evaluate(engine, case)


def best_there(engine: Engine, case: Case, objective: str = "context", *, within_bytes: int | None = None) -> Outcome:
    """The best outcome on the layout the case has: as asked, then with the settings that are solved for, until one is enough.

    What is further than ``within_bytes`` from fitting is left as it was asked.
    """
    best: Outcome | None = None
    for outcome in islice(_settled(engine, case, objective), MOST_TRIED):
        if best is None or key(outcome, objective) < key(best, objective):
            best = outcome
        if _is_enough(outcome, case) or (within_bytes is not None and shortfall_bytes(outcome) > within_bytes):
            break
    return best if best is not None else evaluate(engine, case)


def _candidates(engine: Engine, case: Case, objective: str) -> Iterator[Outcome]:
    """Layouts with their defaults first, in the engine's order; only where none is enough, the searched levers on each."""
    layouts = tuple(_layouts(engine, case, objective))
    if objective != "concurrency":
        for layout in layouts:
            outcomes = list(_lengths(engine, replace(case, parallel=layout)))
            yield from outcomes
            if any(_is_enough(outcome, case) for outcome in outcomes):
                return
    for layout in layouts:
        outcomes = list(_settled(engine, replace(case, parallel=layout), objective))
        yield from outcomes
        if objective == "concurrency":
            yield from _crowds(engine, max(outcomes, key=_held), case)
        if any(_is_enough(outcome, case) for outcome in outcomes):
            return


def _held(outcome: Outcome) -> tuple[bool, int]:
    return outcome.verdict in {Verdict.FITS, Verdict.TIGHT}, outcome.capacity.max_sequences.low


def _crowds(engine: Engine, outcome: Outcome, case: Case) -> Iterator[Outcome]:
    """More sequences at once than asked, for engines whose memory follows the number: doubled while they fit, then bisected."""
    if "concurrency" in case.stated or outcome.verdict not in {Verdict.FITS, Verdict.TIGHT}:
        return
    good, bad = max(1, outcome.capacity.max_sequences.low), MOST_SEQUENCES
    step = good * 2
    while good + 1 < bad:
        seen = evaluate(engine, replace(outcome.asked, workload=replace(outcome.asked.workload, concurrent_sequences=min(step, bad - 1))))
        if seen.verdict is Verdict.FITS and seen.capacity.max_sequences.low >= min(step, bad - 1):
            yield seen
            good = min(step, bad - 1)
        else:
            bad = min(step, bad - 1)
        step = good * 2 if bad == MOST_SEQUENCES else (good + bad) // 2


def _using(engine: Engine, outcome: Outcome) -> Case:
    """Where a release's own defaults leave the accelerators without weights, with the searched levers that only make use of them."""
    case, cards = outcome.asked, [device.id for device in outcome.case.devices if device.kind != "cpu"]
    if not cards or any(outcome.ledger.of(card, Purpose.WEIGHTS).expected for card in cards):
        return case
    for lever in engine.levers(outcome.case):
        if lever.searched and not lever.relieves and not case.settings.has(lever.setting):
            case = apply_change(case, lever.setting, lever.searched[0])
    return case


def _layouts(engine: Engine, case: Case, objective: str) -> Iterable[Parallel]:
    if "parallel" in case.stated:
        return (case.parallel,)
    layouts = engine.layouts(case)
    return sorted(layouts, key=lambda layout: layout.devices) if objective == "devices" else layouts


def _settled(engine: Engine, case: Case, objective: str) -> Iterator[Outcome]:
    first = list(_lengths(engine, case))
    yield from first
    if any(_is_enough(outcome, case) for outcome in first) and objective != "concurrency":
        return
    levers = [lever for lever in engine.levers(first[0].case) if lever.searched and not case.settings.has(lever.setting)]
    if all(outcome.limit in _HARD for outcome in first):
        levers = [lever for lever in levers if first[0].limit in lever.relieves]
    if not levers:
        return
    for values in product(*(_choices(lever) for lever in levers)):
        changed = case
        for lever, value in zip(levers, values, strict=True):
            changed = changed if value is _UNCHANGED else apply_change(changed, lever.setting, value)  # type: ignore[arg-type]
        if changed is not case:
            yield from _lengths(engine, changed)


# What an engine refuses by its shape, or weights that no device holds, is changed only by levers made for it.
_HARD = frozenset({Limit.START, Limit.WEIGHTS})
_UNCHANGED = object()


def _choices(lever: Lever) -> tuple[Value | object, ...]:
    return (_UNCHANGED, *lever.searched)


def _is_enough(outcome: Outcome, case: Case) -> bool:
    """Fits, at the length asked for or at the model's whole length, with as many sequences as were asked for."""
    if outcome.verdict is not Verdict.FITS or _is_short(outcome):
        return False
    wanted = case.workload.context_tokens or case.model.architecture.max_context_tokens or 0
    return (outcome.case.workload.context_tokens or outcome.capacity.max_context_tokens.low) >= wanted


def _is_short(outcome: Outcome) -> bool:
    """Whether more sequences were asked for than the cache holds at this length."""
    asked = outcome.case.workload.concurrent_sequences
    return asked > 1 and outcome.capacity.max_sequences.low < asked


def _lengths(engine: Engine, case: Case) -> Iterator[Outcome]:
    """As asked; and where the length was left open, shorter ones that the cache of the one before would hold."""
    outcome = evaluate(engine, case)
    used = _using(engine, outcome)
    if used is not outcome.asked:
        case, outcome = used, evaluate(engine, used)
    yield outcome
    if case.workload.context_tokens is not None or _states_length(engine, case):
        return
    tried: set[int] = set()
    for _ in range(ROUNDS):
        if (outcome.verdict is Verdict.FITS and not _is_short(outcome)) or outcome.limit is Limit.WEIGHTS:
            return
        length = _rounded(_each(outcome))
        if length <= 0 or length in tried:
            length = _rounded(min([*tried, outcome.case.model.architecture.max_context_tokens or COMFORTABLE_TOKENS]) // 2)
        if length <= 0:
            return
        tried.add(length)
        outcome = evaluate(engine, replace(case, workload=replace(case.workload, context_tokens=length)))
        yield outcome


def _each(outcome: Outcome) -> int:
    """The length that every one of the asked sequences could have."""
    asked = outcome.case.workload.concurrent_sequences
    return outcome.capacity.max_context_tokens.low if asked == 1 else outcome.capacity.kv_tokens.low // asked


def _states_length(engine: Engine, case: Case) -> bool:
    return bool(engine.profile.length_setting) and case.settings.has(engine.profile.length_setting)


def _rounded(tokens: int) -> int:
    """Down to a round number that is easy to type and keeps blocks whole."""
    step = 1024 if tokens >= 4096 else 256 if tokens >= 1024 else 16  # noqa: PLR2004 - three sizes of a round number
    return tokens // step * step


def key(outcome: Outcome, objective: str) -> tuple[int, int, int, int, int]:
    """Smaller is better: verdict, how far it is from fitting, then the objective, then how little was changed."""
    said = len(outcome.asked.settings.items)
    rank, devices = outcome.verdict.rank, outcome.case.parallel.devices
    if rank > Verdict.TIGHT.rank or _is_short(outcome):
        return Verdict.DOES_NOT_FIT.rank, shortfall_bytes(outcome), -devices, said, 0
    context = outcome.case.workload.context_tokens or outcome.capacity.max_context_tokens.low
    context = min(context, outcome.case.model.architecture.max_context_tokens or context)
    match objective:
        case "concurrency":
            held = max(outcome.capacity.max_sequences.low, outcome.case.workload.concurrent_sequences)
            return rank, -_coarse(held), devices, said, 0
        case "devices":
            return rank, devices, -_coarse(context), said, 0
        case _:
            return rank, -_coarse(context), devices, said, -context


def _coarse(count: int) -> int:
    """Counts within a few percent of each other are alike, so that nothing is changed for a trifle."""
    return int(log(max(count, 1)) / log(1.04))


def shortfall_bytes(outcome: Outcome) -> int:
    """Bytes by which devices are passed, plus what the cache lacks."""
    over = sum(max(0, seen.peak.expected - seen.total_bytes) for seen in outcome.devices)
    lacking = max(0, outcome.capacity.needed_bytes - outcome.capacity.kv_cache_bytes.expected)
    return over + lacking + (1 if outcome.verdict is Verdict.REFUSED else 0)
