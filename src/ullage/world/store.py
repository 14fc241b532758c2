"""The store: runs and trials in one SQLite file, written in write-ahead mode, one transaction a change.

A connection lives as long as one call, so that forks, threads and other processes meet only in SQLite's own locks.
"""

import secrets
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from ullage import wire
from ullage.domain.baseline import Run, Trial
from ullage.errors import MalformedFileError, WorldError
from ullage.world import _store_tables as tables
from ullage.world._store_file import reading, writing
from ullage.world._without_secrets import clean_run, clean_trial

EXPORT_SCHEMA = "ullage.export/1"
T = TypeVar("T")


def new_id() -> str:
    """An identity that sorts by time: ``20261121T170512-3fa9c1``."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(3)}"


def append(run: Run) -> None:
    """Store a run, or a newer state of one, in one transaction. Raises WorldError."""
    with writing() as store:
        store.execute(f"REPLACE {tables.INTO_RUNS}", tables.row_of(clean_run(run)))


def add(runs: tuple[Run, ...]) -> int:
    """Store all of these that are not there yet, or none; returns how many were new. Raises WorldError."""
    with writing() as store:
        before = store.total_changes
        store.executemany(f"INSERT OR IGNORE {tables.INTO_RUNS}", (tables.row_of(clean_run(run)) for run in runs))
        return store.total_changes - before


def runs(engine: str = "", prefix: str = "", most: int = -1) -> tuple[Run, ...]:
    """Stored runs, the newest first: of one engine, whose id begins so, at most so many. Raises WorldError."""
    with reading() as store:
        if store is None:
            return ()
        rows = store.execute(tables.SELECT_RUNS, {"engine": engine, "prefix": prefix, "most": most}).fetchall()
    return tuple(_read(Run, body) for (body,) in rows)


def delete(run_id: str) -> bool:
    """Forget one run; False where there was none of that id. Raises WorldError."""
    with writing() as store:
        return store.execute("DELETE FROM runs WHERE id = ?", (run_id,)).rowcount > 0


def append_trial(trial: Trial) -> None:
    """Write one step of a tuning's journal, or a newer state of it. Raises WorldError."""
    body = wire.dumps(wire.to_wire(clean_trial(trial)))
    with writing() as store:
        store.execute("REPLACE INTO trials (study, number, body) VALUES (?, ?, ?)", (trial.study, trial.number, body))


def trials_of(study: str) -> tuple[Trial, ...]:
    """A tuning's journal, in order. Raises WorldError."""
    with reading() as store:
        if store is None:
            return ()
        rows = store.execute("SELECT body FROM trials WHERE study = ? ORDER BY number", (study,)).fetchall()
    return tuple(_read(Trial, body) for (body,) in rows)


def as_export(chosen: tuple[Run, ...]) -> str:
    """Runs as the text of a file that ``read_export`` reads."""
    return wire.dumps({"schema": EXPORT_SCHEMA, "runs": [wire.to_wire(run) for run in chosen]}, indent=1) + "\n"


def read_export(path: str) -> tuple[Run, ...]:
    """The runs of an exported file. Raises WorldError, and MalformedFileError for a file that is something else."""
    try:
        data = Path(path).read_bytes()
    except (OSError, ValueError) as error:
        raise WorldError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}; check the path") from error
    found = wire.loads(data)
    if not isinstance(found, dict) or found.get("schema") != EXPORT_SCHEMA or not isinstance(found.get("runs"), list):
        raise MalformedFileError(f"{path} is no export of baselines: it should be an object of schema {EXPORT_SCHEMA!r} with its runs")
    rows = found["runs"]
    return tuple(wire.from_wire(Run, row) for row in rows) if isinstance(rows, list) else ()


def _read(kind: type[T], body: str) -> T:
    return wire.from_wire(kind, wire.loads(body))
