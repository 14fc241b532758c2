"""Which pages of an arena are free, how many sequences hold each of the others, and where the next one is taken.

Lanes are equally long parts of the arena. A sequence begins at the beginning of a lane and grows in it; one that begins with pages of
another goes on in a lane of its own at the place where those pages would end, so that sequences with the same beginning stay equally
far apart. A page without holders is *idle* until it is freed: its content is kept in case somebody comes back for it.
"""

from array import array
from collections.abc import Iterable, Sequence


class Occupancy:
    """Counts of holders for ``lanes`` times ``lane_pages`` pages."""

    def __init__(self, lanes: int, lane_pages: int) -> None:
        self.lanes, self.lane_pages = lanes, lane_pages
        self.pages = lanes * lane_pages
        self._taken = bytearray(self.pages)
        self._holders = array("H", bytes(2 * self.pages))
        self._in_lane = [0] * lanes
        self._held_in_lane = [0] * lanes
        self.taken_pages = 0

    @property
    def free_pages(self) -> int:
        """Pages without content."""
        return self.pages - self.taken_pages

    def take(self, after: int | None = None, ordinal: int = 0) -> int:
        """A free page for the ``ordinal``-th page of a sequence, with one holder. Raises MemoryError when none is free.

        It is the one after ``after`` where that is free in the same lane, else the ``ordinal``-th of the emptiest lane, else its first.
        """
        if after is not None and (after + 1) % self.lane_pages and not self._taken[after + 1]:
            return self._mark(after + 1)
        lane = min(range(self.lanes), key=self._in_lane.__getitem__)
        first, last = lane * self.lane_pages, (lane + 1) * self.lane_pages
        found = first + ordinal if ordinal < self.lane_pages and not self._taken[first + ordinal] else self._taken.find(0, first, last)
        if found < 0:
            raise MemoryError(f"all {self.pages} pages of the arena are taken")
        return self._mark(found)

    def _mark(self, page: int) -> int:
        self._taken[page] = 1
        self.hold(page)
        self._in_lane[page // self.lane_pages] += 1
        self.taken_pages += 1
        return page

    def hold(self, page: int) -> bool:
        """One more holder of a page with content; whether it was idle."""
        self._holders[page] += 1
        if self._holders[page] > 1:
            return False
        self._held_in_lane[page // self.lane_pages] += 1
        return True

    def let_go(self, page: int) -> bool:
        """One holder fewer; whether the page is idle now."""
        self._holders[page] -= 1
        if self._holders[page]:
            return False
        self._held_in_lane[page // self.lane_pages] -= 1
        return True

    def is_held(self, page: int) -> bool:
        """Whether somebody holds it."""
        return self._holders[page] > 0

    def needs_lane(self, after: int | None) -> bool:
        """Whether the page after ``after`` would be taken in another lane and none is empty."""
        goes_on = after is not None and (after + 1) % self.lane_pages and not self._taken[after + 1]
        return not goes_on and 0 not in self._in_lane

    def is_loose(self, page: int) -> bool:
        """Whether nobody holds any page of its lane."""
        return not self._held_in_lane[page // self.lane_pages]

    def beside(self, page: int) -> list[int]:
        """All pages with content in its lane."""
        first = page // self.lane_pages * self.lane_pages
        return [other for other in range(first, first + self.lane_pages) if self._taken[other]]

    def free(self, pages: Iterable[int]) -> None:
        """Pages whose content is not needed any more."""
        for page in pages:
            self._taken[page] = 0
            self._in_lane[page // self.lane_pages] -= 1
            self.taken_pages -= 1

    def widened(self, first: int, count: int, margin: int) -> tuple[int, int]:
        """A run of free pages with up to ``margin`` free ones on either side: (first, how many)."""
        last = first + count
        for _ in range(margin):
            first -= first > 0 and not self._taken[first - 1]
            last += last < self.pages and not self._taken[last]
        return first, last - first


def neighbours(pages: Sequence[int]) -> list[tuple[int, int]]:
    """Runs of consecutive numbers: (first, how many)."""
    found: list[tuple[int, int]] = []
    for page in pages:
        if found and page == found[-1][0] + found[-1][1]:
            found[-1] = (found[-1][0], found[-1][1] + 1)
        else:
            found.append((page, 1))
    return found
