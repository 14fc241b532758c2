"""Counting the tokens of much text quickly: words are looked up, and a tokeniser is asked only for those not met before.

Vocabularies that cut text into words before merging count a text as the sum of its words. That this one does, for cuts before a single
space that a Latin letter follows, is tried out first and checked again and again while counting; where it does not hold, every text is
given to the tokeniser whole. So the counts are the tokeniser's own.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from itertools import product

Count = Callable[[Sequence[str]], list[int]]

MOST_WORDS = 1 << 18  # remembered at a time, some 30 MB
LONGEST_WORD = 48  # characters; longer ones seldom come again
_CUT = re.compile(r"(?<=\S) (?=[A-Za-z])")
_BEFORE = (*"aZ7.,'\")]}_-/\\=éßя中の한\u0627ก", "the", "2024", "!?", "n't", "½", "Ⅷ", "²", "…", "—", "<|x|>")
_BEFORE_RARE = ("\u200d", "\u0301", "😀", "👩\u200d👩", "🇩", "\ufeff", "\u00ad", "x\u0301", "\x00", "\x7f")
_AFTER = ("a", "Z", "the", "s", "t", "ll", "The", "I'm", "x1", "e\u0301", "naïve", "aZ", "ABCd", "a,", "ing")
_CHECK_EVERY, _CHECKED_FIRST, _CHECKED = 64, 256, 16  # of the lists, every 64th; so many texts of it


class _Known(dict[str, int]):
    """Counts by word; words that are not there count nothing and are noted."""

    def __init__(self) -> None:
        super().__init__()
        self.missed: list[str] = []
        self.seen: set[str] = set()  # once, so that they are asked for when they come again

    def __missing__(self, word: str) -> int:
        self.missed.append(word)
        return 0


class RememberedCount:
    """Counts as ``count`` does. ``specials`` are names of tokens that may behave in ways of their own: texts with them are counted whole.

    Words that are new in a text are counted together, as most never come again; one that does is asked for by itself and remembered.
    """

    def __init__(self, count: Count, specials: Iterable[str] = ()) -> None:
        self._count = count
        self._first, self._later = _Known(), _Known()
        self._lists = 0
        names = sorted({name for name in specials if name})
        self._signs = "".join(sorted({name[0] for name in names}))
        self._strange = re.compile("|".join(map(re.escape, names)) or r"(?!)")
        probes = [f"{before} {after}" for before, after in product((*_BEFORE, *_BEFORE_RARE), _AFTER)]
        new, remembered = self._by_words(probes), self._by_words(probes)
        self.is_by_words = new == remembered == count(probes)

    def __call__(self, texts: Sequence[str]) -> list[int]:
        """How many tokens each text has."""
        if not self.is_by_words:
            return self._count(texts)
        found = self._by_words(texts)
        if self._lists % _CHECK_EVERY == 0:
            sample = range(0, len(texts), max(1, len(texts) // (_CHECKED if self._lists else _CHECKED_FIRST)))
            if [found[at] for at in sample] != self._count([texts[at] for at in sample]):
                self.is_by_words = False
                return self._count(texts)
        self._lists += 1
        return found

    def _is_strange(self, text: str) -> bool:
        return any(sign in text for sign in self._signs) and self._strange.search(text) is not None

    def _by_words(self, texts: Sequence[str]) -> list[int]:
        known = [self._look_up([text] if self._is_strange(text) else _CUT.split(text)) for text in texts]
        asked = [(at, rest) for at, (_, rest) in enumerate(known) if rest]
        found = [count for count, _ in known]
        for (at, _), count in zip(asked, self._count([rest for _, rest in asked]), strict=True):
            found[at] += count
        self._learn(self._first, "")
        self._learn(self._later, " ")
        return found

    def _look_up(self, words: list[str]) -> tuple[int, str]:
        """The tokens of the words that are known, and the others as one text."""
        first, later = self._first, self._later
        heads, tails = len(first.missed), len(later.missed)
        count = first[words[0]] + sum(map(later.__getitem__, words[1:]))
        new = [*(first.missed[heads:] or [""]), *later.missed[tails:]]
        return count, " ".join(new) if len(new) > 1 or new[0] else ""

    def _learn(self, known: _Known, before: str) -> None:
        """Ask for the missed words that were met before, with what stands before them; at first for all."""
        missed = {word for word in known.missed if len(word) <= LONGEST_WORD}
        known.missed.clear()
        if len(known) + len(known.seen) > MOST_WORDS:
            known.clear()
            known.seen.clear()
        again = list(missed & known.seen if self._lists else missed)
        known.seen.update(missed)
        known.seen.difference_update(again)
        known.update(zip(again, self._count([before + word for word in again]), strict=True))
