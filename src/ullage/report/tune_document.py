"""A tuning as a document and as JSON under schema ``ullage.tune/1``."""

from ullage.domain.baseline import Trial, TrialState
from ullage.domain.hyperparameters import Json
from ullage.domain.tuning import Shown
from ullage.planning.tune_journal import figure
from ullage.report import document as doc
from ullage.report.as_json import command_as_values, plan_values
from ullage.report.pareto_text import drawn
from ullage.report.tune_result import Mark, Tuned, dials_text, marks
from ullage.units import format_bytes

SCHEMA = "ullage.tune/1"
_FEWEST_DRAWN = 3  # the table shows as much of fewer
_SHOWN = {
    Shown.BEST: ("TUNED", "", "good"),
    Shown.NEAR: ("NOT DECIDED", "; what else was measured is too near to tell: a longer --trial and --budget tell more", "warn"),
    Shown.ALONE: ("NOT TUNED", "; nothing else was measured to compare it with: give more --budget", "warn"),
}
_STEPS = (doc.Column("trial", is_number=True), doc.Column("state"), doc.Column("kept"), doc.Column("step"))
_FRONT = (
    doc.Column("trial", is_number=True),
    doc.Column("peak", is_number=True),
    doc.Column("tokens/s", is_number=True),
    doc.Column("first token", is_number=True),
    doc.Column("p95", is_number=True),
    doc.Column("between", is_number=True),
    doc.Column(""),
    doc.Column("settings"),
)


def tuned_document(tuned: Tuned) -> doc.Document:
    """The winner, every step, the front and the picture, the command."""
    from shlex import join, quote  # noqa: PLC0415 - only a shown command is quoted

    steps = tuple((str(one.number), str(one.state), "kept" if one.kept else "", one.because) for one in tuned.trials)
    found = marks(tuned)
    blocks: list[doc.Block] = [_verdict(tuned), doc.Paragraph(_summary(tuned))]
    if steps:
        blocks += [doc.Heading("Steps"), doc.Table(_STEPS, steps)]
    if found:
        rows = tuple(_row(tuned, mark) for mark in found)
        blocks += [doc.Heading("Throughput against memory (* nothing is faster with as little)"), doc.Table(_FRONT, rows)]
        blocks += [doc.Code(drawn(found))] if len(found) >= _FEWEST_DRAWN else []
    if tuned.plan is not None:
        command = tuned.plan.command
        variables = "".join(f"{name}={quote(value)} " for name, value in command.environment)
        blocks += [doc.Heading("Command"), doc.Code(variables + join(command.argv))]
    if tuned.notes:
        blocks += [doc.Heading("Notes"), doc.Items(tuned.notes)]
    return tuple(blocks)


def _verdict(tuned: Tuned) -> doc.Verdict:
    if tuned.best is None:
        ran = any(one.state in {TrialState.DONE, TrialState.FAILED, TrialState.STARTED} for one in tuned.trials)
        return doc.Verdict("NO RESULT" if ran else "NOTHING RAN", tuned.reason, "bad")
    measured = next((mark.trial for mark in marks(tuned) if mark.is_best), tuned.best)
    speed, first = figure(measured, "throughput") or 0.0, figure(measured, "ttft") or 0.0
    said = f"{dials_text(tuned, tuned.best)}: {speed:,.1f} tokens/s, first token after {_seconds(first)} on average"
    word, more, mood = _SHOWN[tuned.shown]
    return doc.Verdict(word, said + more, mood)


def _summary(tuned: Tuned) -> str:
    ran = [one for one in tuned.trials if one.state in {TrialState.DONE, TrialState.FAILED}]
    skipped = sum(one.state is TrialState.SKIPPED for one in tuned.trials)
    how = f"{tuned.load.clients} clients that wait for their answers" if tuned.load.clients is not None else "arrivals at their own times"
    before = f", {tuned.taken} of them taken from the journal" if tuned.taken else ""
    return (
        f"{tuned.objective} for {len(tuned.load.requests)} requests a round, {how}: {len(ran)} trials run{before}, "
        f"{skipped} not run as they do not fit. It ended because: {tuned.reason}. Journal {tuned.name}."
    )


def _row(tuned: Tuned, mark: Mark) -> tuple[str, ...]:
    first, late, between = (figure(mark.trial, name) for name in ("ttft", "ttft_p95", "between_tokens"))
    sign = ("*" if mark.is_front else "") + (" winner" if mark.is_best else "")
    return (
        ", ".join(map(str, mark.numbers)),
        format_bytes(mark.nbytes),
        f"{mark.tokens_per_s:,.1f}{_width(mark.trial)}",
        _seconds(first),
        _seconds(late),
        _seconds(between),
        sign.strip(),
        dials_text(tuned, mark.trial),
    )


def _width(trial: Trial) -> str:
    """Half of the 95 % interval beside the mean, where there is one."""
    from ullage.domain.tuning import Objective  # noqa: PLC0415 - as below
    from ullage.planning.tune_compare import half_width  # noqa: PLC0415 - only a table needs it
    from ullage.planning.tune_journal import speed_of  # noqa: PLC0415 - as above

    speed = speed_of(trial, Objective.THROUGHPUT)
    return f" +-{half_width(speed):,.1f}" if speed is not None and speed.count > 1 else ""


def _seconds(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.2f} s" if value >= 1 else f"{value * 1000:.0f} ms"


def tuned_values(tuned: Tuned) -> dict[str, Json]:
    """The same as JSON."""
    front = {number for mark in marks(tuned) if mark.is_front for number in mark.numbers}
    return {
        "schema": SCHEMA,
        "study": tuned.name,
        "objective": str(tuned.objective),
        "reason": tuned.reason,
        "taken": tuned.taken,
        "shown": None if tuned.best is None else str(tuned.shown),
        "best": None if tuned.best is None else tuned.best.number,
        "settings": None if tuned.best is None else dict(tuned.best.settings.items),
        "command": None if tuned.plan is None else command_as_values(tuned.plan.command),
        "plan": None if tuned.plan is None else plan_values(tuned.plan),
        "load": {
            "requests": len(tuned.load.requests),
            "clients": tuned.load.clients,
            "prompt_tokens": sum(one.prompt_tokens for one in tuned.load.requests),
            "output_tokens": sum(one.output_tokens for one in tuned.load.requests),
        },
        "trials": [_trial_values(one, is_front=one.number in front) for one in tuned.trials],
        "notes": list(tuned.notes),
    }


def _trial_values(trial: Trial, *, is_front: bool) -> dict[str, Json]:
    peak = trial.peak
    return {
        "number": trial.number,
        "state": str(trial.state),
        "kept": trial.kept,
        "front": is_front,
        "because": trial.because,
        "settings": dict(trial.settings.items),
        "promised_peak": None if peak is None else {"low": peak.low, "expected": peak.expected, "high": peak.high},
        "figures": {one.name: one.value for one in trial.figures},
        "run": trial.run,
        "at": trial.at.isoformat(),
    }
