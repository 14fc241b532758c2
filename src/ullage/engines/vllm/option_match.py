"""Which flag a word of a command line means, in the way argparse and vLLM's own parser decide it in a release."""

import re

from ullage.engines.vllm.flags import Spelling, spellings
from ullage.engines.vllm.flags_kinds import Release
from ullage.frozen import dataclass

UNDERSCORES: Release = (0, 5, 1)  # from here underscores in a name are read as dashes
DOTTED: Release = (0, 9, 0)  # from here `--name.key value` sets a key of a JSON flag
_NEGATIVE_NUMBER = re.compile(r"-\d+|-\d*\.\d+")
_SHORT = 2  # a dash and a letter


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """One option: its text without a value, what it means, and the value after ``=``.

    ``candidates`` are the full names that begin like it; with more than one nothing is meant.
    """

    text: str
    spelling: Spelling | None
    explicit: str | None = None
    candidates: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()  # of a dotted name
    adds: bool = False  # a dotted name that ends in `+` appends to a list

    @property
    def full(self) -> str:
        """The name in full where the beginning of one was written."""
        return self.candidates[0] if self.spelling and self.candidates else self.text


def tidy(word: str, at: Release) -> str:
    """A word with the underscores of its name as dashes, where the release reads them so."""
    if not word.startswith("--") or at < UNDERSCORES:
        return word
    name, equals, value = word.partition("=")
    head, dot, path = name.partition(".") if at >= DOTTED else (name, "", "")
    return head.replace("_", "-") + dot + path + equals + value


def match_option(word: str, at: Release) -> Match | None:
    """What a word means as an option, or None where it is a value or a positional argument."""
    table = spellings(at)
    if not word.startswith("-") or word in {"-", "--"}:
        return None
    if word in table:
        return Match(text=word, spelling=table[word])
    name, equals, value = word.partition("=")
    explicit = value if equals else None
    if equals and name in table:
        return Match(text=name, spelling=table[name], explicit=explicit)
    if not _NEGATIVE_NUMBER.fullmatch(word) and "." in name and at >= DOTTED:
        return _dotted(name, explicit, at)
    return _abbreviated(word, name, explicit, table)


def _abbreviated(word: str, name: str, explicit: str | None, table: dict[str, Spelling]) -> Match | None:
    if word.startswith("--"):
        found = tuple(sorted(text for text in table if text.startswith(name)))
    else:
        found = tuple(sorted(text for text in table if text.startswith(word)))
        if word[:_SHORT] in table:
            found, name, explicit = (*found, word[:_SHORT]), word[:_SHORT], word[_SHORT:]
    if len(found) == 1:
        return Match(text=name, spelling=table[found[0]], explicit=explicit, candidates=found)
    if found:
        return Match(text=name, spelling=None, explicit=explicit, candidates=found)
    if _NEGATIVE_NUMBER.fullmatch(word) or " " in word:
        return None
    return Match(text=name, spelling=None, explicit=explicit)


def _dotted(name: str, explicit: str | None, at: Release) -> Match | None:
    adds = name.endswith("+")
    head, *keys = name.removesuffix("+").split(".")
    base = match_option("--compilation-config" if head == "-O" else head, at) if head.strip("-") else None
    if base is None:
        return Match(text=name, spelling=None, explicit=explicit)
    return Match(
        text=base.text,
        spelling=base.spelling,
        explicit=explicit,
        candidates=base.candidates,
        keys=tuple(keys),
        adds=adds,
    )
