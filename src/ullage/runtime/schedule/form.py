"""What tokens take in the cache: pages of every group of layers, in bytes."""

from ullage.frozen import dataclass


@dataclass(frozen=True, slots=True)
class Kept:
    """One group of layers: the window of tokens it keeps (None: all) and the bytes of one of its pages."""

    window: int | None
    page_bytes: int

    def first_kept(self, tokens: int) -> int:
        """The oldest token the next one still sees when ``tokens`` are in the cache."""
        return 0 if self.window is None else max(0, tokens - self.window + 1)


@dataclass(frozen=True, slots=True)
class Form:
    """The pages of a sequence. All groups grow together, so each has room for the same tokens."""

    page_tokens: int
    groups: tuple[Kept, ...]

    @property
    def bundle_bytes(self) -> int:
        """One page of every group: what a sequence grows by."""
        return sum(group.page_bytes for group in self.groups)

    def pages(self, tokens: int) -> int:
        """Pages of one group that hold so many tokens."""
        return -(-tokens // self.page_tokens)

    def held_bytes(self, cached: int, reach: int) -> int:
        """Bytes of a sequence with ``cached`` tokens in the cache and room for ``reach``."""
        last = self.pages(reach)
        return sum(group.page_bytes * max(0, last - group.first_kept(cached) // self.page_tokens) for group in self.groups)

    def peak_bytes(self, tokens: int, rows: int) -> int:
        """The most that a sequence holds on its way to ``tokens`` tokens in steps of at most ``rows``."""
        pages = self.pages(tokens)
        total = 0
        for group in self.groups:
            # An interval of n tokens touches at most (n - 2) // page + 2 pages: 6 tokens can touch 3 pages of 4.
            seen = pages if group.window is None else (group.window - 1 + rows - 2) // self.page_tokens + 2
            total += group.page_bytes * min(pages, seen)
        return total

    def longest(self, budget_bytes: int, rows: int, most: int) -> int:
        """The longest sequence, up to ``most`` tokens, that fits in ``budget_bytes`` alone."""
        low, high = 0, self.pages(most)
        while low < high:
            middle = (low + high + 1) // 2
            if self.peak_bytes(middle * self.page_tokens, rows) <= budget_bytes:
                low = middle
            else:
                high = middle - 1
        return min(most, low * self.page_tokens)
