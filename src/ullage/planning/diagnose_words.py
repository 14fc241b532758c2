"""Which texts hold the words without which no pattern is found in them; most of what applications write does not."""

import re
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Any, Final, NamedTuple

from ullage.catalog.torch_messages import without_names
from ullage.planning.diagnose_phrases import EXACT, Part, longest, parts_of, plain_of, words_of

_KEY: Final = 3  # letters of a word that texts are searched for
_MOST_WORDS, _MOST_AT_ONCE, _LONGEST_WORD = 20_000, 1_000, 40  # words that are remembered; then it begins anew


class _Wanted(NamedTuple):
    """What else must stand in a text that holds a phrase, or a sign: of each row one; and what then finds it."""

    phrase: bytes
    others: tuple[tuple[bytes, ...], ...]
    part: Part


_Table = dict[bytes, list[_Wanted]]


class Words:
    """The words of some patterns, and what is known of the words of the texts so far.

    `(?:KV|cache) .*too small` has two ways: `too small` and `kv `; `too small` and `cache `. Of each way the clause with the longest
    word is looked for first, here `too small` in both, by its longest word, `small`: the key. A text with the word `smaller` holds that
    key, and only then is it asked whether all clauses of one of the ways stand in it, and whether what is left of the pattern is found.
    """

    def __init__(self, patterns: Iterable[re.Pattern[str]]) -> None:
        self._ways: _Table = defaultdict(list)  # by a part of a word that must stand in the text, none of which holds another
        self._signed: _Table = defaultdict(list)  # by a sign that must stand in it
        self._short: _Table = defaultdict(list)  # by a phrase of short words
        ways = [(way, part) for pattern in patterns for part in parts_of(pattern) for way in part.ways]
        self._is_open = not all(way for way, _ in ways)  # a pattern could be found in any text
        chosen = [(max(way, key=longest), way, part) for way, part in ways if way]
        keys = sorted({_key_of(phrase) for clause, _, _ in chosen if longest(clause) >= _KEY for phrase in clause}, key=len)
        least = {key: next(other for other in keys if other in key) for key in keys}
        for clause, way, part in chosen:
            others = tuple(tuple(map(_as_bytes, one)) for one in sorted(way, key=longest, reverse=True) if one is not clause)
            for phrase in clause:
                wanted = _Wanted(_as_bytes(phrase), others, part)
                if longest(clause) >= _KEY:
                    self._ways[least[_key_of(phrase)]].append(wanted)
                else:
                    (self._signed if phrase[0] == EXACT else self._short)[wanted.phrase].append(wanted)
        self._any = re.compile(f"(?={_alternation(self._ways)})".encode())
        self._any_short = re.compile(b"|".join(self._short) or b"(?!)")
        self._dull: set[bytes] = set()
        self._held: dict[bytes, tuple[bytes, ...]] = {}

    def among(self, texts: Sequence[bytes]) -> set[int]:
        """Which of the texts hold a word of a pattern that has all its words in them together: in no other one is a pattern found."""
        if self._is_open:
            return set(range(len(texts)))
        whole = b"\n".join(texts)
        wanted = {wanted.phrase for wanted in self._met(whole)}
        begins = list(accumulate((len(text) + 1 for text in texts), initial=0))
        plain, exact = plain_of(whole), whole.lower()
        found: set[int] = set()
        for phrase in wanted:
            where, part = (exact, phrase[1:]) if phrase[0] == 0 else (plain, max(phrase.split(), key=len))
            at = where.find(part)
            while at >= 0:
                index = bisect_right(begins, at) - 1
                found.add(index)
                at = where.find(part, begins[index + 1])
        return found

    def find(self, text: bytes) -> bool:
        """Whether one of the patterns could be found in a text, or in what stays of it without its spaces or its names."""
        if self._is_open:
            return True
        met = list(self._met(text))
        if not met:
            return False
        plain = text.decode("utf-8", "surrogatepass").rstrip()
        texts = {plain, " ".join(plain.split()), without_names(plain)}
        return any(wanted.part.loose.search(one) for wanted in met for one in texts)

    def _met(self, text: bytes) -> Iterator[_Wanted]:
        """What has all its words in a text."""
        words = words_of(text)
        said, exact = b" %b " % b" ".join(words), text.lower()
        some = [self._ways[key] for key in self._keys(set(words))]
        some += [wanted for sign, wanted in self._signed.items() if sign[1:] in exact]
        if self._any_short.search(said):
            some += [wanted for phrase, wanted in self._short.items() if phrase in said]
        for table in some:
            for wanted in table:
                if (wanted.phrase in said or wanted.phrase[0] == 0) and _stand(wanted.others, said, exact):
                    yield wanted

    def _keys(self, words: set[bytes]) -> set[bytes]:
        """The keys in these words."""
        words -= self._dull
        known = words & self._held.keys()
        found = {key for word in known for key in self._held[word]}
        return found | self._learned(words - known) if len(known) < len(words) else found

    def _learned(self, words: set[bytes]) -> set[bytes]:
        """The keys in words that were not seen before."""
        text = b" %b " % b" ".join(words)
        held: dict[bytes, tuple[bytes, ...]] = {}
        for hit in self._any.finditer(text):
            word = text[text.rfind(b" ", 0, hit.start()) + 1 : text.index(b" ", hit.end())]
            held[word] = (*held.get(word, ()), hit[1])
        if len(self._dull) + len(self._held) + len(words) > _MOST_WORDS:
            self._dull.clear()
            self._held.clear()
        if len(words) <= _MOST_AT_ONCE:  # so many new ones are no language's, and come again seldom
            self._held.update((word, keys) for word, keys in held.items() if len(word) <= _LONGEST_WORD)
            self._dull.update([word for word in words - held.keys() if len(word) <= _LONGEST_WORD])
        return {key for keys in held.values() for key in keys}


def _as_bytes(phrase: str) -> bytes:
    return phrase.encode()


def _stand(clauses: tuple[tuple[bytes, ...], ...], said: bytes, exact: bytes) -> bool:
    """Whether of each clause one phrase or sign stands in a text."""
    for clause in clauses:
        for phrase in clause:
            if phrase in said or (phrase[0] == 0 and phrase[1:] in exact):
                break
        else:
            return False
    return True


def _key_of(phrase: str) -> bytes:
    return max(phrase.split(), key=len).encode()


def _alternation(keys: Iterable[bytes]) -> str:
    """A pattern of all keys, those with one beginning together."""
    root: dict[str, Any] = {}
    for key in keys:
        branch = root
        for letter in key.decode():
            branch = branch.setdefault(letter, {})
        branch[""] = {}

    def text(branch: dict[str, Any]) -> str:
        parts = [letter + text(rest) for letter, rest in branch.items()] if "" not in branch else [""]
        return parts[0] if len(parts) == 1 else f"(?:{'|'.join(parts)})"

    return f"({text(root)})"
