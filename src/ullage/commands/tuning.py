"""What ``tune`` is asked: the model with its dials, the load, and the safe start."""

import re
from collections.abc import Callable
from itertools import product
from math import prod
from typing import NamedTuple

from ullage import engines
from ullage.commands.question import find_engine, pairs, read_question
from ullage.commands.released import as_installed, differs, installed
from ullage.commands.remembered import remembering
from ullage.commands.serving import Serving, readied, with_program
from ullage.commands.traffic import read_traffic, with_traffic
from ullage.commands.verb import Flags
from ullage.domain.case import Case
from ullage.domain.engine import Engine
from ullage.domain.load import Asked, Load
from ullage.domain.plan import Command, Verdict
from ullage.domain.tuning import Dial, Objective, Point, Study
from ullage.domain.workload import Arrivals, Lengths
from ullage.errors import InputError, UllageError
from ullage.frozen import replace
from ullage.planning.answer import as_plan
from ullage.planning.fit import Outcome, evaluate
from ullage.planning.launch import LOCAL, server_of
from ullage.planning.search import find_best
from ullage.planning.simulate import draw
from ullage.planning.tune_journal import case_of, digest
from ullage.ports import World

_RUNS = frozenset({Verdict.FITS, Verdict.TIGHT})
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*([smh]?)")
_UNITS = {"s": 1.0, "": 60.0, "m": 60.0, "h": 3600.0}
_CLIENTS, _FEWEST, _OPEN_LOOP = 8, 16, 32
_MOST_POINTS = 20_000  # that are evaluated for their ledger
_WORTH_A_STEP = 0.03  # a smaller gain is not worth another setting: of two that are alike the one that takes less memory wins
_UNREST = 0.03  # what two starts of the same settings are assumed to lie apart until that is measured (standard deviation)
_QUALITY = 3  # the cost rank from which a lever costs quality


class Tuning(NamedTuple):
    """A tuning in full. ``outcome`` answers a point by its ledger; ``command`` is what is started for a case."""

    engine: Engine
    serving: Serving
    base: Case
    dials: tuple[Dial, ...]
    objective: Objective
    load: Load
    study: Study
    digest: str
    name: str
    trial_s: float
    outcome: Callable[[Point], Outcome | str]
    notes: tuple[str, ...]

    def fits(self, point: Point) -> bool:
        """Whether its ledger fits."""
        found = self.outcome(point)
        return not isinstance(found, str) and found.verdict in _RUNS


def read_tuning(flags: Flags, world: World) -> Tuning:
    """What the options ask for. Raises every error of the tree."""
    engine = find_engine(flags, world)
    remarks: tuple[str, ...] = ()
    if flags.text("baselines") is not None:  # not this user's own, to which every trial adds: a tuning that goes on is to plan as it began
        engine, remarks = remembering(flags, world, engine)
    objective, budget_s, trial_s = _objective(flags), seconds(flags, "budget", 1800.0), seconds(flags, "trial", 60.0)
    model = flags.text("model") or ""
    question = read_question(flags, world, engine, model)
    lengths, arrivals, notes = _traffic(flags, world, model)
    question = with_traffic(question, engine, lengths, arrivals, (*notes, *remarks))
    serving, base = _serving(engine, question.case, question.notes)
    there = installed(flags, world, engine, with_program(flags, serving.command).argv)
    if there is not None and there != base.version:
        by_its_rules = as_installed(flags, engine, there)
        if by_its_rules is not flags:
            return read_tuning(by_its_rules, world)
        question = question._replace(notes=(differs(engine.profile, there, base.version), *question.notes))
    dials = _dials(flags, engine, base)
    outcome = _remembered(engine, base, dials)
    load = _load(flags, base, lengths, arrivals)
    start = _start(dials, outcome)
    found = digest(base, dials, objective, load, flags.text("program") or "")
    study = Study(
        sizes=tuple(len(dial.values) for dial in dials),
        start=start,
        more_is_better=objective is not Objective.TTFT,
        ranked=_ranked(objective, dials, outcome),
        least_gain=_WORTH_A_STEP,
        unrest=_UNREST,
        is_exhaustive=flags.flag("all"),
        passes=flags.whole("passes") or 1,
        budget_s=budget_s,
        most_trials=flags.whole("most_trials"),
    )
    name = flags.text("study") or f"tune-{found}{'-all' if study.is_exhaustive else ''}"
    return Tuning(engine, serving, base, dials, objective, load, study, found, name, trial_s, outcome, question.notes)


