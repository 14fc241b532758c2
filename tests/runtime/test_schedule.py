"""Whatever arrives, the pure schedule keeps to its memory and its rows, and everybody ends."""

from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ullage.frozen import replace
from ullage.runtime.schedule.form import Form, Kept
from ullage.runtime.schedule.plan import Candidate, Piece, Preempt, Row, State, admits, plan, refusal
from ullage.runtime.schedule.queue import Queue

groups = st.lists(st.builds(Kept, st.none() | st.integers(1, 40), st.integers(1, 9)), min_size=1, max_size=3).map(tuple)
forms = st.builds(Form, st.sampled_from((1, 2, 4, 16)), groups)


@dataclass(frozen=True)
class Ask:
    prompt: int
    answer: int
    client: str = ""
    at: int = 0  # the step it comes at

    @property
    def limit(self) -> int:
        return self.prompt + self.answer - 1


asks = st.builds(Ask, st.integers(1, 60), st.integers(1, 30), st.sampled_from("abc"), st.integers(0, 40))


@dataclass
class Play:
    """Counts in place of a cache: what an engine does with the decisions."""

    form: Form
    budget: int
    chunk: int
    most: int
    reserve: int
    asks: list[Ask]
    queue: Queue = field(default_factory=Queue)
    rows: list[Row] = field(default_factory=list)  # senior first
    tickets: dict[int, int] = field(default_factory=dict)
    tokens: dict[int, int] = field(default_factory=dict)
    ended: list[int] = field(default_factory=list)
    first_rows: dict[int, int] = field(default_factory=dict)
    turn: int = 0
    places: int = 10_000
    preempted: Counter[int] = field(default_factory=Counter)

    def state(self) -> State:
        return State(
            form=self.form,
            budget_bytes=self.budget,
            used_bytes=sum(self.form.held_bytes(row.cached, row.reach) for row in self.rows),
            free_pages=self.places - sum(self.form.pages(row.reach) for row in self.rows),
            chunk_tokens=self.chunk,
            reserve_tokens=self.reserve,
            turn=self.turn,
            rows=tuple(self.rows),
        )

    def arrive(self) -> None:
        for id_, ask in enumerate(self.asks):
            if ask.at == self.turn:
                self.tokens[id_] = ask.prompt
                self.queue = self.queue.put(ask.client, id_)

    def admit(self) -> None:
        while len(self.rows) < self.most and (head := self.queue.head()) is not None:
            ask = self.asks[head]
            if not admits(self.state(), Candidate(self.tokens[head], ask.limit)):
                return
            self.queue = self.queue.pop()
            self.tickets.setdefault(head, len(self.tickets))
            self.rows.append(Row(head, self.tokens[head], 0, 0, ask.limit))
            self.rows.sort(key=lambda row: self.tickets[row.id])

    def step(self) -> tuple[Piece, ...]:
        self.arrive()
        self.admit()
        while isinstance(found := plan(self.state()), Preempt):
            victim = next(row for row in self.rows if row.id == found.id)
            assert victim is self.rows[-1]
            assert len(self.rows) > 1
            self.rows.remove(victim)
            self.preempted[victim.id] += 1
            self.queue = self.queue.put_back(victim.id)
        for piece in found:
            self.apply(piece)
        self.turn += 1
        return found

    def apply(self, piece: Piece) -> None:
        at = next(index for index, row in enumerate(self.rows) if row.id == piece.id)
        row, size = self.rows[at], self.form.page_tokens
        assert row.cached == piece.start < piece.end <= row.tokens
        grown = replace(row, reach=max(row.reach, self.form.pages(piece.end) * size))
        self.rows[at] = grown
        assert self.state().used_bytes <= self.budget
        assert self.state().free_pages >= 0
        self.rows[at] = replace(grown, cached=piece.end)
        if piece.end < row.tokens:
            return
        self.tokens[row.id] += 1
        self.first_rows.setdefault(row.id, self.turn)
        if self.tokens[row.id] == self.asks[row.id].prompt + self.asks[row.id].answer:
            del self.rows[at]
            self.ended.append(row.id)
        else:
            self.rows[at] = replace(self.rows[at], tokens=self.tokens[row.id])


