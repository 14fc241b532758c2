"""Which lines of a log need not be looked at, since one of their form was: the most of a long log, at the cost of a table look-up.

Two lines have one form when they are the same but for which digits their numbers have, and 200, which tells an answer, stands at the same
places in both. Nothing that reads a line's beginning or its shape tells such lines apart, so what one came to, the other comes to as well.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, repeat
from typing import Final

from ullage.domain.cause import Stage
from ullage.planning.diagnose_lines import Bare, pieces_of

_MOST = 100_000  # forms that are remembered; then it begins anew
_AT_ONCE = 256  # lines, which can be long
_DIGITS: Final = bytes.maketrans(b"123456789", b"000000000")
_OF_ANSWERS, _ID, _NUMBERS = b"\xff", b"\xfe", b"\xfd"  # no byte of UTF-8
# A request's id in hexadecimal. One of digits alone could be a number that a stamp or a rank is recognised by.
_IDS = re.compile(rb"(?=\d*[a-f])(?=[a-f]*\d)[\da-f][\da-f-]{7,}")
_PLACES = re.compile(rb"\d{1,3}(?:\.\d{1,3}){3}(?::\d{1,5})?|\d\d:\d\d:\d\d|\d{5,}")
_ID_BEFORE = re.compile(r"[\da-f][\da-f-]{7}")
_ESCAPE: Final = "\\u"  # a letter of JSON written as a number


@dataclass(slots=True, eq=False)
class Worth:
    """What reading a line came to. Of a line that says what was said often, the last one is kept to be read at the end."""

    is_line: bool = True  # it holds something
    answers: int = 0
    stage: Stage | None = None  # it marks how far the run came
    is_telling: bool = False  # one with other numbers could say more
    is_last_kept: bool = False
    number: int = 0
    line: str | Bare = ""

    def last(self) -> Bare:
        """The last line that is kept."""
        return self.line if isinstance(self.line, Bare) else pieces_of(self.number, self.line)[0]


BLANK: Final = Worth(is_line=False)
DULL: Final = Worth()
ANSWERED: Final = Worth(answers=1)
READ: Final = Worth()  # every line of this form is to be read


class Sieve:
    """The forms of the lines read so far that are worth no more than was found then."""

    def __init__(self) -> None:
        self.known: dict[int, Worth] = {}  # by the hash of a form, which can be as long as a line

    def nearly(self, form: bytes, line: str) -> Worth | None:
        """What is known of a line whatever its ids; of one that could tell by a number, of a line with the same numbers."""
        general = _without_ids(form)
        worth = self.known.get(hash(general), self.known.get(hash(form)))
        return self.known.get(hash(_with_numbers(line))) if worth is not None and worth.is_telling else worth

    def learn(self, form: bytes, line: str, pieces: Sequence[Bare], worth: Worth) -> None:
        """Remember what a line of this form came to."""
        if len(self.known) >= _MOST:
            self.known.clear()
        if _ESCAPE in line and line.lstrip().startswith("{"):
            return
        self.known[hash(form)] = worth
        if any(_ID_BEFORE.search(piece.before) for piece in pieces):
            return
        self.known[hash(_without_ids(form))] = worth
        if worth.is_telling:
            self.known[hash(_with_numbers(line))] = Worth(stage=worth.stage)


def with_forms(lines: Iterable[str]) -> Iterator[tuple[list[str], list[bytes]]]:
    """Some lines after the other, and their forms, made of all at once where each has an end of its own: then an empty one stands last."""
    rest = iter(lines)
    while some := list(islice(rest, _AT_ONCE)):
        forms = _form("".join(some)).split(b"\n")
        if len(forms) != len(some) + 1 or not all(map(str.endswith, some, repeat("\n"))):
            forms = [_form(line) for line in some]
        yield some, forms


def _form(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass").replace(b"200", _OF_ANSWERS).translate(_DIGITS)


def _without_ids(form: bytes) -> bytes:
    """A form in which ids are all the same, each as long as it was."""
    return _IDS.sub(lambda match: _ID * (match.end() - match.start()), form)


def _with_numbers(line: str) -> bytes:
    """A line in which all numbers stand but those of ids, places and times, and long ones: no pattern names such."""
    text = _PLACES.sub(lambda match: match[0].translate(_DIGITS), line.encode("utf-8", "surrogatepass"))
    return _NUMBERS + _without_ids(text)
