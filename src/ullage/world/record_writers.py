"""Files of records in the making: written beside their place, and put there when they are whole."""

import os
from contextlib import suppress
from pathlib import Path
from typing import TextIO

from ullage import wire
from ullage.domain.hyperparameters import Json
from ullage.errors import WorldError
from ullage.ports import Record, RecordWriter


class Beside:
    """A file beside the one that is meant, which takes its place at the end."""

    def __init__(self, path: str) -> None:
        self.goal = Path(path).expanduser()
        if not self.goal.name or "\0" in path:
            raise WorldError(f"{path[:80]!r} is no file that can be written; give a file name")
        if self.goal.exists() and not self.goal.is_file():
            raise WorldError(f"{path} is there and is no regular file; give another path")
        self.path = self.goal.with_name(f"{self.goal.name}.{os.getpid()}.part")

    def failed(self, error: OSError) -> WorldError:
        """What to raise for it; nothing is left behind."""
        with suppress(OSError):
            self.path.unlink(missing_ok=True)
        return WorldError(f"{self.goal} cannot be written: {error.strerror or error}; give another path")

    def put(self) -> None:
        """Take the place."""
        try:
            self.path.replace(self.goal)
        except OSError as error:
            raise self.failed(error) from error


def open_writer(kind: str, path: str) -> RecordWriter:
    """A writer of "json", "jsonl" or "text"."""
    return _TextWriter(kind, Beside(path))


class _TextWriter:
    def __init__(self, kind: str, beside: Beside) -> None:
        self._kind, self._beside, self._count = kind, beside, 0
        try:
            self._file: TextIO = beside.path.open("w", encoding="utf-8", errors="surrogateescape", newline="")
        except OSError as error:
            raise beside.failed(error) from error

    def write(self, record: Record, *, dropped: str = "") -> None:
        """As the port says; a dropped line of text becomes a line of JSON, as text has no place for a reason."""
        try:
            self._file.write(self._before() + self._text(record, dropped))
        except OSError as error:
            raise self._beside.failed(error) from error
        self._count += 1

    def close(self) -> None:
        """As the port says."""
        try:
            self._file.write(("\n]\n" if self._count else "[]\n") if self._kind == "json" else "\n" * bool(self._count))
            self._file.close()
        except OSError as error:
            raise self._beside.failed(error) from error
        self._beside.put()

    def _before(self) -> str:
        if self._kind == "json":
            return ",\n" if self._count else "[\n"
        return "\n" * bool(self._count)

    def _text(self, record: Record, dropped: str) -> str:
        if dropped:
            return wire.dumps(_with_reason(record, dropped)).encode("utf-8", "replace").decode()
        if self._kind == "text":
            text = str(record.value)
            return text + "\n" if "\n" in text else text  # a paragraph ends with an empty line
        return record.text or wire.dumps(record.value).encode("utf-8", "replace").decode()


def _with_reason(record: Record, dropped: str) -> Json:
    if isinstance(record.value, dict):
        return {**record.value, "dropped": dropped}
    what: Json = record.value if record.value is not None else record.text
    return {"dropped": dropped, "record": record.number, "line": record.line, "value": what}
