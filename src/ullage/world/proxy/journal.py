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
        self._path, self._most = Path(path).expanduser(), most_bytes
        self._lines: queue.Queue[str] = queue.Queue(_MOST_WAITING)
        self._left_out = 0
        if self._path.exists() and not self._path.is_file():
            raise WorldError(f"{path} is there and is no regular file; give another path to --records")
        try:
            self._file = self._opened()
        except (OSError, ValueError) as error:
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
            self._left_out += 1

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
        if self._left_out:
            sys.stderr.write(f"ullage: {self._left_out} requests are not written to {self._path}\n")
        with suppress(OSError):
            self._file.close()

    def _write(self, line: str) -> None:
        try:
            self._file.write(line)
            self._file.flush()
            if self._file.tell() >= self._most:
                self._file.close()
                self._path.replace(self._path.with_name(f"{self._path.name}.1"))
                self._file = self._opened()
        except (OSError, ValueError) as error:
            if not self._left_out:
                sys.stderr.write(f"ullage: {self._path} cannot be written: {getattr(error, 'strerror', None) or error}\n")
            self._left_out += 1
