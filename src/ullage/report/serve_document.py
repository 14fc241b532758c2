"""What would be started, and how it went, as documents and as JSON."""

from difflib import SequenceMatcher

from ullage.domain.hyperparameters import Json
from ullage.domain.plan import Command, Plan
from ullage.domain.supervision import Phase, Run, State
from ullage.report import document as doc
from ullage.report.as_json import command_as_values
from ullage.report.serve_verdict import verdict_values

SCHEMA = "ullage.serve/1"
_RUNS = (
    doc.Column("run", is_number=True),
    doc.Column("ready after", is_number=True),
    doc.Column("lasted", is_number=True),
    doc.Column("settings"),
    doc.Column("end"),
    doc.Column("reason"),
)


def command_document(command: Command, notes: tuple[str, ...]) -> doc.Document:
    """The command as it would be started, its environment, and every file it needs."""
    from shlex import join, quote  # noqa: PLC0415 - only a shown command is quoted

    variables = "".join(f"{name}={quote(value)} " for name, value in command.environment)
    files = (block for name, text in command.files for block in (doc.Heading(name), doc.Code(text.rstrip("\n"))))
    return (
        doc.Heading("Command"),
        doc.Code(variables + join(command.argv)),
        *files,
        *((doc.Heading("Notes"), doc.Items(notes)) if notes else ()),
    )


def command_values(command: Command, plan: Plan | None, notes: tuple[str, ...]) -> dict[str, Json]:
    """The same as JSON, with what the plan says of it."""
    said: dict[str, Json] = {**verdict_values(plan), "notes": list(notes)}
    return {"schema": SCHEMA, "outcome": "not started", "command": command_as_values(command), **said}


def served_document(state: State, runs: tuple[Run, ...]) -> doc.Document:
    """How it ended, and every run."""
    rows = tuple(
        (
            str(index),
            _seconds(run.ready_seconds),
            _seconds(_lasted(run)),
            _changed(runs[index - 2].launch.command if index > 1 else None, run.launch.command),
            str(run.kind).replace("_", " "),
            run.reason,
        )
        for index, run in enumerate(runs, 1)
    )
    return (doc.Verdict(*_verdict(state)), *((doc.Heading("Runs"), doc.Table(_RUNS, rows)) if rows else ()))


def _changed(before: Command | None, now: Command) -> str:
    """The words of a command that the one before it did not have, each with its flag."""
    if before is None or before == now:
        return "as planned" if before is None else "the same"
    told = []
    for way, gone, went, start, end in SequenceMatcher(None, before.argv, now.argv, autojunk=False).get_opcodes():
        if way == "delete":
            told.append(f"no {' '.join(before.argv[gone:went])}")
        elif way != "equal":
            first = start - 1 if start and now.argv[start - 1].startswith("-") and not now.argv[start].startswith("-") else start
            told.append(" ".join(now.argv[first:end]))
    return ", ".join(told) or "environment or files changed"


def served_values(state: State, runs: tuple[Run, ...]) -> dict[str, Json]:
    """The same as JSON."""
    return {
        "schema": SCHEMA,
        "outcome": str(state.phase),
        "reason": state.reason,
        "steps": state.steps,
        "command": command_as_values(state.launch.command),
        "runs": [
            {
                "ready_seconds": run.ready_seconds,
                "seconds": _lasted(run),
                "kind": str(run.kind),
                "reason": run.reason,
                "exit_code": run.code,
                "signal": run.signal,
            }
            for run in runs
        ],
    }


def files_document(files: tuple[tuple[str, str], ...]) -> doc.Document:
    """Each file under its name."""
    return tuple(block for name, text in files for block in (doc.Heading(name), doc.Code(text.rstrip("\n"))))


def files_values(files: tuple[tuple[str, str], ...], plan: Plan | None, notes: tuple[str, ...]) -> dict[str, Json]:
    """The same as JSON, with what the plan says of it."""
    said: dict[str, Json] = {**verdict_values(plan), "notes": list(notes)}
    written: list[Json] = [{"name": name, "content": text} for name, text in files]
    return {"schema": SCHEMA, "outcome": "exported", "files": written, **said}


def _verdict(state: State) -> tuple[str, str, str]:
    if state.phase is Phase.STOPPED:
        return "STOPPED", "as it was asked; nothing of it is left", "good"
    return "GIVEN UP", state.reason, "bad"


def _lasted(run: Run) -> float:
    return run.ended_at - run.started_at


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.1f} s"
