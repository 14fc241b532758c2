"""The lines of a long log in which nothing can be found, told apart many at once: what an application writes beside its engine."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from ullage.catalog import death_messages, devices, loose_words, torch_messages, traceback_frames
from ullage.planning import diagnose_command, diagnose_frames, diagnose_lines
from ullage.planning.diagnose_asked import Asked
from ullage.planning.diagnose_lines import LONGEST, message_of, pieces_of, without_colours
from ullage.planning.diagnose_sieve import ANSWERED, Worth
from ullage.planning.diagnose_words import Words

FIRST_LINES = 512  # looked at one by one in any case: the most logs have no more
_COMMON: Final = tuple(
    pattern
    for module in (death_messages, loose_words, torch_messages, traceback_frames, diagnose_command, diagnose_frames, diagnose_lines)
    for pattern in module.FOUND
)
_REQUEST = re.compile(r'"(?:POST|GET) /\S* HTTP/[\d.]+" 200')  # which nothing that a collector writes before a line can be a part of
_ANSWERED = re.compile(rf"{_REQUEST.pattern}|\| 200 \|.{{0,60}}POST")
_SHARE: Final = 1 / 4  # of lines in new forms, from which on it is worth while to ask for their words
PASSED: Final = Worth()
_CONTROLS: Final = bytes(code for code in (*range(32), 127) if code not in b"\t\n\r")
_COLOURS = re.compile(rb"\^\[|#033|\[\d{1,3};")


class Passed:
    """The lines that need not be looked at, whatever their form is."""

    def __init__(self, engines: Iterable[Asked]) -> None:
        self._engines = tuple(engines)
        self._is_known = all(engine.aid.reads is not None for engine in self._engines)
        self._words: Words | None = None

    def among(self, number: int, lines: Sequence[str], forms: Sequence[bytes], known: Mapping[int, Worth]) -> dict[int, Worth]:
        """The numbers of such lines among some behind line ``number``, in order, and what they are worth; of known forms none is asked."""
        if number < FIRST_LINES or not self._is_known:
            return {}
        new = [at for at, form in enumerate(forms[: len(lines)]) if (worth := known.get(hash(form))) is None or worth.is_telling]
        if len(new) < len(lines) * _SHARE:
            return {}
        if self._words is None:
            self._words = _words(self._engines)
        texts = _texts([lines[at] for at in new])
        found = {}
        suspects = self._words.among(texts)
        for index, at in enumerate(new):
            if index not in suspects or not self._words.find(texts[index]):
                answers = _answers_in(lines[at])
                found[number + at + 1] = ANSWERED if answers == 1 else Worth(answers=answers) if answers else PASSED
        return found


def is_answer(text: str) -> bool:
    """Whether a server says that it answered a request."""
    return " 200" in text and _ANSWERED.search(text) is not None


def _answers_in(line: str) -> int:
    """How many answers a line tells of."""
    if " 200" in line and len(line) < LONGEST and line[:1] != "{" and _REQUEST.search(line) and line.rstrip().isprintable():
        return 1
    if not is_answer(line) and not (line.startswith("{") and (" 200" in line or "\\" in line)):
        return 0
    return sum(is_answer(piece.text) for piece in pieces_of(0, line))


def _words(engines: Iterable[Asked]) -> Words:
    """The words of all that is searched for in the log of one of the engines."""
    theirs = (pattern for engine in engines for pattern in (*engine.signs, *engine.arguments, *engine.advice, *(engine.aid.reads or ())))
    return Words((*_COMMON, re.compile(devices.CARD), *theirs))


def _texts(lines: list[str]) -> list[bytes]:
    """Lines as they are read: without colours, and the messages of those that a collector wrapped."""
    whole = "".join(lines).encode("utf-8", "surrogatepass")
    if b"\\" in whole:
        lines = [message_of(line) if "\\" in line else line for line in lines]
    if len(whole.translate(None, _CONTROLS)) != len(whole) or _COLOURS.search(whole):
        lines = [without_colours(line) for line in lines]
    return [line.encode("utf-8", "surrogatepass") for line in lines]
