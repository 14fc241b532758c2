"""The store's file: made for its owner alone, opened for one call, every failure a sentence with the next step."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

from ullage.errors import WorldError
from ullage.world import _store_tables as tables
from ullage.world._state_path import store_exists, store_path

BUSY_S = 15.0  # a transaction here takes milliseconds; another writer is waited for that long
_ELSEWHERE = "make it writable, or set XDG_STATE_HOME to a directory that is"


@contextmanager
def writing() -> Iterator[sqlite3.Connection]:
    """The store inside one transaction that is committed at the end, or never was. Made where there is none. Raises WorldError."""
    path = store_path()
    try:
        _make(path)
        with closing(_connect(path, "mode=rw")) as store:
            _prepare(store)
            store.execute("BEGIN IMMEDIATE")
            try:
                _check(store, path)
                if tables.version_of(store) < tables.VERSION:
                    tables.migrate(store)
                yield store
            except BaseException:
                with suppress(sqlite3.Error):  # a full disk has already rolled it back
                    store.execute("ROLLBACK")
                raise
            store.execute("COMMIT")
    except (OSError, sqlite3.Error) as error:
        raise _failed(path, error, "written") from error


@contextmanager
def reading() -> Iterator[sqlite3.Connection | None]:
    """The store as it stands, unchanged; None where nothing was ever stored. Raises WorldError."""
    path = store_path()
    try:
        if not store_exists():
            yield None
            return
        path.stat()
        with closing(_readable(path)) as store:
            _check(store, path)
            yield store if _has_all(store, path) else None
    except (OSError, sqlite3.Error) as error:
        raise _failed(path, error, "read") from error


def _has_all(store: sqlite3.Connection, path: Path) -> bool:
    """Whether the tables are of this version, brought there where they are older; False for a file without any."""
    version = tables.version_of(store)
    if 0 < version < tables.VERSION:
        with writing():  # which migrates
            pass
        _check(store, path)
    return version > 0


def _make(path: Path) -> None:
    """The file and its folder, readable by their owner alone; what SQLite puts beside it takes the same rights."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        if os.fstat(handle).st_mode & 0o077:
            os.fchmod(handle, 0o600)
    finally:
        os.close(handle)


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{quote(str(path))}?{mode}", uri=True, timeout=BUSY_S, isolation_level=None)


def _readable(path: Path) -> sqlite3.Connection:
    """A connection that reads. Where nothing can be made beside the file, nobody writes to it either, and it is read as it lies."""
    store = _connect(path, "mode=ro")
    try:
        tables.version_of(store)
    except sqlite3.OperationalError:
        store.close()
        if os.access(path.parent, os.W_OK) and not _is_read_only(path.parent):
            raise
        return _connect(path, "mode=ro&immutable=1")
    return store


def _is_read_only(folder: Path) -> bool:
    return bool(os.statvfs(folder).f_flag & os.ST_RDONLY)


def _prepare(store: sqlite3.Connection) -> None:
    """Write-ahead, and every commit on the disk before it counts. Whoever finds the file new waits its turn to say so."""
    store.execute("PRAGMA synchronous = FULL")
    if store.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
        store.execute("PRAGMA journal_mode = WAL").fetchone()


def _check(store: sqlite3.Connection, path: Path) -> None:
    """Raises WorldError for a database of somebody else, and for one of a newer release."""
    version, owner = tables.version_of(store), tables.application_of(store)
    if owner != tables.APPLICATION_ID and (version or store.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]):
        raise WorldError(f"{path} is a database of another program: move it away, or set XDG_STATE_HOME")
    if version > tables.VERSION:
        raise WorldError(
            f"{path} was written by a newer release (its tables are version {version}, this release knows {tables.VERSION}): "
            "upgrade this program, or set XDG_STATE_HOME to keep another store"
        )


def _failed(path: Path, error: OSError | sqlite3.Error, verb: str) -> WorldError:
    said = error.strerror if isinstance(error, OSError) else str(error)
    if isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.OperationalError):
        return WorldError(
            f"{path} is damaged or no database ({said}): move it away, and a new one is made; `ullage baselines import` adds an export"
        )
    return WorldError(f"the store {path} cannot be {verb}: {said}; {_ELSEWHERE}")
