"""Where the tokens of one sequence lie in one arena."""

from collections.abc import Iterable, Iterator

from ullage.runtime.cache.arena import Arena


class Table:
    """The pages of a sequence in order; ``dropped`` pages at its beginning are gone because a window has passed them."""

    def __init__(self, page_tokens: int) -> None:
        self.page_tokens = page_tokens
        self.pages: list[int] = []
        self.dropped = 0

    @property
    def reach(self) -> int:
        """Tokens there is room for, counted from the beginning of the sequence."""
        return (self.dropped + len(self.pages)) * self.page_tokens

    def missing(self, tokens: int) -> int:
        """Pages that are still needed to hold ``tokens`` tokens."""
        return max(0, -(-(tokens - self.reach) // self.page_tokens))

    def grow(self, arena: Arena, tokens: int) -> None:
        """Take pages until ``tokens`` tokens have room."""
        for _ in range(self.missing(tokens)):
            self.pages.append(arena.occupancy.take(self.pages[-1] if self.pages else None, self.dropped + len(self.pages)))

    def adopt(self, arena: Arena, dropped: int, pages: Iterable[int]) -> list[int]:
        """Begin with pages that are full already, those before them being gone; gives back which of them were idle."""
        self.pages, self.dropped = list(pages), dropped
        return [page for page in self.pages if arena.occupancy.hold(page)]

    def behind(self, token: int) -> list[int]:
        """Take out the pages that lie wholly before ``token``, for the caller to release."""
        count = min(len(self.pages), max(0, token // self.page_tokens - self.dropped))
        gone, self.pages = self.pages[:count], self.pages[count:]
        self.dropped += count
        return gone

    def runs(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        """Runs of slots that lie one after another and hold tokens ``start`` to ``end``: (first slot, how many)."""
        size = self.page_tokens
        at = start
        while at < end:
            index = at // size - self.dropped
            first = self.pages[index] * size + at % size
            last = index
            while (last + 1 + self.dropped) * size < end and self.pages[last + 1] == self.pages[last] + 1:
                last += 1
            stop = min(end, (last + 1 + self.dropped) * size)
            yield first, stop - at
            at = stop

    def slot(self, token: int) -> int:
        """The slot of one token."""
        return self.pages[token // self.page_tokens - self.dropped] * self.page_tokens + token % self.page_tokens
