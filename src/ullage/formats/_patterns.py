"""Lists of modules as configurations write them: names, globs, index ranges and regular expressions."""

import re
from collections.abc import Iterable

from ullage.domain.hyperparameters import Hyperparameters
from ullage.errors import MalformedFileError
from ullage.frozen import dataclass

# Wrappers put these before the same module; lists of modules are written with or without them.
_ROOT = re.compile(r"^(?:(?:model|language_model|text_model|transformer|backbone|llm|thinker)\.)+")
_ROOTS = ("", "model.", "language_model.model.", "model.language_model.", "backbone.")
_RANGE = re.compile(r"\{([0-9,\- ]+)\}")
_LONGEST_PATTERN = 2000
_LARGEST_INDEX = 4096
# A repeated group that itself repeats, or many open repetitions, can take longer than anybody waits. Nobody writes them.
_NESTED_REPEAT = re.compile(r"[*+}]\)[*+{]")
_MOST_REPEATS = 6


def bare_name(name: str) -> str:
    """A name without the wrappers before it: ``model.language_model.layers.0`` is ``layers.0``."""
    return _ROOT.sub("", name)


@dataclass(frozen=True, slots=True)
class Patterns:
    """A list of modules. A module is in the list with all that is below it."""

    names: frozenset[str]
    globs: re.Pattern[str] | None
    expressions: tuple[re.Pattern[str], ...]

    def match(self, module: str) -> bool:
        """Whether the module, or one that it is part of, is in the list."""
        name = bare_name(module)
        if self.names and not self.names.isdisjoint(_parts(name)):
            return True
        if self.globs is not None and self.globs.match(name):
            return True
        return any(expression.match(root + name) for expression in self.expressions for root in _ROOTS)


def _parts(name: str) -> Iterable[str]:
    """Every run of whole words of a dotted name."""
    words = name.split(".")
    return (".".join(words[start:end]) for start in range(len(words)) for end in range(start + 1, len(words) + 1))


def patterns(words: Iterable[str]) -> Patterns:
    """Read a list: ``re:`` words are regular expressions, ``*`` stands for anything, ``{0-3,7}`` for any of these numbers."""
    names, globs, expressions = [], [], []
    for word in words:
        _check(word)
        if word.startswith("re:"):
            expressions.append(_compiled(word[3:]))
        elif set(word) & set("*?{"):
            globs.append(_translate(bare_name(word)))
        else:
            names.append(bare_name(word))
    whole = _compiled(f"(?:.*\\.)?(?:{'|'.join(globs)})(?:\\..*)?$") if globs else None
    return Patterns(frozenset(names), whole, tuple(expressions))


def _check(word: str) -> None:
    if len(word) > _LONGEST_PATTERN:
        raise MalformedFileError(f"the module pattern {word[:60]!r}... has {len(word)} characters; at most {_LONGEST_PATTERN} are read")
    repeats = sum(word.count(sign) for sign in ("*", "+", "{")) if word.startswith("re:") else word.count("*")
    if repeats > _MOST_REPEATS or _NESTED_REPEAT.search(word):
        raise MalformedFileError(f"the module pattern {word[:60]!r} repeats too much to be matched in bounded time")


def _compiled(expression: str) -> re.Pattern[str]:
    try:
        return re.compile(expression)
    except (re.error, RecursionError, OverflowError) as error:
        raise MalformedFileError(f"the module pattern {expression[:80]!r} is no regular expression: {error}") from error


def _translate(word: str) -> str:
    pieces = []
    position = 0
    for found in _RANGE.finditer(word):
        pieces.append(_glob(word[position : found.start()]) + _numbers(found[1]))
        position = found.end()
    return "".join(pieces) + _glob(word[position:])


def _glob(text: str) -> str:
    return re.escape(text).replace(r"\*", ".*").replace(r"\?", ".")


def _numbers(text: str) -> str:
    numbers: list[int] = []
    for piece in text.replace(" ", "").split(","):
        first, _, last = piece.partition("-")
        if not first.isdigit() or (last and not last.isdigit()) or len(piece) > 2 * len(str(_LARGEST_INDEX)) + 1:
            raise MalformedFileError(f"{{{text[:60]}}} in a module pattern is no range of layers")
        numbers += range(int(first), min(int(last or first), _LARGEST_INDEX) + 1)
    return f"(?:{'|'.join(map(str, sorted(set(numbers))))})"


def named(config: Hyperparameters, *keys: str) -> Patterns:
    """The modules listed under any of these keys; a key that is missing or null lists none."""
    return patterns(word for key in keys if config.has(key) for word in config.words(key))
