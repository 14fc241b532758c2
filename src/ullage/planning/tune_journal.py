"""A tuning's journal: trials as they are stored, and read back as what the search was told."""

from collections.abc import Sequence
from hashlib import sha256
from math import sqrt

from ullage.domain.baseline import Figure, Trial, TrialState
from ullage.domain.case import Case
from ullage.domain.load import Load, Round
from ullage.domain.tuning import Dial, Estimate, Objective, Point, Told
from ullage.errors import InputError
from ullage.frozen import replace
from ullage.planning.change import apply_change
from ullage.planning.record import mark_machine, mark_model
from ullage.planning.tune_compare import estimate

HEADER = 0  # the number of the entry that says what was asked
_TTFT, _THROUGHPUT = "ttft", "throughput"


def case_of(base: Case, dials: Sequence[Dial], point: Point) -> Case:
    """The question with every dial at its value."""
    case = base
    for dial, at in zip(dials, point, strict=True):
        case = apply_change(case, dial.setting, dial.values[at])
        for name, value in dial.also if at else ():
            case = apply_change(case, name, value)
    return case


def digest(base: Case, dials: Sequence[Dial], objective: Objective, load: Load, program: str) -> str:
    """16 hexadecimal digits of all that a trial's meaning hangs on."""
    shown = (
        (base.engine, str(base.version), base.parallel, base.settings.items, base.environment, base.workload),
        (mark_model(base.model), mark_machine(base)),
        (tuple(dials), objective, load, program),
    )
    return sha256(repr(shown).encode()).hexdigest()[:16]


def figures_of(rounds: Sequence[Round], seconds: float, seen_bytes: int | None) -> tuple[Figure, ...]:
    """What a trial measured, as numbers that are stored."""
    good = [one for each in rounds for one in each.good]
    between = [one.between_s for one in good if one.between_s is not None]
    first = sorted(one.first_s for one in good)
    figures = [Figure(name="seconds", value=seconds, unit="s"), Figure(name="rounds", value=float(len(rounds)))]
    if rounds and good:
        for name, unit, values in (
            (_THROUGHPUT, "tokens/s", [one.tokens_per_s for one in rounds]),
            (_TTFT, "s", [one.first_s for one in rounds]),
        ):
            found = estimate(values)
            figures += [Figure(name=name, value=found.mean, unit=unit), Figure(name=f"{name}_deviation", value=found.deviation, unit=unit)]
        figures.append(Figure(name="ttft_p95", value=first[min(len(first) - 1, len(first) * 95 // 100)], unit="s"))
    if between:
        figures.append(Figure(name="between_tokens", value=sum(between) / len(between), unit="s"))
    if seen_bytes:
        figures.append(Figure(name="seen_bytes", value=float(seen_bytes), unit="bytes"))
    return tuple(figures)


def figure(trial: Trial, name: str) -> float | None:
    """One figure of a trial, or None."""
    return next((one.value for one in trial.figures if one.name == name), None)


def speed_of(trial: Trial, objective: Objective) -> Estimate | None:
    """What a trial is compared by: the time to the first token where that is the objective, else tokens a second."""
    name = _TTFT if objective is Objective.TTFT else _THROUGHPUT
    mean, deviation, rounds = (figure(trial, key) for key in (name, f"{name}_deviation", "rounds"))
    if trial.state is not TrialState.DONE or mean is None or not rounds:
        return None
    return Estimate(mean=mean, deviation=deviation or 0.0, count=int(rounds))


def pooled(trials: Sequence[Trial]) -> Trial:
    """Trials of the same settings as one, the first: all their rounds together, the latest of the late and the most bytes."""
    first, *others = trials
    if not others:
        return first
    found = []
    for one in first.figures:
        parts = [(figure(trial, one.name), figure(trial, "rounds") or 0.0, figure(trial, f"{one.name}_deviation")) for trial in trials]
        told = [(value, rounds, deviation or 0.0) for value, rounds, deviation in parts if value is not None]
        count = sum(rounds for _, rounds, _ in told)
        mean = sum(value * rounds for value, rounds, _ in told) / count if count else one.value
        if one.name in {"seconds", "rounds"}:
            found.append(replace(one, value=sum(value for value, _, _ in told)))
        elif one.name in {"ttft_p95", "seen_bytes"}:
            found.append(replace(one, value=max(value for value, _, _ in told)))
        elif not one.name.endswith("_deviation"):
            squares = sum((rounds - 1) * deviation**2 + rounds * (value - mean) ** 2 for value, rounds, deviation in told)
            found.append(replace(one, value=mean))
            if figure(first, f"{one.name}_deviation") is not None:
                found.append(Figure(name=f"{one.name}_deviation", value=sqrt(squares / max(1.0, count - 1)), unit=one.unit))
    return replace(first, figures=tuple(found))


def point_of(trial: Trial, dials: Sequence[Dial]) -> Point:
    """Where a stored trial stands. Raises InputError for one of another tuning."""
    found = []
    for dial in dials:
        value = trial.settings.get(dial.setting)
        if value not in dial.values:
            raise InputError(
                f"trial {trial.number} of {trial.study} has {dial.setting}={value}, which this tuning has not: give --study another name"
            )
        found.append(dial.values.index(value))
    return tuple(found)


def told_of(trials: Sequence[Trial], dials: Sequence[Dial], objective: Objective) -> tuple[Told, ...]:
    """What the search was told, in order; a trial that was cut short tells nothing and is run again."""
    return tuple(
        Told(
            point=point_of(trial, dials),
            state=trial.state,
            speed=speed_of(trial, objective),
            seconds=figure(trial, "seconds") or 0.0,
            peak_bytes=trial.peak.expected if trial.peak is not None else 0,
        )
        for trial in trials
        if trial.number != HEADER and trial.state is not TrialState.STARTED
    )
