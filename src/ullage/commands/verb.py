"""What a verb is: its options as values, so that a plain command line is read without building a parser.

The command line hands anything this reader does not take at once (help, a misspelt flag, a missing value) to Typer, which is built from
the same values and explains it.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from ullage.domain.hyperparameters import Json
from ullage.errors import InputError
from ullage.frozen import dataclass
from ullage.ports import World

if TYPE_CHECKING:
    from ullage.report.document import Document

_MOST_DIGITS = 18

Given = str | int | bool | tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class Option:
    """One option. ``kind``: "text" (one value), "many" (repeatable), "whole" (a whole number from 1), "flag" (no value).

    ``words`` are all that a text may be made of, with commas between; the first is meant where the option stands alone.
    """

    name: str
    kind: str
    help: str
    metavar: str = ""
    flags: tuple[str, ...] = ()  # none: the name with dashes
    panel: str = ""
    words: tuple[str, ...] = ()

    @property
    def spellings(self) -> tuple[str, ...]:
        """The flags a person may write."""
        return self.flags or ("--" + self.name.replace("_", "-"),)

    @property
    def absent(self) -> Given:
        """The value when it is not given."""
        match self.kind:
            case "many":
                return ()
            case "flag":
                return False
            case _:
                return None


@dataclass(frozen=True, slots=True)
class Argument:
    """The words that are no options.

    ``kind``: "one" (needed), "maybe" (one or none), "rest" (all that follow, flags too), "target" (one or none, and a command after
    ``--``, which stays among the words), "several" (any number).
    """

    name: str
    kind: str
    help: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What a verb answers: the exit code, the report for people, and the same as JSON. One of the two may be left out when not asked.

    ``looks`` are answers that follow each other until they end or are interrupted; the last one's exit code counts. ``line`` says one of
    them where lines are wanted. ``remarks`` are said on standard error.
    """

    exit_code: int
    document: "Document | None" = None
    json: Json = None
    line: str = ""
    remarks: tuple[str, ...] = ()
    looks: "Iterator[Answer] | None" = None


class Flags:
    """The values given, by name."""

    def __init__(self, given: Mapping[str, Given]) -> None:
        self._given = given

    def text(self, name: str) -> str | None:
        """One value, or None."""
        value = self._given.get(name)
        return None if value is None else str(value)

    def texts(self, name: str) -> tuple[str, ...]:
        """All values of a repeatable option, in order."""
        value = self._given.get(name)
        return value if isinstance(value, tuple) else ()

    def whole(self, name: str) -> int | None:
        """A whole number, or None."""
        value = self._given.get(name)
        return value if isinstance(value, int) and not isinstance(value, bool) else None

    def flag(self, name: str) -> bool:
        """Whether it was given."""
        return self._given.get(name) is True

    def with_(self, **values: Given) -> "Flags":
        """The same with these values."""
        return Flags({**self._given, **values})


@dataclass(frozen=True, slots=True)
class Verb:
    """One verb of the command line."""

    name: str
    help: str
    run: Callable[[Flags, World], Answer]
    options: tuple[Option, ...]
    argument: Argument | None = None

    def flags(self, values: Mapping[str, object]) -> Flags:
        """Values given by a program. Raises InputError for a name that is no option and a value of the wrong kind."""
        known = {option.name: option for option in self.options}
        given: dict[str, Given] = {option.name: option.absent for option in self.options}
        for name, value in values.items():
            if self.argument is not None and name == self.argument.name:
                given[name] = tuple(map(str, value)) if isinstance(value, tuple) else str(value)
            elif name not in known:
                raise InputError(f"{self.name} has no option {name!r}; its options are {', '.join(sorted(known))}")
            elif value is not None:
                given[name] = _as_given(known[name], value)
        return Flags(given)


def _as_given(option: Option, value: object) -> Given:
    """One value as the command line would have it."""
    match option.kind:
        case "many" if isinstance(value, Mapping):
            return tuple(f"{name}={item}" for name, item in value.items())
        case "many" if not isinstance(value, str) and isinstance(value, Iterable):
            return tuple(str(item) for item in value)
        case "many":
            return (str(value),)
        case "flag" if isinstance(value, bool):
            return value
        case "whole" if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return value
        case "text" if isinstance(value, str | int):
            return str(value)
    raise InputError(f"{option.name}={value!r} should be {_KINDS[option.kind]}")


_KINDS = {"flag": "True or False", "whole": "a whole number from 1", "text": "text or a whole number"}


def parse(verb: Verb, words: tuple[str, ...]) -> Flags | None:
    """The values of a command line written without fault; None where Typer has to explain something."""
    spelt = {spelling: option for option in verb.options for spelling in option.spellings}
    given: dict[str, Given] = {option.name: option.absent for option in verb.options}
    others: list[str] = []
    position = 0
    takes_rest = verb.argument is not None and verb.argument.kind == "rest"
    is_target = verb.argument is not None and verb.argument.kind == "target"
    while position < len(words):
        word = words[position]
        position += 1
        if word == "--" or (takes_rest and not word.startswith("-")):
            others.extend(words[position - (word != "--" or is_target) :])
            break
        if not word.startswith("-") or word == "-":
            others.append(word)
            continue
        name, has_value, value = word.partition("=") if word.startswith("--") else (word, "", "")
        option = spelt.get(name)
        if option is None or (has_value and option.kind == "flag"):
            return None
        if option.words and not has_value and not _is_value(option, words[position : position + 1]):
            has_value, value = "=", option.words[0]
        if option.kind != "flag" and not has_value:
            if position == len(words) or words[position].startswith("-"):
                return None
            value = words[position]
            position += 1
        if not _put(given, option, value):
            return None
    return _with_argument(given, verb.argument, others)


def _is_value(option: Option, following: tuple[str, ...]) -> bool:
    """Whether the word after an option that may stand alone is its value."""
    return bool(following) and all(part in option.words for part in following[0].split(","))


def _put(given: dict[str, Given], option: Option, value: str) -> bool:
    """Note one option; False where the value is not of its kind."""
    match option.kind:
        case "flag":
            given[option.name] = True
        case "many":
            before = given[option.name]
            given[option.name] = (*(before if isinstance(before, tuple) else ()), value)
        case "whole":
            if not (value.isascii() and value.isdigit() and len(value) <= _MOST_DIGITS and int(value)):
                return False
            given[option.name] = int(value)
        case _:
            given[option.name] = value
    return True


def _with_argument(given: dict[str, Given], argument: Argument | None, others: list[str]) -> Flags | None:
    if argument is None:
        return None if others else Flags(given)
    if argument.kind == "several" or (argument.kind == "rest" and others):
        return Flags({**given, argument.name: tuple(others)})
    if argument.kind == "target":
        return Flags({**given, argument.name: tuple(others)}) if others[1:2] in ([], ["--"]) or others[0] == "--" else None
    if len(others) > 1 or (argument.kind in {"one", "rest"} and not others):
        return None
    return Flags({**given, argument.name: others[0] if others else None})