def plays(**fixed: st.SearchStrategy[int]) -> st.SearchStrategy[Play]:
    def build(form: Form, wanted: list[Ask], slack: int, chunk: int, most: int, reserve: int) -> Play:
        places = max(form.pages(ask.limit) for ask in wanted) * (slack if slack % 2 else 1000) // 4
        budget = max(form.peak_bytes(ask.limit, form.page_tokens) for ask in wanted) * slack // 4
        return Play(form, budget, chunk, most, reserve, wanted, places=places)

    return st.builds(
        build,
        forms,
        st.lists(asks, min_size=1, max_size=12),
        st.integers(4, 20),
        fixed.get("chunk", st.integers(1, 40)),
        st.integers(1, 8),
        st.sampled_from((0, 8, 64)),
    )


@given(plays())
def test_every_history_ends_within_its_rows_and_its_memory(play: Play) -> None:
    work = sum(ask.prompt + ask.answer for ask in play.asks)
    for _ in range(60 + 40 * work):
        pieces = play.step()
        assert sum(piece.end - piece.start for piece in pieces) <= play.chunk
        assert pieces or not play.rows  # while somebody runs, somebody advances
        if len(play.ended) == len(play.asks):
            break
    assert sorted(play.ended) == list(range(len(play.asks)))
    assert play.state().used_bytes == 0
    assert len(play.queue) == 0


@given(plays(chunk=st.integers(2, 40)))
def test_the_most_senior_sequence_is_never_put_aside_and_never_waits(play: Play) -> None:
    for _ in range(200):
        senior = play.rows[0].id if play.rows else None
        pieces = play.step()
        if senior is None or play.chunk < len(play.rows) + 1:
            continue
        assert senior in [piece.id for piece in pieces]
        assert senior not in play.queue.returned


@given(plays())
def test_each_clients_requests_are_let_in_in_their_order(play: Play) -> None:
    for _ in range(400):
        play.step()
    for client in "abc":
        let_in = [id_ for id_ in play.tickets if play.asks[id_].client == client]
        assert let_in == sorted(let_in, key=lambda id_: (play.asks[id_].at, id_))


def test_clients_take_turns_whatever_one_of_them_sends() -> None:
    many = [Ask(4, 4, "busy")] * 20 + [Ask(4, 4, "quiet")] * 2
    play = Play(Form(4, (Kept(None, 1),)), budget=4, chunk=8, most=2, reserve=0, asks=many)
    while len(play.ended) < len(many):
        play.step()
    assert max(play.ended.index(20), play.ended.index(21)) <= 4


def test_a_long_prompt_is_read_while_short_ones_keep_coming_and_they_do_not_wait_for_it() -> None:
    crowd = [Ask(4000, 1, "long")] + [Ask(8, 2, "short", at) for at in range(60)]
    play = Play(Form(16, (Kept(None, 1),)), budget=1000, chunk=128, most=8, reserve=0, asks=crowd)
    while len(play.ended) < len(crowd):
        play.step()
    assert play.first_rows[0] <= 2 * 4000 / 128  # half of the rows at least are its own
    assert max(play.first_rows[id_] - play.asks[id_].at for id_ in range(1, 61)) <= 3


def test_of_prompts_that_came_later_the_shortest_is_read_first() -> None:
    rows = tuple(Row(id_, tokens, 0, 0, tokens) for id_, tokens in enumerate((500, 300, 20, 70)))
    form = Form(16, (Kept(None, 1),))
    state = State(form=form, budget_bytes=1000, used_bytes=0, free_pages=1000, chunk_tokens=100, reserve_tokens=0, turn=0, rows=rows)
    assert plan(state) == (Piece(0, 0, 50), Piece(2, 0, 20), Piece(3, 0, 30))


