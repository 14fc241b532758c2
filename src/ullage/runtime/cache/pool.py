"""The pool: one budget of bytes, the arenas that share it, and the tables of sequences in them."""

from collections.abc import Callable, Sequence

import torch

from ullage.engines.runtime.pages import Group, form_of
from ullage.engines.runtime.settings import NATIVE, cache_forms
from ullage.runtime.cache.arena import Arena
from ullage.runtime.cache.prefix import Match, Prefix
from ullage.runtime.cache.table import Table


class Pool:
    """The arenas of all groups under one budget. Nothing is taken until a sequence grows."""

    def __init__(  # noqa: PLR0913 - what it is made of
        self,
        groups: Sequence[Group],
        *,
        budget_bytes: int,
        page_tokens: int,
        lanes: int,
        lane_tokens: int,
        dtype: torch.dtype,
        device: torch.device,
        clock: Callable[[], float] | None = None,
        kv_dtype: str = NATIVE,
        in_slabs: bool | None = None,
    ) -> None:
        """``clock`` tells since when a page is idle; without one nothing is kept for another sequence. ``kv_dtype``: as the setting.

        ``in_slabs``: places have memory before they are taken, so there are no more of them than the budget pays; None: off a CPU.
        """
        self.groups = tuple(groups)
        self.page_tokens = page_tokens
        self.budget_bytes = budget_bytes
        lane_pages = -(-lane_tokens // page_tokens)
        keys, values = cache_forms(kv_dtype)
        if device.type != "cpu" if in_slabs is None else in_slabs:
            form = form_of(groups, page_tokens=page_tokens, keys=keys, values=values, element=dtype.itemsize)
            most = max(1, budget_bytes // form.bundle_bytes)
            lanes = min(lanes, most)
            lane_pages = min(lane_pages, most // lanes)
        self.arenas = tuple(
            Arena(
                group.rows,
                page_tokens=page_tokens,
                lanes=lanes,
                lane_pages=lane_pages,
                dtype=dtype,
                device=device,
                keys=keys,
                values=values,
            )
            for group in groups
        )
        self._clock = clock
        self._prefix = Prefix([group.window for group in groups], page_tokens)

    @property
    def taken_bytes(self) -> int:
        """Bytes of all pages with content."""
        return sum(arena.occupancy.taken_pages * arena.page_bytes for arena in self.arenas)

    @property
    def idle_bytes(self) -> int:
        """Bytes of pages that nobody holds and that are kept in case their tokens come again."""
        return sum(pages * arena.page_bytes for pages, arena in zip(self._prefix.idle_pages, self.arenas, strict=True))

    @property
    def used_bytes(self) -> int:
        """Bytes of pages that sequences hold."""
        return self.taken_bytes - self.idle_bytes

    @property
    def free_pages(self) -> int:
        """Pages that every arena can still give, of idle ones too."""
        idle = zip(self.arenas, self._prefix.idle_pages, strict=True)
        return min(arena.occupancy.free_pages + pages for arena, pages in idle)

    @property
    def longest_tokens(self) -> int:
        """Tokens that the places of every arena hold."""
        return min(arena.occupancy.pages for arena in self.arenas) * self.page_tokens

    def new_tables(self) -> tuple[Table, ...]:
        """Empty tables of one sequence."""
        return tuple(Table(self.page_tokens) for _ in self.groups)

    def find(self, digests: Sequence[bytes]) -> Match:
        """The pages of a beginning that are here."""
        return self._prefix.find(digests)

    def held_bytes(self, match: Match) -> int:
        """Bytes of a match that other sequences hold anyway."""
        parts = zip(match.held, self.arenas, strict=True)
        return sum(arena.page_bytes * sum(map(arena.occupancy.is_held, pages)) for (_, pages), arena in parts)

    def adopt(self, match: Match) -> tuple[Table, ...]:
        """Tables of a sequence that begins with the pages of a match."""
        tables = self.new_tables()
        for group, (table, arena, (dropped, pages)) in enumerate(zip(tables, self.arenas, match.held, strict=True)):
            for page in table.adopt(arena, dropped, pages):
                self._prefix.wake(group, page)
        return tables

    def remember(self, tables: Sequence[Table], digests: Sequence[bytes], first: int) -> None:
        """Let full pages from the ``first`` on be found by their digests."""
        if self._clock is None:
            return
        for group, table in enumerate(tables):
            for at in range(max(first, table.dropped), len(digests)):
                self._prefix.remember(digests[at], group, table.pages[at - table.dropped])

    def missing_bytes(self, tables: Sequence[Table], tokens: int) -> int:
        """What growing to ``tokens`` tokens would take."""
        return sum(table.missing(tokens) * arena.page_bytes for table, arena in zip(tables, self.arenas, strict=True))

    def grow(self, tables: Sequence[Table], tokens: int) -> bool:
        """Give a sequence room for ``tokens`` tokens, idle pages making way; or nothing and False when there is not so much."""
        if not any(table.missing(tokens) for table in tables):
            return True
        if (
            self.used_bytes + self.missing_bytes(tables, tokens) > self.budget_bytes
            or max(table.missing(tokens) for table in tables) > self.free_pages
        ):
            return False
        needs = [table.missing(tokens) for table in tables]
        for group, table in enumerate(tables):
            if needs[group] and self.arenas[group].occupancy.needs_lane(table.pages[-1] if table.pages else None):
                self._clear_lane(group)
        self._make_way(self.taken_bytes + self.missing_bytes(tables, tokens) - self.budget_bytes, needs)
        for table, arena in zip(tables, self.arenas, strict=True):
            table.grow(arena, tokens)
        return True

    def slide(self, tables: Sequence[Table], tokens: int) -> None:
        """Release what no window reaches any more once ``tokens`` tokens are in the cache."""
        for index, (table, group) in enumerate(zip(tables, self.groups, strict=True)):
            if group.window is not None:
                gone = table.behind(group.first_kept(tokens))
                if gone:
                    self._let_go(index, gone)

    def release(self, tables: Sequence[Table]) -> None:
        """Release everything a sequence holds."""
        for index, table in enumerate(tables):
            if table.pages:
                self._let_go(index, table.pages)
            table.pages, table.dropped = [], 0

    def drop_idle(self, since: float | None = None) -> int:
        """Give back pages that are idle, or idle since that time or longer; how many bytes that were."""
        gone: list[list[int]] = [[] for _ in self.arenas]
        while (oldest := self._prefix.oldest()) is not None and (since is None or oldest[2] <= since):
            self._forget(oldest, gone)
        return self._clear(gone)

    def _let_go(self, group: int, pages: Sequence[int]) -> None:
        """The last pages go to rest first: they are the first to be thrown away, and no page outlives the one before it."""
        arena, now = self.arenas[group], self._clock() if self._clock else 0.0
        gone = [page for page in reversed(pages) if arena.occupancy.let_go(page) and not self._prefix.rest(group, page, now)]
        if gone:
            arena.clear(gone)

    def _clear_lane(self, group: int) -> None:
        """Throw away what lies idle in a lane that nobody is in, so that sequences stay equally far apart and in one run each."""
        occupancy = self.arenas[group].occupancy
        page = self._prefix.oldest_where(group, occupancy.is_loose)
        if page is not None:
            gone = occupancy.beside(page)
            for idle in gone:
                self._prefix.forget(group, idle)
            self.arenas[group].clear(gone)

    def _make_way(self, over_bytes: int, pages: Sequence[int]) -> None:
        """Throw idle pages away until ``over_bytes`` and so many pages of each arena are free."""
        gone: list[list[int]] = [[] for _ in self.arenas]

        def short() -> bool:
            freed = sum(len(some) * arena.page_bytes for some, arena in zip(gone, self.arenas, strict=True))
            rooms = zip(self.arenas, gone, pages, strict=True)
            return freed < over_bytes or any(arena.occupancy.free_pages + len(some) < need for arena, some, need in rooms)

        while short() and (oldest := self._prefix.oldest()) is not None:
            self._forget(oldest, gone)
        self._clear(gone)

    def _forget(self, idle: tuple[int, int, float], gone: Sequence[list[int]]) -> None:
        group, page, _ = idle
        self._prefix.forget(group, page)
        gone[group].append(page)

    def _clear(self, gone: Sequence[list[int]]) -> int:
        for arena, pages in zip(self.arenas, gone, strict=True):
            if pages:
                arena.clear(pages)
        return sum(len(pages) * arena.page_bytes for pages, arena in zip(gone, self.arenas, strict=True))