def _objective(flags: Flags) -> Objective:
    word = flags.text("objective") or Objective.THROUGHPUT
    if word not in list(Objective):
        raise InputError(f"--objective {word}: write {', '.join(Objective)}")
    return Objective(word)


def seconds(flags: Flags, name: str, usual: float) -> float:
    """A duration such as 90s, 30m or 1h; minutes where there is no unit. Raises InputError."""
    text = flags.text(name)
    match = _DURATION.fullmatch(text.strip()) if text is not None else None
    if text is not None and (match is None or not float(match[1])):
        raise InputError(f"--{name} {text}: write a time such as 90s, 30m or 1h")
    return usual if match is None else float(match[1]) * _UNITS[match[2]]


def _traffic(flags: Flags, world: World, model: str) -> tuple[Lengths, Arrivals, tuple[str, ...]]:
    """Lengths and arrivals of the file, or of ``PROMPT:ANSWER``; eight clients where nothing says when requests come."""
    if flags.text("workload") is None:
        raise InputError("say what to tune for: --workload FILE, or --workload 512:128 for prompts and answers of so many tokens")
    lengths, arrivals, notes = read_traffic(flags, world, model)
    if arrivals == Arrivals():
        arrivals = Arrivals(clients=_CLIENTS)
        notes = (
            *notes,
            f"nothing says when requests come: {_CLIENTS} clients are assumed that each wait for their answer (--concurrency, --rate)",
        )
    return lengths, arrivals, notes


def _load(flags: Flags, base: Case, lengths: Lengths, arrivals: Arrivals) -> Load:
    """The requests of a round, none longer than what the engine is told to take."""
    count = flags.whole("requests") or (max(_FEWEST, 2 * arrivals.clients) if arrivals.clients is not None else _OPEN_LOOP)
    most = base.workload.context_tokens or 0
    drawn = (one for one in draw(lengths, arrivals, count=count)[:count] if one.prompt_tokens + one.output_tokens <= most)
    requests = tuple(Asked(one.at_s, one.prompt_tokens, one.output_tokens) for one in drawn)
    if not requests:
        raise InputError(f"no request of the workload is as short as {most} tokens: give a larger --context")
    return Load(requests=requests, clients=arrivals.clients, vocabulary=base.model.architecture.vocab_size)


def _serving(engine: Engine, case: Case, notes: tuple[str, ...]) -> tuple[Serving, Case]:
    """How it is started, and the question with a layout and the settings that a server needs."""
    own = {name: value for server in engine.profile.servers[:1] for name, value in server.settings if not case.settings.has(name)}
    case = replace(case, settings=case.settings.with_(**own), stated=(case.stated | set(own)) - {"concurrency"})
    case = replace(case, workload=replace(case.workload, concurrent_sequences=1))  # clients wait where an engine has no place for all
    if "parallel" not in case.stated:
        best = find_best(engine, case)
        case = replace(case, parallel=best.case.parallel, stated=case.stated | {"parallel"})
    outcome = evaluate(engine, case)
    plan = as_plan(engine, outcome, remedies=False)
    server = server_of(engine.profile, plan.command.argv)
    return Serving(engine, server, plan.command, LOCAL, server.port, case, plan, outcome, is_theirs=False, notes=notes), case


