"""Which words a text must hold for a pattern to be found in it, taken from the pattern itself.

Texts and patterns meet in one form: small letters, and one space for whatever is no letter. Each way in which a pattern can be found is
a row of clauses, and of every clause one phrase stands in the text. What is not understood of a pattern asks for nothing.
"""

import re
from collections.abc import Iterator, Sequence
from functools import cache, cached_property
from itertools import product, takewhile
from typing import Any, Final

compiler: Any
said: Any
parser: Any
try:
    from re import _compiler as compiler  # type: ignore[attr-defined, no-redef] # the parser has no public name
    from re import _constants as said  # type: ignore[attr-defined, no-redef] # as above
    from re import _parser as parser  # type: ignore[attr-defined, no-redef] # as above
except ImportError:  # a Python that has them elsewhere: nothing is asked of a text, and every line is read
    compiler = said = parser = None

Clause = frozenset[str]
Way = tuple[Clause, ...]

EXACT: Final = "\0"  # begins a phrase of signs or other scripts, which is looked for as it stands
_SHORTEST, _TELLING = 2, 3  # letters of a phrase, and of the longest word of one that tells more than signs beside it do
_MOST_WAYS = 128
_PLAIN: Final = bytes(letter if chr(letter).islower() or letter == ord("_") else 32 for letter in bytes(range(128)).lower() + bytes(128))
_NO_LETTERS: Final = (said.CATEGORY_DIGIT, said.CATEGORY_SPACE, said.CATEGORY_NOT_WORD) if said else ()
_REPEATS: Final = (said.MAX_REPEAT, said.MIN_REPEAT) if said else ()
_ALL_DIGITS: Final = (ord("0"), ord("9"))
_HIDDEN: Final = "\"'\\/\t\n"  # what quoting or spacing could have changed


def plain_of(text: bytes) -> bytes:
    """A text in that form, as long as it was."""
    return text.translate(_PLAIN)


def words_of(text: bytes) -> list[bytes]:
    """The words of a text in that form."""
    return text.translate(_PLAIN).split()


class Part:
    """One of the alternatives that a pattern is made of."""

    def __init__(self, items: Any) -> None:
        self._items = items
        self.ways = tuple(dict.fromkeys(_ways(list(items))))

    @cached_property
    def loose(self) -> re.Pattern[str]:
        """What finds all that the alternative finds, also in a text that goes on before or behind what the pattern was asked of."""
        loose = _loose(self._items)
        while len(loose) > 1 and loose[0][0] in _REPEATS:  # slow to search for, and what follows tells as much
            loose = loose[1:]
        return compiler.compile(loose)  # type: ignore[no-any-return]


@cache
def parts_of(pattern: re.Pattern[str]) -> tuple[Part, ...]:
    """The alternatives of a pattern, with the ways in which each is found; a way without clauses is one that every text could hold."""
    if parser is None:
        return (Part(()),)
    whole = parser.parse(pattern.pattern, pattern.flags)
    if len(whole) == 1 and whole[0][0] is said.BRANCH:
        return tuple(Part(branch) for branch in whole[0][1][1])
    return (Part(whole),)


def _loose(items: Any) -> Any:
    """A sequence without what asks for the places where a text begins or ends, or for what stands beside."""
    kept = [(what, _inside(value)) for what, value in items if what not in (said.AT, said.ASSERT, said.ASSERT_NOT)]
    return parser.SubPattern(items.state, kept)


def _inside(value: Any) -> Any:
    """The same of all sequences in a part."""
    if isinstance(value, parser.SubPattern):
        return _loose(value)
    return type(value)(map(_inside, value)) if isinstance(value, tuple | list) else value


def longest(clause: Clause) -> int:
    """How telling a clause is: the letters of the longest word of its shortest phrase."""
    return min(max(map(len, phrase.split()), default=0) if phrase[0] != EXACT else 1 for phrase in clause)


