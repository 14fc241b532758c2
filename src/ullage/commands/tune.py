"""``ullage tune MODEL``: one setting at a time under a real load, then the best combinations around the winner."""

from datetime import UTC, datetime

from ullage.commands.question import ENGINE, FORMATS, MACHINE, PLACEMENT, TOKENIZER, WHICH_ENGINE
from ullage.commands.released import driver_of
from ullage.commands.trial import Enough, Measured, patience, run_trial
from ullage.commands.tune_asked import as_asked, asked_of
from ullage.commands.tuning import Tuning, launcher, read_tuning
from ullage.commands.verb import Answer, Argument, Flags, Option, Verb
from ullage.domain.baseline import Exit, Seen, Trial, TrialState
from ullage.domain.case import Settings
from ullage.domain.supervision import Launch
from ullage.domain.tuning import Ask, Ended, Estimate, Objective, Point, Told
from ullage.errors import InputError
from ullage.frozen import replace
from ullage.planning import tune_words as words
from ullage.planning.answer import as_plan
from ullage.planning.fit import Outcome
from ullage.planning.record import run_of, summarise
from ullage.planning.tune import ask, most_trials
from ullage.planning.tune_journal import HEADER, case_of, figures_of, point_of, told_of
from ullage.ports import World
from ullage.report.tune_result import Tuned

_TUNING = (
    Option("objective", "text", f"What to make the most of: {', '.join(Objective)}.", "WORD", panel="Tuning"),
    Option("budget", "text", "How long all of it may take; 30m unless said.", "TIME", panel="Tuning"),
    Option("trial", "text", "How long one trial may measure; 60s unless said.", "TIME", panel="Tuning"),
    Option("knob", "many", "What to try instead of the engine's own: chunk=256,512,1024, the safest first.", "NAME=VALUES", panel="Tuning"),
    Option("quality", "flag", "Also turn what costs quality, such as narrower weights and keys.", panel="Tuning"),
    Option(
        "most_trials",
        "whole",
        "Trials that are run at most, measuring again too; a third of all combinations unless said.",
        "N",
        panel="Tuning",
    ),
    Option("all", "flag", "Try every combination, to compare a search with.", panel="Tuning"),
    Option(
        "passes", "whole", "Times that --all measures each combination, every time in another order; once unless said.", "N", panel="Tuning"
    ),
    Option("study", "text", "The journal's name; the same question goes on with its own unless said.", "NAME", panel="Tuning"),
    Option("replay", "flag", "Show what the journal holds, and start nothing; with --study its name is enough.", panel="Tuning"),
    Option("plot", "text", "Write throughput against memory as a picture.", "FILE.svg", panel="Tuning"),
)
_LOAD = (
    Option("workload", "text", "Requests to tune for: data, what `ullage workload -o` wrote, or PROMPT:ANSWER.", "FILE", panel="Load"),
    TOKENIZER,
    Option("rate", "text", "Requests a second, arriving at random (an open loop).", "NUMBER", panel="Load"),
    Option("concurrency", "whole", "Clients that each wait for their answer (a closed loop).", "N", panel="Load"),
    Option("requests", "whole", "Requests of a round; a trial repeats rounds until it knows enough.", "N", panel="Load"),
    Option("context", "text", "Prompt plus answer of the longest sequence; that of the workload unless said.", "TOKENS", panel="Load"),
)
_SERVING = (
    WHICH_ENGINE,
    Option("engine_dir", "text", "Where the engine is installed: its environment, or its checkout.", "DIR", panel="Engine"),
    Option("program", "text", "How the engine is started, in place of the command's first word.", "WORDS", panel="Engine"),
    Option("start_seconds", "whole", "How long a start may take.", "SECONDS", panel="Engine"),
)
_OUTPUT = (
    Option("json", "flag", "Answer as JSON."),
    Option("output", "text", "Write the answer to a file.", "FILE", ("--output", "-o")),
    Option("offline", "flag", "Never use the network."),
)


