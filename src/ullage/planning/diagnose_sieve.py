"""Which lines of a log need not be looked at, since one of their form was: the most of a long log, at the cost of a table look-up.

Two lines have one form when they are the same but for which digits their numbers have, and 200, which tells an answer, stands at the same
places in both. Nothing that reads a line's beginning or its shape tells such lines apart, so what one came to, the other comes to as well.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, repeat
from typing import Final

from ullage.planning.diagnose_lines import Bare, pieces_of

_MOST = 100_000  # forms that are remembered; then it begins anew
_AT_ONCE = 128  # lines, which can be long
_DIGITS: Final = bytes.maketrans(b"123456789", b"000000000")
_OF_ANSWERS, _ID = b"\xff", b"\xfe"  # no byte of UTF-8
# A request's id in hexadecimal. One of digits alone could be a number that a stamp or a rank is recognised by.
_IDS = re.compile(rb"(?=0*[a-f])(?=[a-f]*0)[0a-f][0a-f-]{7,}")
_ID_BEFORE = re.compile(r"[\da-f][\da-f-]{7}")
_ESCAPE: Final = "\\u"  # a letter of JSON written as a number


@dataclass(slots=True, eq=False)
class Worth:
    """What reading a line came to. Of a line that says what was said often, the last one is kept to be read at the end."""

    is_line: bool = True  # it holds something
    answers: int = 0
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

    def of_ids(self, form: bytes) -> Worth | None:
        """What is known of a form in which there are ids, whatever the ids."""
        general = without_ids(form)
        return self.known.get(hash(general)) if general is not None else None

    def learn(self, form: bytes, line: str, pieces: Sequence[Bare], worth: Worth) -> None:
        """Remember what a line of this form came to."""
        if len(self.known) >= _MOST:
            self.known.clear()
        if _ESCAPE in line and line.lstrip().startswith("{"):
            return
        self.known[hash(form)] = worth
        general = without_ids(form) if not any(_ID_BEFORE.search(piece.before) for piece in pieces) else None
        if general is not None:
            self.known[hash(general)] = worth


def with_forms(lines: Iterable[str]) -> Iterator[tuple[str, bytes]]:
    """Every line and its form. Made of many lines at once where each has an end of its own."""
    rest = iter(lines)
    while some := list(islice(rest, _AT_ONCE)):
        forms = _form("".join(some)).split(b"\n")
        if len(forms) != len(some) + 1 or not all(map(str.endswith, some, repeat("\n"))):
            forms = [_form(line) for line in some]
        yield from zip(some, forms, strict=False)  # after the last line's end stands an empty form


def _form(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass").replace(b"200", _OF_ANSWERS).translate(_DIGITS)


def without_ids(form: bytes) -> bytes | None:
    """A form in which ids are all the same, each as long as it was; None where there are none."""
    general, count = _IDS.subn(lambda match: _ID * (match.end() - match.start()), form)
    return general if count else None
