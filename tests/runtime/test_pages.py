"""Pages are counted, shared, kept and given back whatever happens to them."""

from collections.abc import Sequence
from itertools import count, pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ullage.engines.runtime.pages import Group, Rows
from ullage.runtime.cache.occupancy import Occupancy, neighbours
from ullage.runtime.cache.pool import Pool
from ullage.runtime.cache.prefix import extend, shareable
from ullage.runtime.cache.swap import Swapped
from ullage.runtime.cache.table import Table

ROW = Rows(heads=1, key_dim=2, value_dim=2)
PAGE = 4
LENGTH = 40


def small_pool(budget_pages: int, windows: Sequence[int | None], lanes: int = 4) -> Pool:
    groups = [Group(window=window, layers=(index,), rows=(ROW,)) for index, window in enumerate(windows)]
    clock = count()
    return Pool(
        groups,
        budget_bytes=budget_pages * PAGE * 4 * 4,
        page_tokens=PAGE,
        lanes=lanes,
        lane_tokens=LENGTH,
        dtype=torch.float32,
        device=torch.device("cpu"),
        clock=lambda: float(next(clock)),
    )


class Sharing(RuleBasedStateMachine):
    """Sequences of few words come, grow, go aside and leave. What they wrote at a token is what they read there afterwards."""

    @initialize(budget=st.integers(12, 40), windows=st.sampled_from([(None,), (None, 6), (9,), (None, 3, 9)]))
    def begin(self, budget: int, windows: tuple[int | None, ...]) -> None:
        self.pool = small_pool(budget * len(windows), windows)
        self.live: dict[int, tuple[list[int], tuple[Table, ...]]] = {}
        self.aside: dict[int, tuple[list[int], Swapped]] = {}
        self.ids = count()

    def mark(self, tokens: list[int], at: int) -> float:
        """A number that depends on everything up to a token, as keys of deeper layers do."""
        return float(hash(tuple(tokens[: at + 1])) % 1000003)

    def write(self, tokens: list[int], tables: tuple[Table, ...], first: int) -> None:
        for arena, table in zip(self.pool.arenas, tables, strict=True):
            for at in range(max(first, table.dropped * PAGE), len(tokens)):
                arena.keys(0)[:, table.slot(at)] = self.mark(tokens, at)
                arena.values(0)[:, table.slot(at)] = -self.mark(tokens, at)
        digests: list[bytes] = []
        extend(digests, tokens, page_tokens=PAGE, pages=len(tokens) // PAGE, salt=b"")
        self.pool.remember(tables, digests, first // PAGE)
        self.pool.slide(tables, len(tokens))

    @precondition(lambda self: len(self.live) < 4)
    @rule(tokens=st.lists(st.integers(0, 1), min_size=1, max_size=30))
    def come(self, tokens: list[int]) -> None:
        digests: list[bytes] = []
        extend(digests, tokens, page_tokens=PAGE, pages=(len(tokens) - 1) // PAGE, salt=b"")
        match = self.pool.find(digests)
        tables = self.pool.adopt(match)
        if not self.pool.grow(tables, len(tokens)):
            self.pool.release(tables)
            return
        self.write(tokens, tables, match.pages * PAGE)
        self.live[next(self.ids)] = (tokens, tables)

    @precondition(lambda self: self.live)
    @rule(data=st.data(), more=st.lists(st.integers(0, 1), min_size=1, max_size=6))
    def grow(self, data: st.DataObject, more: list[int]) -> None:
        id_ = data.draw(st.sampled_from(sorted(self.live)))
        tokens, tables = self.live[id_]
        if len(tokens) + len(more) <= LENGTH and self.pool.grow(tables, len(tokens) + len(more)):
            before = len(tokens)
            tokens.extend(more)
            self.write(tokens, tables, before)

    @precondition(lambda self: self.live)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        _, tables = self.live.pop(data.draw(st.sampled_from(sorted(self.live))))
        self.pool.release(tables)

    @precondition(lambda self: self.live)
    @rule(data=st.data())
    def go_aside(self, data: st.DataObject) -> None:
        id_ = data.draw(st.sampled_from(sorted(self.live)))
        tokens, tables = self.live.pop(id_)
        self.aside[id_] = (tokens, Swapped(self.pool, tables))
        self.pool.release(tables)

    @precondition(lambda self: self.aside and len(self.live) < 4)
    @rule(data=st.data())
    def come_back(self, data: st.DataObject) -> None:
        id_ = data.draw(st.sampled_from(sorted(self.aside)))
        tokens, swapped = self.aside[id_]
        tables = self.pool.new_tables()
        if swapped.restore(self.pool, tables, len(tokens)):
            del self.aside[id_]
            self.live[id_] = (tokens, tables)

    @rule()
    def forget_half(self) -> None:
        before = self.pool.idle_bytes
        oldest = self.pool._prefix.oldest()
        if oldest is not None:
            assert self.pool.drop_idle(oldest[2]) == before - self.pool.idle_bytes > 0

    @invariant()
    def everybody_reads_what_they_wrote(self) -> None:
        for tokens, tables in getattr(self, "live", {}).values():
            for group, arena, table in zip(self.pool.groups, self.pool.arenas, tables, strict=True):
                for at in range(group.first_kept(len(tokens)), len(tokens)):
                    assert float(arena.keys(0)[0, table.slot(at), 0]) == self.mark(tokens, at)
                    assert float(arena.values(0)[0, table.slot(at), 1]) == -self.mark(tokens, at)

    @invariant()
    def bytes_are_what_tables_hold_and_never_beyond_the_budget(self) -> None:
        if not hasattr(self, "pool"):
            return
        held = [{page for _, tables in self.live.values() for page in tables[group].pages} for group in range(len(self.pool.groups))]
        expected = sum(len(pages) * arena.page_bytes for pages, arena in zip(held, self.pool.arenas, strict=True))
        assert self.pool.used_bytes == expected
        assert self.pool.taken_bytes <= self.pool.budget_bytes

    def teardown(self) -> None:
        if hasattr(self, "pool"):
            for _, tables in self.live.values():
                self.pool.release(tables)
            self.pool.drop_idle()
            assert self.pool.taken_bytes == 0


TestSharing = Sharing.TestCase
TestSharing.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


def test_the_page_idle_longest_goes_first_and_of_one_sequence_the_last_page() -> None:
    pool = small_pool(4, (None,))
    for tokens in ([1] * 8, [2] * 8):
        tables = pool.new_tables()
        assert pool.grow(tables, 8)
        digests: list[bytes] = []
        extend(digests, tokens, page_tokens=PAGE, pages=2, salt=b"")
        pool.remember(tables, digests, 0)
        pool.release(tables)
    assert pool.grow(pool.new_tables(), PAGE)  # one page has to go
    first: list[bytes] = []
    extend(first, [1] * 8, page_tokens=PAGE, pages=2, salt=b"")
    second: list[bytes] = []
    extend(second, [2] * 8, page_tokens=PAGE, pages=2, salt=b"")
    assert (pool.find(first).pages, pool.find(second).pages) == (1, 2)


def test_sequences_with_the_same_beginning_go_on_equally_far_apart() -> None:
    pool = small_pool(100, (None,), lanes=8)
    digests: list[bytes] = []
    extend(digests, [7] * 12, page_tokens=PAGE, pages=3, salt=b"")
    first = pool.new_tables()
    pool.grow(first, 12)
    pool.remember(first, digests, 0)
    others = [pool.adopt(pool.find(digests)) for _ in range(3)]
    for tables in (first, *others):
        pool.grow(tables, 20)
    starts = [tables[0].slot(12) for tables in (first, *others)]
    assert len({after - before for before, after in pairwise(starts)}) == 1
    assert all(len(list(tables[0].runs(12, 20))) == 1 for tables in (first, *others))


def test_what_lies_idle_never_puts_sequences_out_of_step() -> None:
    pool = small_pool(100, (None,), lanes=4)
    for turn in range(30):
        crowd = [pool.new_tables() for _ in range(2)]
        for at, tables in enumerate(crowd):
            assert pool.grow(tables, 16)
            digests: list[bytes] = []
            extend(digests, [turn, at] * 8, page_tokens=PAGE, pages=4, salt=b"")
            pool.remember(tables, digests, 0)
        assert {tables[0].slot(0) % LENGTH for tables in crowd} == {0}
        assert all(list(tables[0].runs(0, 16)) == [(tables[0].slot(0), 16)] for tables in crowd)
        for tables in crowd:
            pool.release(tables)
    assert pool.idle_bytes == 4 * 4 * pool.arenas[0].page_bytes  # each lane still holds what was left in it last


def test_slabs_are_paid_by_the_budget() -> None:
    for budget_pages, lanes in ((64, 4), (7, 4), (2, 4)):
        group = Group(window=None, layers=(0,), rows=(ROW,))
        pool = Pool(
            [group, Group(window=5, layers=(1,), rows=(ROW,))],
            budget_bytes=budget_pages * 2 * PAGE * 4 * 4,
            page_tokens=PAGE,
            lanes=lanes,
            lane_tokens=LENGTH,
            dtype=torch.float32,
            device=torch.device("cpu"),
            in_slabs=True,
        )
        taken = sum(store.tensor.nbytes for arena in pool.arenas for store in arena._stores)
        assert 0 < taken <= pool.budget_bytes
        tables = pool.new_tables()
        assert not pool.grow(tables, pool.longest_tokens + 1)
        assert pool.grow(tables, pool.longest_tokens)


@given(st.integers(1, 200), st.integers(1, 200), st.none() | st.integers(1, 150))
def test_only_what_the_length_temperature_left_alone_is_shared_between_lengths(prompt: int, tokens: int, sharp_from: int | None) -> None:
    most, salt = shareable(prompt, sharp_from, tokens)
    assert most <= tokens
    if sharp_from is None:
        assert (most, salt) == (tokens, b"")
    elif prompt > sharp_from:
        assert most <= prompt
        assert salt != shareable(prompt + 1, sharp_from, tokens)[1]
    else:
        assert most <= sharp_from
        assert salt == b""


def test_a_digest_is_of_everything_before_it_too() -> None:
    found: list[list[bytes]] = []
    for tokens, salt in (([1, 2, 3, 4], b""), ([1, 2, 3, 5], b""), ([9, 2, 3, 4], b""), ([1, 2, 3, 4], b"8")):
        found.append([])
        extend(found[-1], tokens, page_tokens=2, pages=2, salt=salt)
    assert found[0][0] == found[1][0]
    assert len({digests[1] for digests in found}) == 4


@given(st.integers(1, 4), st.integers(1, 6), st.lists(st.tuples(st.booleans(), st.integers(0, 23), st.integers(0, 8)), max_size=60))
def test_a_page_is_taken_once_until_it_is_freed(lanes: int, lane_pages: int, history: list[tuple[bool, int, int]]) -> None:
    occupancy, taken = Occupancy(lanes, lane_pages), set[int]()
    for takes, number, ordinal in history:
        if takes and occupancy.free_pages:
            page = occupancy.take(sorted(taken)[number % len(taken)] if taken else None, ordinal)
            assert page not in taken
            taken.add(page)
        elif taken and not takes:
            page = sorted(taken)[number % len(taken)]
            assert occupancy.let_go(page)
            occupancy.free([page])
            taken.discard(page)
        assert occupancy.taken_pages == len(taken)
    if not occupancy.free_pages:
        with pytest.raises(MemoryError, match="taken"):
            occupancy.take()


def test_neighbours_are_runs_of_numbers() -> None:
    assert neighbours([3, 4, 5, 9, 11, 12]) == [(3, 3), (9, 1), (11, 2)]