class _Journal:
    """The trials of one tuning, in the store and here."""

    def __init__(self, tuning: Tuning, world: World, asked: Settings) -> None:
        self._tuning, self._world, self._asked = tuning, world, asked
        self.trials = {trial.number: trial for trial in world.store.trials_of(tuning.name)}
        header = self.trials.pop(HEADER, None)
        if header is not None and header.because != tuning.digest:
            raise InputError(f"the journal {tuning.name} is of another question: give --study another name, or ask as before")
        self.is_new = header is None

    def begin(self) -> None:
        """Note what was asked, before the first trial."""
        if self.is_new:
            self._world.store.append_trial(self._trial(HEADER, self._asked, TrialState.DONE, self._tuning.digest))
            self.is_new = False

    def put(self, trial: Trial) -> None:
        """Note a trial, or a newer state of it."""
        self.begin()
        self._world.store.append_trial(trial)
        self.trials[trial.number] = trial

    def opened(self, point: Point, state: TrialState, because: str = "") -> Trial:
        """A trial of a point; one that was cut short keeps its number."""
        settings = case_of(self._tuning.base, self._tuning.dials, point).settings
        again = next((one for one in self.trials.values() if one.state is TrialState.STARTED and one.settings == settings), None)
        number = again.number if again is not None else max(self.trials, default=HEADER) + 1
        return self._trial(number, settings, state, because)

    def of(self, point: Point) -> Trial | None:
        """The trial of a point that was finished."""
        ended = (one for one in self.trials.values() if one.state is not TrialState.STARTED)
        return next((one for one in ended if point_of(one, self._tuning.dials) == point), None)

    def told(self, *newer: Trial) -> tuple[Told, ...]:
        """What the search was told so far; peaks are those of now, as what others hold of a host changes between two days of a tuning."""
        trials = (*(self.trials[number] for number in sorted(self.trials)), *newer)
        told = told_of(trials, self._tuning.dials, self._tuning.objective)
        seen = (self._tuning.outcome(one.point) for one in told)
        return tuple(replace(one, peak_bytes=0 if isinstance(now, str) else now.peak_bytes) for one, now in zip(told, seen, strict=True))

    def speed(self, point: Point | None) -> Estimate | None:
        """What the first good trial of a point measured."""
        return next((one.speed for one in self.told() if one.point == point and one.speed is not None), None)

    def _trial(self, number: int, settings: Settings, state: TrialState, because: str) -> Trial:
        return Trial(
            study=self._tuning.name,
            number=number,
            at=datetime.now(UTC),
            settings=settings,
            state=state,
            because=because,
            parallel=self._tuning.base.parallel,
        )


def run(flags: Flags, world: World) -> Answer:
    """Tune, or replay. Raises every error of the tree."""
    flags = as_asked(VERB, flags, world)
    tuning = read_tuning(flags, world)
    if not flags.flag("replay"):
        world.store.hold_study(tuning.name)
    journal = _Journal(tuning, world, asked_of(VERB, flags))
    taken = sum(one.state is not TrialState.STARTED for one in journal.trials.values())
    ended = _search(flags, world, tuning, journal)
    tuned = _result(tuning, journal, ended, taken)
    from ullage.report import tune_document as report  # noqa: PLC0415 - only when it has ended

    plot = flags.text("plot")
    if plot is not None:
        from ullage.report.pareto_svg import svg  # noqa: PLC0415 - only where a picture is asked for

        world.desk.write(plot, svg(tuned))
    exit_code = 0 if tuned.plan is not None else 1
    if flags.flag("json"):
        return Answer(exit_code, json=report.tuned_values(tuned))
    return Answer(exit_code, document=report.tuned_document(tuned))


def _search(flags: Flags, world: World, tuning: Tuning, journal: _Journal) -> Ended:
    """Ask, try, tell, until the search ends, or a person ends it."""
    while True:
        wanted = ask(tuning.study, journal.told())
        if isinstance(wanted, Ended):
            return wanted
        if flags.flag("replay"):
            return Ended(best=wanted.base, reason="the journal ends here; the same command without --replay goes on")
        if not tuning.fits(wanted.point):
            _skip(tuning, journal, wanted)
            continue
        measured = _try(flags, world, tuning, journal, wanted)
        if measured.was_stopped:
            return Ended(best=_best_now(tuning, journal), reason=words.stopped(len(measured.rounds), is_kept=not measured.problem))


def _best_now(tuning: Tuning, journal: _Journal) -> Point | None:
    """What the search goes on from."""
    following = ask(tuning.study, journal.told())
    return following.best if isinstance(following, Ended) else following.base


def _skip(tuning: Tuning, journal: _Journal, wanted: Ask) -> None:
    """Note a point whose ledger does not fit: it is never run."""
    seen = tuning.outcome(wanted.point)
    why = seen if isinstance(seen, str) else seen.binding
    step = words.in_words(tuning.dials, wanted.base, wanted.point)
    journal.put(journal.opened(wanted.point, TrialState.SKIPPED, f"{step}: not run, as it does not fit: {why}"))