class _Run:
    """Letters that follow each other, in the common form and as they stand."""

    def __init__(self, plain: str = "", exact: str = "") -> None:
        self.plain, self.exact = plain, exact

    def add(self, plain: str, exact: str) -> None:
        """One letter more."""
        self.plain += plain if plain != " " or not self.plain.endswith(" ") else ""
        self.exact += exact

    def phrase(self) -> Iterator[Clause]:
        """What must stand there, where it is long enough to tell something."""
        part = max(re.split(f"[{re.escape(_HIDDEN)}]", self.exact), key=lambda one: len(one.encode()))
        letters = max(map(len, self.plain.split()), default=0)
        if letters < _TELLING and len(part.strip().encode()) > letters + 1:
            yield frozenset({EXACT + part.lower()})
        elif len(self.plain.strip()) >= _SHORTEST:
            yield frozenset({self.plain})


def _ways(items: Sequence[tuple[Any, Any]], run: _Run | None = None) -> list[Way]:
    """The ways of a sequence, of which ``run`` is what stands right before it.

    Of `CUDA (?:out of memory|error: [0-9])` there are two, each of one clause with one phrase: `cuda out of memory` and `cuda error `. What
    stands before a branch is carried into each of its alternatives, and so are the letters right behind it: `(?:no|few) blocks` asks for
    ` blocks`, and for `no blocks` in one way and `few blocks` in the other.
    """
    run, rest = run or _Run(), list(reversed(items))
    clauses: list[Clause] = []
    parts: list[list[Way]] = []
    while rest:
        what, value = rest.pop()
        if what is said.SUBPATTERN:
            rest.extend(reversed(list(value[3])))
            continue
        letter = _letter(what, value)
        if letter is not None:
            run.add(*letter)
            continue
        if what is said.BRANCH:
            after = list(takewhile(lambda item: _letter(*item) is not None, reversed(rest)))
            parts.append([way for branch in value[1] for way in _ways([*branch, *after], _Run(run.plain, run.exact))])
        else:
            clauses.extend(run.phrase())
            if what in _REPEATS and value[0]:
                parts.append(_ways(list(value[2])))
        if what not in (said.ASSERT, said.ASSERT_NOT):
            run = _Run()
    clauses.extend(run.phrase())
    return [tuple(dict.fromkeys((*clauses, *(clause for way in chosen for clause in way)))) for chosen in product(*_bounded(parts))]


def _bounded(parts: list[list[Way]]) -> Iterator[list[Way]]:
    """The same alternatives; where they would make too many ways, those of a part as one clause.

    A part of 100 ways beside one of two (`red` and `x`; `blue`) would make 200. The second is then one way with one clause, of which any
    phrase will do: `red` or `blue`, the most telling clause of each. That asks for less, so nothing is missed; where one of its ways asks
    for nothing, the part is left out.
    """
    count = 1
    for ways in parts:
        if count == 1 or count * len(ways) <= _MOST_WAYS:
            count *= len(ways)
            yield ways
        elif all(ways):
            yield [(frozenset().union(*(max(way, key=longest) for way in ways)),)]


def _letter(what: Any, value: Any) -> tuple[str, str] | None:
    """The letter that stands there, in the common form and as it is; None where it is not known."""
    if what is said.LITERAL:
        return _plain(value), chr(value)
    if what is said.AT and value is said.AT_BOUNDARY:  # what stands at the other side of it is no letter
        return " ", ""
    if what is said.IN:
        return _of_class(value)
    if what in _REPEATS and value[0] and len(value[2]) == 1:
        inner = _letter(*value[2][0])
        return (" ", "\n") if inner is not None and inner[0] == " " else None
    return None


def _of_class(members: Sequence[tuple[Any, Any]]) -> tuple[str, str] | None:
    found = set()
    for what, value in members:
        if what is said.LITERAL:
            found.add(_plain(value))
        elif (what is said.CATEGORY and value in _NO_LETTERS) or (what is said.RANGE and value == _ALL_DIGITS):
            found.add(" ")
        else:
            return None
    return (found.pop(), "\n") if len(found) == 1 else None


def _plain(letter: int) -> str:
    return chr(_PLAIN[letter]) if letter < len(_PLAIN) else " "
