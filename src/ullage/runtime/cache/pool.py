"""The pool: a budget of bytes for each device, the arenas that share it, and the tables of sequences in them."""

from collections.abc import Callable, Sequence

import torch

from ullage.engines.runtime.pages import Group, form_of
from ullage.engines.runtime.placement import budgets_of
from ullage.engines.runtime.settings import NATIVE, cache_forms
from ullage.runtime.cache.arena import Arena
from ullage.runtime.cache.prefix import Match, Prefix
from ullage.runtime.cache.table import Table


class Pool:
    """The arenas of all groups, those of a device under one budget. Nothing is taken until a sequence grows, then of all of them."""

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
        devices: Sequence[torch.device] = (),
        budgets: Sequence[int] = (),
    ) -> None:
        """``clock`` tells since when a page is idle; without one nothing is kept for another sequence. ``kv_dtype``: as the setting.

        ``in_slabs``: places have memory before they are taken, so there are no more of them than the budget pays; None: off a CPU.
        ``devices`` and ``budgets``: what each group's device is and may hold; else all are ``device``, and the budget is cut as pages are.
        """
        self.groups = tuple(groups)
        self.page_tokens = page_tokens
        lane_pages = -(-lane_tokens // page_tokens)
        keys, values = cache_forms(kv_dtype)
        self._count = len(devices) or 1 + max(group.device for group in groups)
        self.devices = tuple(devices) or (device,) * self._count
        here = [[group for group in groups if group.device == at] for at in range(self._count)]
        forms = [form_of(some, page_tokens=page_tokens, keys=keys, values=values, element=dtype.itemsize) for some in here]
        self.budgets = tuple(budgets) or budgets_of(budget_bytes, forms)
        if device.type != "cpu" if in_slabs is None else in_slabs:
            most = max(1, min(budget // form.bundle_bytes for budget, form in zip(self.budgets, forms, strict=True) if form.groups))
            lanes = min(lanes, most)
            lane_pages = min(lane_pages, most // lanes)
        self.arenas = tuple(
            Arena(
                group.rows,
                page_tokens=page_tokens,
                lanes=lanes,
                lane_pages=lane_pages,
                dtype=dtype,
                device=self.devices[group.device],
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
        return sum(self.taken_on())

    @property
    def idle_bytes(self) -> int:
        """Bytes of pages that nobody holds and that are kept in case their tokens come again."""
        return sum(self._bytes(self._prefix.idle_pages))

    @property
    def budget_bytes(self) -> int:
        """Of all devices."""
        return sum(self.budgets)

    def taken_on(self) -> list[int]:
        """Bytes of all pages with content, device by device."""
        return self._bytes([arena.occupancy.taken_pages for arena in self.arenas])

    def used_on(self) -> list[int]:
        """Bytes of pages that sequences hold, device by device."""
        idle = self._prefix.idle_pages
        return self._bytes([arena.occupancy.taken_pages - pages for arena, pages in zip(self.arenas, idle, strict=True)])

    def _bytes(self, pages: Sequence[int]) -> list[int]:
        """Of so many pages of every group, device by device."""
        found = [0] * self._count
        for group, arena, count in zip(self.groups, self.arenas, pages, strict=True):
            found[group.device] += count * arena.page_bytes
        return found

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

    def held_on(self, match: Match) -> list[int]:
        """Bytes of a match that other sequences hold anyway, device by device."""
        parts = zip(match.held, self.arenas, strict=True)
        return self._bytes([sum(map(arena.occupancy.is_held, pages)) for (_, pages), arena in parts])

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

    def grow(self, tables: Sequence[Table], tokens: int) -> bool:
        """Give a sequence room for ``tokens`` tokens, idle pages making way; or nothing and False when there is not so much."""
        if not any(table.missing(tokens) for table in tables):
            return True
        needs = [table.missing(tokens) for table in tables]
        more = self._bytes(needs)
        full = any(used + need > budget for used, need, budget in zip(self.used_on(), more, self.budgets, strict=True))
        if full or max(needs) > self.free_pages:
            return False
        for group, table in enumerate(tables):
            if needs[group] and self.arenas[group].occupancy.needs_lane(table.pages[-1] if table.pages else None):
                self._clear_lane(group)
        self._make_way([taken + need - budget for taken, need, budget in zip(self.taken_on(), more, self.budgets, strict=True)], needs)
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

    def _make_way(self, over_bytes: Sequence[int], pages: Sequence[int]) -> None:
        """Throw idle pages away until ``over_bytes`` of each device and so many pages of each arena are free."""
        gone: list[list[int]] = [[] for _ in self.arenas]

        def short() -> bool:
            freed = zip(self._bytes([len(some) for some in gone]), over_bytes, strict=True)
            rooms = zip(self.arenas, gone, pages, strict=True)
            return any(there < over for there, over in freed) or any(
                arena.occupancy.free_pages + len(some) < need for arena, some, need in rooms
            )

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
        return sum(self._bytes([len(pages) for pages in gone]))
