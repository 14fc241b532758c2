"""The records of a JSON file of any size, a piece at a time: an array of them, one on each line, or one after the other.

The standard library's own scanner reads a record from the middle of a text at 300 MB/s, as fast as an incremental C parser does, and says
where it ended: so what stands in the file can be written again letter by letter, and a broken record costs itself alone.
"""

import re
from collections.abc import Iterator
from typing import TextIO

from ullage import wire
from ullage.errors import MalformedFileError
from ullage.ports import Record

PIECE = 1 << 20
LONGEST_RECORD = 64 << 20  # characters; a longer one is a broken one
SHOWN = 4096  # characters of a broken record that are kept
_BETWEEN = re.compile(r"[\s,\ufeff]*")
_NESTED_NEXT = re.compile(r"[\]}]\s*\}\s*,\s*(?=\{)")
_FLAT_NEXT = re.compile(r"\}\s*,\s*(?=\{)")
_LINE_NEXT = re.compile(r"\n(?=\s*\{)")
_FIRST_KEY = re.compile(r'\{\s*("(?:[^"\\]|\\.){1,80}")\s*:')


class _Window:
    """The part of the file in memory: ``at`` is where reading stands, ``line`` the line that is."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self.text, self.at, self.line = "", 0, 1

    def move(self, end: int) -> str:
        """Go on to ``end``; what was passed."""
        passed = self.text[self.at : end]
        self.line += passed.count("\n")
        self.at = end
        return passed

    def more(self) -> bool:
        """Read on, at least as much as is held, so that a long record is not tried often; False at the end of the file."""
        rest = self.text[self.at :]
        piece = self._file.read(max(PIECE, len(rest)))
        self.text, self.at = rest + piece, 0
        return bool(piece)

    def skip(self, pattern: re.Pattern[str]) -> bool:
        """Go behind the next match, forgetting what is passed; False, at the end of the file, where there is none."""
        while True:
            found = pattern.search(self.text, self.at)
            if found is not None:
                self.move(found.end())
                return True
            self.move(max(self.at, len(self.text) - PIECE))
            if not self.more():
                self.move(len(self.text))
                return False


def whole_records(file: TextIO, *, is_array: bool) -> Iterator[Record]:
    """Records of one array, or objects that follow each other, laid out over lines as they may be."""
    window, number, known = _Window(file), 0, None
    if is_array:
        window.skip(re.compile(r"\["))
    while True:
        window.move(_BETWEEN.match(window.text, window.at).end())  # type: ignore[union-attr] # it matches nothing at least
        if window.at == len(window.text):
            if window.more():
                continue
            if is_array:
                yield Record(number + 1, window.line, None, why="the file ends inside its array")
            return
        if is_array and window.text[window.at] == "]":
            return
        number += 1
        record = _record(window, number)
        yield record
        if not record.why:
            known = known or _FIRST_KEY.match(record.text)
        elif not _resume(window, known, is_array=is_array):
            return


def _record(window: _Window, number: int) -> Record:
    """The record where the window stands, read on as long as it is cut short."""
    line = window.line
    while True:
        try:
            value, end = wire.scan(window.text, window.at)
        except wire.CutShortError as error:
            if len(window.text) - window.at < LONGEST_RECORD and window.more():
                continue
            return Record(number, line, None, window.text[window.at : window.at + SHOWN], str(error))
        except MalformedFileError as error:
            return Record(number, line, None, window.text[window.at : window.at + SHOWN], str(error))
        return Record(number, line, value, window.move(end))


def _resume(window: _Window, known: re.Match[str] | None, *, is_array: bool) -> bool:
    """Go to where the next record seems to begin: where the first key of an earlier one stands again, or behind a whole object."""
    window.move(window.at + 1)
    if not is_array:
        return window.skip(_LINE_NEXT)
    if known is not None:
        return window.skip(re.compile(r"\}\s*,\s*(?=\{\s*" + re.escape(known[1]) + r"\s*:)"))
    nested = _NESTED_NEXT.search(window.text, window.at)
    return window.skip(_NESTED_NEXT if nested is not None else _FLAT_NEXT)


def line_records(file: TextIO) -> Iterator[Record]:
    """One record on each line that is not empty."""
    number = 0
    for line, text in enumerate(bounded_lines(file), 1):
        if not text.strip():
            continue
        number += 1
        if len(text) >= LONGEST_RECORD:
            yield Record(number, line, None, why=f"the line is longer than {LONGEST_RECORD:,} characters")
            continue
        try:
            yield Record(number, line, wire.loads(text), text.strip())
        except MalformedFileError as error:
            yield Record(number, line, None, text[:SHOWN].strip(), why=str(error))


def bounded_lines(file: TextIO) -> Iterator[str]:
    """The lines, each of a bounded length: the rest of a longer one is passed over."""
    while text := file.readline(LONGEST_RECORD):
        yield text
        while len(text) == LONGEST_RECORD and not text.endswith("\n"):
            text = file.readline(LONGEST_RECORD)
