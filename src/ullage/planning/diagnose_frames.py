"""The tracebacks of a log: the functions above or below an error and the source shown with them, by who wrote them."""

import re
from dataclasses import dataclass, field
from typing import Final

from ullage.catalog.traceback_frames import SIDES, frame_of, is_cut
from ullage.planning.diagnose_lines import Bare

_NEAR = 25  # lines between a traceback's last function and the error it is about
_BELOW, _MOST_BLOCKS = 12, 40  # lines between an error and a traceback that is told after it; tracebacks remembered
_MOST_FRAMES, _MOST_SOURCE, _MOST_CUTS, _SHOWN_PARTS, _MOST_LETTERS = 120, 6, 3, 2, 300
_BEGIN: Final = "Traceback (most recent"
_ARROW = re.compile(r"^(?:-{1,6}>|❱)\s{0,9}\d{1,6}\s+[│ ]*")  # how notebooks and rich mark the line that runs
FOUND: Final = (re.compile(re.escape(_BEGIN)), re.compile("->|❱"))  # one in every line that begins a traceback or marks its source
# What stands below a function in place of its source: an error, or a line of its own.
_NO_SOURCE = re.compile(r"\s*(?:[\w.]*(?:Error|Exception|Interrupt)\b|\[|\d{4}-|[A-Z]+:? \d|$)")


@dataclass
class Trace:
    """The functions of one traceback, outermost first, and the last lines of source shown with them, each behind its file."""

    line: int = 0
    file: str = ""
    names: list[str] = field(default_factory=list)
    source: list[str] = field(default_factory=list)


class Frames:
    """The tracebacks read so far."""

    def __init__(self) -> None:
        self._open: dict[str, Trace] = {}
        self._blocks: list[tuple[str, int, Trace]] = []  # the rank, first line and functions of tracebacks
        self._cut, self._cuts = "", 0  # a function that a width broke
        self._is_source = False  # the next line is the source of the last function
        self.took = False  # the last line belonged to a traceback

    @property
    def waits(self) -> bool:
        """Whether what the next line is hangs on the last one."""
        return bool(self._cut) or self._cuts > 0 or self._is_source

    def take(self, line: Bare) -> str | None:
        """The file that a function's line names, "" for a line that only belongs to it; None for what is to be read as any line."""
        is_source, self._is_source, self.took = self._is_source, False, True
        text = f"{self._cut} {line.text.strip(SIDES)}" if self._cut else line.text
        self._cut = ""
        frame = frame_of(text)
        if frame is not None:
            self._function(line, *frame)
            return frame[0]
        if self._cuts < _MOST_CUTS and is_cut(text):
            self._cut, self._cuts = text.rstrip(SIDES), self._cuts + 1
            return ""
        self._cuts = 0
        if _BEGIN in line.text:
            self._open[line.rank] = Trace(line=line.number)
            return "" if line.text.startswith(_BEGIN) else None
        if (is_source and _NO_SOURCE.match(line.text) is None) or _is_marked(line.text):
            trace = self._open.setdefault(line.rank, Trace(line=line.number))
            trace.source.append(f"{trace.file}: {_ARROW.sub('', line.text.strip(SIDES)).strip()[:_MOST_LETTERS]}")
            del trace.source[:-_MOST_SOURCE]
        else:
            self.took = False
        return None

    def _function(self, line: Bare, file: str, name: str) -> None:
        trace = self._open.setdefault(line.rank, Trace())
        if not trace.names or line.number - trace.line > _NEAR:
            self._blocks.append((line.rank, line.number, trace))
            del self._blocks[_MOST_BLOCKS // 2 : -_MOST_BLOCKS // 2]
        trace.names.append(name)
        del trace.names[:-_MOST_FRAMES]
        trace.file = "/".join(re.split(r"[/\\]", file)[-_SHOWN_PARTS:])
        trace.line, self._is_source, self._cuts = line.number, True, 0

    def above(self, line: Bare) -> Trace:
        """The traceback whose functions stand right above a line; an empty one where there is none."""
        trace = self._open.get(line.rank)
        return trace if trace is not None and line.number - trace.line <= _NEAR else Trace()

    def below(self, number: int, rank: str) -> Trace:
        """The traceback that a headline or a logger's sentence stands above; an empty one where there is none."""
        found = (trace for known, line, trace in self._blocks if 0 < line - number <= _BELOW and rank in {"", known})
        return next(found, Trace())


def _is_marked(text: str) -> bool:
    """Whether a line of source is marked as the one that runs."""
    return ("->" in text or "❱" in text) and _ARROW.match(text.strip(SIDES)) is not None