def test_places_that_run_out_before_bytes_cut_a_prompt_and_put_the_youngest_aside() -> None:
    form, rows = Form(16, (Kept(None, 1),)), (Row(0, 100, 0, 0, 100), Row(1, 50, 0, 0, 50))
    state = State(form=form, budget_bytes=1000, used_bytes=0, free_pages=2, chunk_tokens=100, reserve_tokens=0, turn=0, rows=rows)
    assert plan(state) == (Piece(0, 0, 32),)
    assert plan(replace(state, free_pages=0)) == Preempt(1)


@pytest.mark.parametrize("chunk", [1, 2, 3, 8])
def test_more_sequences_than_rows_get_their_tokens_in_turns_beside_a_prompt(chunk: int) -> None:
    form = Form(16, (Kept(None, 1),))
    rows = (*(Row(id_, 9, 8, 16, 99) for id_ in range(12)), Row(12, 5000, 0, 5008, 5008))
    advanced: list[set[int]] = []
    for turn in range(96):
        state = State(
            form=form, budget_bytes=1000, used_bytes=0, free_pages=1000, chunk_tokens=chunk, reserve_tokens=0, turn=turn, rows=rows
        )
        found = plan(state)
        assert isinstance(found, tuple)
        advanced.append({piece.id for piece in found})
    for id_ in range(13):
        waits = [turn for turn, ids in enumerate(advanced) if id_ in ids]
        assert max(after - before for before, after in pairwise([0, *waits, 96])) <= 2 * 12


def test_a_burst_of_ten_times_the_budget_waits_and_preempts_nobody_when_answers_are_reserved() -> None:
    burst = [Ask(64, 16, str(index % 3)) for index in range(40)]
    play = Play(Form(16, (Kept(None, 1),)), budget=20, chunk=256, most=40, reserve=64, asks=burst)
    while len(play.ended) < len(burst):
        play.step()
    assert not play.preempted


@given(forms, st.integers(1, 400), st.integers(1, 100), st.integers(0, 3000), st.integers(1, 500))
def test_a_refusal_says_the_longest_that_fits_and_that_one_runs(form: Form, prompt: int, answer: int, budget: int, max_len: int) -> None:
    tokens = prompt + answer
    no = refusal(form, budget_bytes=budget, max_len=max_len, tokens=tokens, limit=tokens - 1)
    if no is None:
        play = Play(form, budget, 16, 1, 0, [Ask(prompt, answer)])
        for _ in range(4 * tokens):
            play.step()
        assert play.ended == [0]
        return
    assert no.need > no.have
    assert f"{no.longest_tokens:,}" in str(no)
    assert no.longest_tokens < tokens
    if no.longest_tokens > 1:
        assert refusal(form, budget_bytes=budget, max_len=max_len, tokens=no.longest_tokens, limit=no.longest_tokens - 1) is None


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 3)), max_size=30))
def test_a_queue_loses_nobody_and_serves_every_client_within_a_round(arrivals: list[tuple[str, int]]) -> None:
    queue, served, owner = Queue(), [], {}
    for id_, (client, pops) in enumerate(arrivals):
        queue, owner[id_] = queue.put(client, id_), client
        for _ in range(min(pops, len(queue))):
            served.append(queue.head())
            queue = queue.pop()
    clients = {client for client, _ in queue.lines}
    round_ = []
    for _ in clients:
        round_.append(owner[queue.head() or 0])
        served.append(queue.head())
        queue = queue.pop()
    assert set(round_) == clients
    while (head := queue.head()) is not None:
        served.append(head)
        queue = queue.pop()
    assert sorted(served) == list(range(len(arrivals)))


@given(st.lists(st.integers(0, 30), unique=True, min_size=1), st.integers(0, 30))
def test_who_leaves_the_queue_is_not_served_and_the_others_keep_their_order(ids: list[int], gone: int) -> None:
    queue = Queue()
    for id_ in ids:
        queue = queue.put("a", id_) if id_ % 3 else queue.put_back(id_)
    left, served = queue.without(gone), []
    expected = []
    for source, order in ((left, served), (queue, expected)):
        while (head := source.head()) is not None:
            order.append(head)
            source = source.pop()  # noqa: PLW2901 - it is walked to its end
    assert served == [id_ for id_ in expected if id_ != gone]
