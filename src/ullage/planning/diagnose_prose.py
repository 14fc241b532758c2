"""Whether a text is prose about engines, a README or a report, in place of what an engine wrote."""

import re
from collections.abc import Iterable
from typing import Final

from ullage.domain.cause import Sighting
from ullage.planning.diagnose_lines import Bare

_MOST, _SHORT = 20_000, 40  # shapes that are remembered; those up to which a text can be what somebody says of a death
_SENTENCE, _PLAIN, _SHARE = 8, 0.75, 0.2  # words of a sentence, the share of them that is plain, and the share of sentences in a prose
_WORD = re.compile(r"[(\"'`*_]*[A-Za-z][A-Za-z'-]*[.,;:)\"'`*_?!]*")
_WRITTEN = re.compile(r"(?:DEBUG|INFO|WARN|WARNING|ERROR|CRITICAL|FATAL)\b|Traceback \(most recent| *File \"")
_QUOTE: Final = ("", ">")


class Prose:
    """How the lines of a text are written; of those of one shape the first is looked at."""

    def __init__(self) -> None:
        self.is_written = False  # a line has a stamp, a rank or a level, or belongs to a traceback
        self._shapes: set[int] = set()
        self._sentences = 0

    def take(self, line: Bare, shape: int) -> None:
        """Note one line. A text with a line that a program wrote, or with very many shapes of lines, is looked at no further."""
        if self.is_written or shape in self._shapes or len(self._shapes) >= _MOST:
            return
        self._shapes.add(shape)
        self._sentences += is_sentence(line.text)
        self.is_written = line.before.strip() not in _QUOTE or _WRITTEN.match(line.text) is not None

    def is_all(self, said: Iterable[Sighting]) -> bool:
        """Whether nothing is a line of a program, ``said`` included, which are those that state something: people state no figures."""
        if self.is_written or len(self._shapes) <= _SHORT or self._sentences < len(self._shapes) * _SHARE:
            return False
        return all(is_sentence(one.text) and not one.fact.details for one in said)


def is_sentence(text: str) -> bool:
    """Whether a line is one that people write."""
    words = text.split()
    return len(words) >= _SENTENCE and sum(_WORD.fullmatch(word) is not None for word in words) >= len(words) * _PLAIN
