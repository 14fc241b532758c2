"""Whether a text is prose about engines, or a document that quotes what one wrote, in place of what an engine wrote."""

import re
from collections.abc import Iterable
from typing import Final

from ullage.domain.cause import Sighting
from ullage.planning.diagnose_lines import Bare

_MOST, _SHORT = 20_000, 40  # shapes that are remembered; those up to which a text can be what somebody says of a death
_SENTENCE, _PLAIN, _SHARE = 8, 0.75, 0.2  # words of a sentence, the share of them that is plain, and the share of sentences in a prose
_WORD = re.compile(r"[(\"'`*_]*[A-Za-z][A-Za-z'-]*[.,;:)\"'`*_?!]*")
_WRITTEN = re.compile(r"(?:DEBUG|INFO|WARN|WARNING|ERROR|CRITICAL|FATAL)\b|Traceback \(most recent| *File \"")
_BARE_BEFORE: Final = ("", ">")
_MARKED = re.compile(r"#{1,4} \S|[-*+] +\S|\d{1,2}\. +\S|```|\|.*\|$|!?\[[^\]]{1,80}\]\(|<!--")  # what Markdown begins a line with
_QUOTES: Final = ("```", "|")  # fences and tables, in which documents quote
_HEADING = re.compile(r"#{1,4} \S")
# Who reports a failure says so of himself, or fills in a form that asks for it.
_PERSON = re.compile(r"\b(?:I|I'm|I've|[Mm]y)(?![\w./-])")
_CHINESE_PERSON: Final = "\u6211"
_FORM = re.compile(
    r"#+ \W*(?i:(?:describe )?(?:the )?(?:bug|issues?|problem|error|crash|traceback|symptoms?|root cause)\b"
    r"|(?:your current )?environment|system info|hardware|version|summary|description|motivation|impact|checklist"
    r"|(?:expected|actual|current) behaviou?r|(?:how |steps )?to reproduce|repro(?:duction)?\b"
    r"|(?:relevant )?logs?\b.{0,8}$|wh(?:at|y)(?: happened)?\??$)"
)
_HEADINGS, _MARKS = 3, 0.4  # of a document: at least so many headings, and so much of its lines is Markdown or a sentence


class Prose:
    """How the lines of a text are written; of those of one shape the first is looked at."""

    def __init__(self) -> None:
        self.is_written = False  # a line has a stamp, a rank or a level, or belongs to a traceback
        self._shapes: set[int] = set()
        self._sentences = self._marks = self._headings = 0
        self._is_report = self._has_quotes = False

    def take(self, line: Bare, shape: int) -> None:
        """Note one line. A text with a line that a program wrote, or with very many shapes of lines, is looked at no further."""
        if shape in self._shapes or len(self._shapes) >= _MOST:
            return
        self._shapes.add(shape)
        sentence, text = is_sentence(line.text), line.text.lstrip()
        self._sentences += sentence
        self._marks += sentence or _MARKED.match(text) is not None
        self._headings += _HEADING.match(text) is not None
        self._has_quotes = self._has_quotes or text.startswith(_QUOTES)
        self._is_report = self._is_report or _is_of_report(text, is_sentence=sentence)
        self.is_written = self.is_written or line.before.strip() not in _BARE_BEFORE or _WRITTEN.match(line.text) is not None

    @property
    def is_document(self) -> bool:
        """Whether it is a document: what it quotes of logs happened to nobody. A report is none, which quotes what happened."""
        return self._has_quotes and not self._is_report and self._headings >= _HEADINGS and self._marks >= len(self._shapes) * _MARKS

    def is_all(self, said: Iterable[Sighting], *, has_run: bool) -> bool:
        """Whether nothing is a line of a program, ``said`` included, which are those that state something: people state no figures.

        ``has_run`` says that there is a command, or an answer: a document has such as well.
        """
        if self.is_document:
            return True
        if has_run or self.is_written or len(self._shapes) <= _SHORT or self._sentences < len(self._shapes) * _SHARE:
            return False
        return all(is_sentence(one.text) and not one.fact.details for one in said)


def _is_of_report(text: str, *, is_sentence: bool) -> bool:
    """Whether a line is one that somebody writes of what happened to him."""
    if text.startswith("#"):
        return _FORM.match(text) is not None
    return _CHINESE_PERSON in text or (is_sentence and _PERSON.search(text) is not None)


def is_sentence(text: str) -> bool:
    """Whether a line is one that people write."""
    words = text.split()
    return len(words) >= _SENTENCE and sum(_WORD.fullmatch(word) is not None for word in words) >= len(words) * _PLAIN