def _try(flags: Flags, world: World, tuning: Tuning, journal: _Journal, wanted: Ask) -> Measured:
    """Run one trial and note it, with the run it was."""
    outcome = _outcome(tuning, wanted.point)
    fullest = max(outcome.devices, key=lambda seen: seen.peak.expected / max(1, seen.total_bytes))
    port = world.processes.free_port()
    command = launcher(tuning, flags, world, port)(outcome.asked)
    step = words.asked(tuning.dials, wanted)
    trial = replace(journal.opened(wanted.point, TrialState.STARTED, step), peak=fullest.peak)
    journal.put(trial)
    launch = Launch(command=command, case=outcome.asked)
    said = (
        f"trial {trial.number} of at most {most_trials(tuning.study)}: {step}; {words.holds(tuning.study, journal.told(), tuning.trial_s)}"
    )
    enough = Enough(tuning.objective, tuning.trial_s, journal.speed(wanted.base))
    measured = run_trial(tuning, launch, world, port, patience(flags.whole("start_seconds")), said, fullest.device, enough)
    if not (measured.was_stopped and measured.problem):
        journal.put(_told(world, tuning, journal, wanted, trial, measured))
    return measured


def _told(world: World, tuning: Tuning, journal: _Journal, wanted: Ask, trial: Trial, measured: Measured) -> Trial:
    """The trial as it ended, its run stored as a baseline."""
    figures = figures_of(measured.rounds, measured.seconds, measured.seen_bytes)
    if measured.problem:
        return replace(trial, state=TrialState.FAILED, figures=figures, because=f"{trial.because}: failed, rolled back: {measured.problem}")
    ended = replace(trial, state=TrialState.DONE, figures=figures, run=_store(world, tuning, wanted.point, trial, measured))
    if wanted.base is None or journal.speed(wanted.base) is None:
        return replace(ended, kept=True, because=f"{trial.because}: the safe start")
    told = journal.told(ended)
    is_kept, brought, verdict = words.judged(tuning.study, tuning.objective, told, wanted)
    took = f", {words.more_memory(_outcome(tuning, wanted.base), _outcome(tuning, wanted.point))}" if wanted.point != wanted.base else ""
    return replace(ended, kept=is_kept, because=f"{trial.because}: {brought}{took}, {verdict}")


def _store(world: World, tuning: Tuning, point: Point, trial: Trial, measured: Measured) -> str:
    """A baseline of the trial; returns its identity."""
    outcome = _outcome(tuning, point)
    plan = as_plan(tuning.engine, outcome, remedies=False)
    made = run_of(plan, id=world.store.new_id(), started_at=trial.at, driver=driver_of(world, outcome.case))
    seen: tuple[Seen, ...] = ()
    if measured.seen_bytes is not None:
        phase = words.peak_phase(outcome.ledger, measured.device)
        whole = measured.seen_bytes + made.others_bytes(measured.device)  # as a promise of everything counts them
        found = summarise(measured.device, None, phase, (), peak_bytes=whole, reached=True)
        seen = () if found is None else (found,)
    figures = figures_of(measured.rounds, measured.seconds, measured.seen_bytes)
    note = f"trial {trial.number} of {tuning.name}"
    world.store.append(replace(made, ended_at=datetime.now(UTC), exit=Exit.FINISHED, figures=figures, seen=seen, note=note))
    return made.id


def _outcome(tuning: Tuning, point: Point) -> Outcome:
    """What the ledger of a point that fits says."""
    found = tuning.outcome(point)
    if isinstance(found, str):
        raise InputError(found)
    return found


def _result(tuning: Tuning, journal: _Journal, ended: Ended, taken: int) -> Tuned:
    trials = tuple(journal.trials[number] for number in sorted(journal.trials))
    best = journal.of(ended.best) if ended.best is not None else None
    plan = None
    if best is not None and ended.best is not None:
        plan = as_plan(tuning.engine, _outcome(tuning, ended.best), remedies=False)
    return Tuned(
        name=tuning.name,
        objective=tuning.objective,
        dials=tuning.dials,
        trials=trials,
        best=best,
        plan=plan,
        reason=ended.reason,
        taken=taken,
        load=tuning.load,
        notes=tuning.notes,
        shown=words.shows(tuning.study, journal.told(), ended.best),
    )


VERB = Verb(
    name="tune",
    help="Try an engine's settings under a real load, one at a time from a safe start, then around the winner, and keep a journal.",
    run=run,
    options=(*_TUNING, *_LOAD, *MACHINE, *PLACEMENT, *_SERVING, *ENGINE, *FORMATS, *_OUTPUT),
    argument=Argument("model", "maybe", "A model as for plan; --replay --study NAME needs none."),
)