def _dials(flags: Flags, engine: Engine, case: Case) -> tuple[Dial, ...]:
    """The dials that were said, else the engine's own without what was stated and what costs quality."""
    said = pairs("--knob", flags.texts("knob"))
    if said:
        return tuple(_said(engine, name.replace("-", "_"), words) for name, words in said)
    known = engines.dials(engine.profile.name)
    found = known(case) if known is not None else from_levers(engine, case)
    kept = [dial for dial in found if dial.setting not in case.stated and (flags.flag("quality") or not dial.loses)]
    kept = [dial for dial in kept if len(dial.values) > 1]
    if not kept:
        raise InputError(f"{engine.profile.title} has nothing left to turn here: say what to try with --knob NAME=VALUE,VALUE")
    return tuple(kept)


def _said(engine: Engine, name: str, words: str) -> Dial:
    values = tuple(None if word == "default" else engine.validate(name, word) for word in words.split(","))
    if len(set(values)) != len(values):
        raise InputError(f"--knob {name}={words}: a value stands twice")
    return Dial(setting=name, values=values)


def from_levers(engine: Engine, case: Case) -> tuple[Dial, ...]:
    """Dials of an engine that names none: its levers, what relieves most first and the present value last."""
    resolved = engine.resolve(case)
    names = {knob.name for knob in engine.profile.knobs}
    found: dict[str, Dial] = {}
    for lever in engine.levers(resolved):
        if lever.setting not in names or lever.setting == engine.profile.length_setting or lever.also:
            continue
        now = resolved.settings.get(lever.setting)
        values = (*dict.fromkeys((*reversed([value for value in lever.values if value != now]), now)),)
        found.setdefault(lever.setting, Dial(setting=lever.setting, values=values, loses=lever.cost if lever.cost_rank >= _QUALITY else ""))
    return tuple(found.values())


def _remembered(engine: Engine, base: Case, dials: tuple[Dial, ...]) -> Callable[[Point], Outcome | str]:
    """What a point's ledger says, asked once; the error in words where the engine has no answer."""
    known: dict[Point, Outcome | str] = {}

    def outcome(point: Point) -> Outcome | str:
        if point not in known:
            try:
                known[point] = evaluate(engine, case_of(base, dials, point))
            except UllageError as error:
                known[point] = str(error)
        return known[point]

    return outcome


def _points(dials: tuple[Dial, ...]) -> list[Point]:
    """All combinations, the safest first. Raises InputError for too many."""
    count = prod(len(dial.values) for dial in dials)
    if count > _MOST_POINTS:
        raise InputError(
            f"these dials have {count:,} combinations, and at most {_MOST_POINTS:,} are looked at: name fewer values with --knob"
        )
    return sorted(product(*(range(len(dial.values)) for dial in dials)), key=lambda point: (sum(point), point))


def _start(dials: tuple[Dial, ...], outcome: Callable[[Point], Outcome | str]) -> Point:
    """The safest point whose ledger fits. Raises InputError where none does."""
    why = ""
    for point in _points(dials):
        found = outcome(point)
        if not isinstance(found, str) and found.verdict in _RUNS:
            return point
        why = why or (found if isinstance(found, str) else found.binding)
    raise InputError(f"no combination of these values fits: {why}")


def _ranked(objective: Objective, dials: tuple[Dial, ...], outcome: Callable[[Point], Outcome | str]) -> tuple[Point, ...]:
    """For an objective that follows from the ledger: the points that fit, the best first."""
    if not objective.is_planned:
        return ()
    found = [(point, seen) for point in _points(dials) if not isinstance(seen := outcome(point), str) and seen.verdict in _RUNS]
    return tuple(point for point, seen in sorted(found, key=lambda pair: (_worth(objective, pair[1]), pair[0])))


def _worth(objective: Objective, seen: Outcome) -> tuple[int, int]:
    """Less is better."""
    length = -seen.capacity.max_context_tokens.expected
    return (length, seen.peak_bytes) if objective is Objective.CONTEXT else (seen.peak_bytes, length)


def launcher(tuning: Tuning, flags: Flags, world: World, port: int) -> Callable[[Case], Command]:
    """What is started for a case."""
    ready = readied(tuning.serving, flags, world, LOCAL, port, is_private=True)
    return lambda case: ready(with_program(flags, tuning.engine.command(tuning.engine.resolve(case))))
