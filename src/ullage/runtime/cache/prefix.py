"""Pages that can be used again: full pages by a digest of everything that went into them, and which of them nobody holds.

A page's digest is of its tokens and of the digest of the page before it, the first one's of a salt: whatever else the content depends on.
"""

from array import array
from collections.abc import Callable, Sequence
from hashlib import blake2b

from ullage.frozen import dataclass

_DIGEST_BYTES = 16


@dataclass(frozen=True, slots=True)
class Match:
    """``pages`` full pages of a beginning that are in the cache: of every group, how many its window dropped, and the others."""

    pages: int
    held: tuple[tuple[int, tuple[int, ...]], ...]


def shareable(prompt: int, sharp_from: int | None, tokens: int) -> tuple[int, bytes]:
    """How many of ``tokens`` tokens have a content others may use, and the salt of their digests.

    Past ``sharp_from`` tokens dual chunk attention sharpens logits by the length: the prompt's while it is read, and then the growing one's
    (arXiv 2309.00071's temperature), so what deeper layers keep of a longer prompt is like that of a prompt of the same length only.
    """
    if sharp_from is None:
        return tokens, b""
    if prompt > sharp_from:
        return min(prompt, tokens), prompt.to_bytes(8, "little")
    return min(sharp_from, tokens), b""


def extend(digests: list[bytes], tokens: Sequence[int], *, page_tokens: int, pages: int, salt: bytes) -> None:
    """Add the digests of full pages until there are ``pages`` of them."""
    before = digests[-1] if digests else salt
    for page in range(len(digests), pages):
        content = array("I", tokens[page * page_tokens : (page + 1) * page_tokens])
        before = blake2b(before + content.tobytes(), digest_size=_DIGEST_BYTES).digest()
        digests.append(before)


class Prefix:
    """The pages of every group by their digests. ``windows``: tokens each group keeps, None for all."""

    def __init__(self, windows: Sequence[int | None], page_tokens: int) -> None:
        self._windows, self._page_tokens = tuple(windows), page_tokens
        self._pages: dict[bytes, list[int | None]] = {}
        self._digests: dict[tuple[int, int], bytes] = {}
        self._idle: dict[tuple[int, int], float] = {}  # group and page, longest idle first, and since when
        self.idle_pages = [0] * len(self._windows)

    def find(self, digests: Sequence[bytes]) -> Match:
        """The longest beginning that every group has all pages of which its window still shows."""
        rows = [self._pages.get(digest) for digest in digests]
        for pages in range(self._reach(rows), 0, -1):
            firsts = [self._first(window, pages) for window in self._windows]
            # Groups without a window were looked at already; in the others a missing page is met soonest from the end.
            if all(
                (row := rows[at]) is not None and row[group] is not None
                for group, first in enumerate(firsts)
                if self._windows[group] is not None
                for at in range(pages - 1, first - 1, -1)
            ):
                return Match(pages, tuple((first, self._column(rows[first:pages], group)) for group, first in enumerate(firsts)))
        return Match(0, tuple((0, ()) for _ in self._windows))

    def _reach(self, rows: Sequence[list[int | None] | None]) -> int:
        """Pages up to the first that a group without a window lacks."""
        whole = [group for group, window in enumerate(self._windows) if window is None]
        for at, row in enumerate(rows):
            if whole and (row is None or any(row[group] is None for group in whole)):
                return at
        return len(rows)

    def _first(self, window: int | None, pages: int) -> int:
        return 0 if window is None else max(0, pages * self._page_tokens - window + 1) // self._page_tokens

    @staticmethod
    def _column(rows: Sequence[list[int | None] | None], group: int) -> tuple[int, ...]:
        return tuple(page for row in rows if row is not None and (page := row[group]) is not None)

    def remember(self, digest: bytes, group: int, page: int) -> None:
        """A page that somebody holds is full; where another has the same content, that one stays the one that is used again."""
        row = self._pages.setdefault(digest, [None] * len(self._windows))
        if row[group] is None:
            row[group] = page
            self._digests[group, page] = digest

    def rest(self, group: int, page: int, at: float) -> bool:
        """Nobody holds the page any more; whether its content is kept, idle, from the time ``at``."""
        if (group, page) not in self._digests:
            return False
        self._idle[group, page] = at
        self.idle_pages[group] += 1
        return True

    def wake(self, group: int, page: int) -> None:
        """Somebody holds an idle page again."""
        del self._idle[group, page]
        self.idle_pages[group] -= 1

    def oldest(self) -> tuple[int, int, float] | None:
        """The page that has been idle longest: its group, its number, since when."""
        for (group, page), at in self._idle.items():
            return group, page, at
        return None

    def oldest_where(self, group: int, fits: Callable[[int], bool]) -> int | None:
        """The page of one group that has been idle longest of those that fit."""
        return next((page for own, page in self._idle if own == group and fits(page)), None)

    def forget(self, group: int, page: int) -> None:
        """An idle page's content goes."""
        self.wake(group, page)
        digest = self._digests.pop((group, page))
        row = self._pages[digest]
        row[group] = None
        if all(other is None for other in row):
            del self._pages[digest]
