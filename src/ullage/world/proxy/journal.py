"""What became of every request, a line of JSON each, appended to a file by a thread of its own: a slow disk holds up no stream."""

import os
import queue
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TextIO

from ullage import wire
from ullage.domain.guard import GuardRecord
from ullage.errors import WorldError, step_after

_MOST_WAITING = 10_000  # lines; where a disk takes none for so long, later ones are left out
_PATIENCE_S = 5.0


class Journal:
    """A file of at most ``most_bytes``; one that is full becomes ``FILE.1``, in place of the one before it. Only its owner may read it."""

    def __init__(self, path: str, most_bytes: int) -> None:
        """Raises WorldError."""
        self._most = self._full_at = most_bytes
        self._lines: queue.Queue[str] = queue.Queue(_MOST_WAITING)
        self._not_taken = self._not_written = 0  # each is counted by one thread: who adds, and who writes
        try:
            self._path = Path(path).expanduser()
            if self._path.exists() and not self._path.is_file():
                raise WorldError(f"{path} is there and is no regular file; give another path to --records")
            self._file = self._opened()
        except (OSError, ValueError, RuntimeError) as error:  # the last where a home is nobody's
            why = getattr(error, "strerror", None) or error
            raise WorldError(f"{path[:200]} cannot be written: {why}; {step_after(error, 'give another path to --records')}") from error
        self._thread = threading.Thread(target=self._run, name="records", daemon=True)
        self._thread.start()

    def add(self, record: GuardRecord) -> None:
        """Write it down soon."""
        line = wire.dumps({"at": round(time.time(), 3), **record._asdict()})
        try:
            self._lines.put_nowait(f"{line}\n")
        except queue.Full:
            self._not_taken += 1

    def close(self) -> None:
        """Write what is left."""
        with suppress(queue.Full):
            self._lines.put("", timeout=_PATIENCE_S)
        self._thread.join(_PATIENCE_S)

    def _opened(self) -> TextIO:
        return os.fdopen(os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "a", encoding="utf-8")

    def _run(self) -> None:
        while line := self._lines.get():
            self._write(line)
        if left_out := self._not_taken + self._not_written:
            sys.stderr.write(f"ullage: {left_out} requests are not written to {self._path}\n")
        with suppress(OSError):
            self._file.close()

    def _write(self, line: str) -> None:
        try:
            self._file.write(line)
            self._file.flush()
        except (OSError, ValueError) as error:
            if not self._not_written:
                self._say("written", error)
            self._not_written += 1
            return
        if self._file.tell() >= self._full_at:
            self._begin_anew()

    def _begin_anew(self) -> None:
        """A file that cannot be put aside goes on until it has grown by as much again."""
        try:
            with suppress(FileNotFoundError):  # somebody else put it aside, or the time before did and could open no other
                self._path.replace(self._path.with_name(f"{self._path.name}.1"))
            full, self._file = self._file, self._opened()
        except OSError as error:
            self._full_at += self._most
            self._say("begun anew", error)
            return
        self._full_at = self._most
        with suppress(OSError):
            full.close()

    def _say(self, what: str, error: Exception) -> None:
        sys.stderr.write(f"ullage: {self._path} cannot be {what}: {getattr(error, 'strerror', None) or error}\n")
