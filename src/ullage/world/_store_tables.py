"""The tables of the store, and how an older store becomes a newer one."""

import sqlite3
from datetime import UTC

from ullage import wire
from ullage.domain.baseline import Run

APPLICATION_ID = 0x756C6C67  # "ullg": what tells the file from any other database
# One tuple of statements a version, the first makes version 1. A released one is never changed: what is new goes to the end.
MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE runs (
            id TEXT PRIMARY KEY, started_at TEXT NOT NULL, engine TEXT NOT NULL, version TEXT NOT NULL, model TEXT NOT NULL,
            exit TEXT NOT NULL, body TEXT NOT NULL
        ) STRICT""",
        "CREATE INDEX runs_by_engine ON runs (engine, started_at)",
    ),
    ("CREATE TABLE trials (study TEXT NOT NULL, number INTEGER NOT NULL, body TEXT NOT NULL, PRIMARY KEY (study, number)) STRICT",),
)
VERSION = len(MIGRATIONS)

INTO_RUNS = "INTO runs (id, started_at, engine, version, model, exit, body) VALUES (?, ?, ?, ?, ?, ?, ?)"
SELECT_RUNS = (
    "SELECT body FROM runs WHERE (:engine = '' OR engine = :engine) AND substr(id, 1, length(:prefix)) = :prefix "
    "ORDER BY started_at DESC, id DESC LIMIT :most"
)


def row_of(run: Run) -> tuple[str, ...]:
    """A run as a row: what it is found by, and all of it as JSON."""
    body = wire.dumps(wire.to_wire(run))
    return (run.id, run.started_at.astimezone(UTC).isoformat(), run.engine, run.version, run.model.name, run.exit.value, body)


def version_of(store: sqlite3.Connection) -> int:
    """The version of the tables; 0 for a file without any."""
    return int(store.execute("PRAGMA user_version").fetchone()[0])


def application_of(store: sqlite3.Connection) -> int:
    """Whose database this says it is; 0 for an empty file."""
    return int(store.execute("PRAGMA application_id").fetchone()[0])


def migrate(store: sqlite3.Connection) -> None:
    """Bring the tables to this version, within the caller's transaction."""
    for statements in MIGRATIONS[version_of(store) :]:
        for statement in statements:
            store.execute(statement)
    store.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    store.execute(f"PRAGMA user_version = {VERSION}")
