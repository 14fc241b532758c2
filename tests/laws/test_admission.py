"""Whatever the history, the guard keeps its word."""

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from ullage.domain import admission as a
from ullage.planning.admit import begin, step

PAGE = 16
ENDS = (a.Refuse, a.Reject, a.Fail)


def model(pages: int = 64, longest: int = 512, most: int = 8) -> a.CostModel:
    """A cache of pages of 16 tokens of a byte each, with a state of 8 bytes a sequence."""
    steps = tuple((tokens, 8 + tokens) for tokens in range(PAGE, longest + 1, PAGE))
    return a.CostModel(pool_bytes=pages * PAGE, steps=steps, longest_tokens=longest, most_sequences=most)


names = st.integers(0, 25).map(str)
prompts = st.lists(st.integers(1, 600), min_size=1, max_size=3).map(tuple)
events = st.one_of(
    st.tuples(st.just("arrive"), st.sampled_from("abc"), prompts, st.none() | st.integers(0, 300), st.booleans()),
    st.tuples(st.just("start"), names),
    st.tuples(st.just("finish"), names),
    st.tuples(st.just("cancel"), names),
    st.tuples(st.just("lose"), names),
    st.tuples(st.just("tick"), st.floats(0, 30)),
    st.tuples(st.just("pool"), st.floats(0, 1), st.integers(0, 5), st.integers(0, 3)),
    st.tuples(st.just("device"), st.integers(0, 100)),
    st.tuples(st.sampled_from(("die", "ready", "replan", "gone"))),
)
histories = st.lists(events, max_size=60)
limits = st.builds(
    a.Limits,
    queue_requests=st.integers(0, 6),
    deadline_s=st.floats(1, 40),
    caps_answers=st.booleans(),
    replays=st.integers(0, 2),
    least_free_bytes=st.integers(0, 60),
    settle_s=st.floats(0, 5),
)


class History:
    """Plays drawn events against the step and writes down how each request ended."""

    def __init__(self, cost: a.CostModel, rules: a.Limits) -> None:
        self.state, self.at, self.arrived = begin(cost, rules), 0.0, 0
        self.ends: Counter[str] = Counter()
        self.sent: dict[str, int] = {}
        self.streamed: set[str] = set()

    def apply(self, event: a.Event) -> tuple[a.Action, ...]:
        self.state, actions = step(self.state, event)
        for action in actions:
            if isinstance(action, ENDS):
                self.ends[action.id] += 1
            if isinstance(action, a.Fail):
                assert action.id in self.streamed
            for name in [action.id] if isinstance(action, a.Admit) else action.ids if isinstance(action, a.Replay) else ():
                self.sent[name] = self.sent.get(name, 0) + 1
                assert name in self.state.in_flight
        return actions

    def play(self, drawn: tuple) -> None:  # type: ignore[type-arg] # noqa: C901, PLR0912 - one branch for each kind
        self.at += 0.25
        live = {*self.state.in_flight, *(t.id for t in (*self.state.waiting, *self.state.replays))}
        match drawn:
            case ("arrive", client, prompt, answer, exact):
                name, self.arrived = str(self.arrived), self.arrived + 1
                self.apply(a.Arrived(id=name, client=client, prompts=prompt, answer_tokens=answer, at=self.at, exact=exact))
            case ("start", name):
                if name in self.state.in_flight:
                    self.streamed.add(name)
                self.apply(a.Started(id=name))
            case ("finish" | "cancel" as how, name):
                known = live if how == "cancel" else self.state.in_flight
                if name in known:
                    self.ends[name] += 1
                    self.apply((a.Cancelled if how == "cancel" else a.Finished)(id=name, at=self.at))
            case ("lose", name):
                self.apply(a.Lost(id=name, at=self.at))
            case ("tick", seconds):
                self.at += seconds
                self.apply(a.Tick(at=self.at))
            case ("pool", usage, preemptions, waiting):
                self.apply(a.PoolReading(at=self.at, usage=usage, preemptions=preemptions, waiting=waiting))
            case ("device", free):
                self.apply(a.DeviceReading(at=self.at, free_bytes=free))
            case ("die",):
                self.apply(a.EngineDied(at=self.at))
            case ("ready",):
                self.apply(a.EngineReady(at=self.at))
            case ("replan",):
                self.apply(a.EngineReady(at=self.at, cost=model(pages=32, longest=256, most=4)))
            case ("gone",):
                self.apply(a.EngineGone(at=self.at))


def check(history: History) -> None:
    state = history.state
    assert state.reserved_bytes == sum(t.cost_bytes for t in state.in_flight.values()) <= state.cost.pool_bytes
    assert state.sequences == sum(t.sequences for t in state.in_flight.values())
    assert len(state.waiting) <= state.limits.queue_requests
    assert 1 <= state.allowed <= state.cost.most_sequences
    assert set(state.served) == {t.client for t in (*state.in_flight.values(), *state.waiting, *state.replays)}
    if not state.up:
        assert not state.in_flight


@settings(max_examples=200, deadline=None)
@given(limits, histories)
def test_what_is_let_in_never_passes_the_pool_and_the_queue_never_its_bound(rules: a.Limits, drawn: list[tuple]) -> None:  # type: ignore[type-arg]
    history = History(model(), rules)
    for event in [("ready",), *drawn]:
        history.play(event)
        check(history)


@settings(max_examples=200, deadline=None)
@given(limits, histories)
def test_every_request_ends_in_exactly_one_way(rules: a.Limits, drawn: list[tuple]) -> None:  # type: ignore[type-arg]
    history = History(model(), rules)
    for event in [("ready",), *drawn]:
        history.play(event)
    live = Counter([*history.state.in_flight, *(t.id for t in (*history.state.waiting, *history.state.replays))])
    assert {str(index): 1 for index in range(history.arrived)} == dict(history.ends + live)
    history.apply(a.EngineGone(at=history.at))
    assert {str(index): 1 for index in range(history.arrived)} == dict(history.ends)


@settings(max_examples=200, deadline=None)
@given(limits, histories)
def test_what_was_let_in_and_not_begun_is_sent_again_when_the_engine_is_back(rules: a.Limits, drawn: list[tuple]) -> None:  # type: ignore[type-arg]
    history = History(model(), rules)
    for event in [("ready",), *drawn]:
        history.play(event)
    unbegun = [t for t in history.state.in_flight.values() if not t.streamed and t.replays_left]
    again = Counter(history.sent)
    history.apply(a.EngineDied(at=history.at))
    assert {t.id for t in unbegun} <= {t.id for t in history.state.replays}
    history.apply(a.EngineReady(at=history.at))
    for _ in range(200):  # what is in flight ends, until nobody waits to be sent again
        if not history.state.replays:
            break
        name = next(iter(history.state.in_flight))
        history.ends[name] += 1
        history.apply(a.Finished(id=name, at=history.at))
    assert all(history.sent[t.id] == again[t.id] + 1 for t in unbegun)


@given(st.integers(1, 60), st.integers(1, 300), st.integers(1, 300))
def test_a_client_that_floods_does_not_keep_another_waiting(flood: int, large: int, small: int) -> None:
    """After all that was in flight has ended, at most one more of the flood goes before the first of the quiet client."""
    history = History(model(), a.Limits(queue_requests=8))
    history.apply(a.EngineReady(at=0))
    for index in range(flood):
        history.apply(a.Arrived(id=f"f{index}", client="flood", prompts=(large,), answer_tokens=10, at=float(index)))
    history.apply(a.Arrived(id="quiet", client="quiet", prompts=(small,), answer_tokens=10, at=100.0))
    assert "quiet" not in history.ends
    before = tuple(history.state.in_flight)
    for name in before:
        if name != "quiet":
            history.apply(a.Finished(id=name, at=101.0))
    assert "quiet" in history.sent


@given(st.lists(st.integers(1, 300), min_size=2, max_size=30))
def test_two_clients_that_always_wait_are_let_in_with_alike_amounts(sizes: list[int]) -> None:
    history = History(model(pages=40), a.Limits(queue_requests=100))
    history.apply(a.EngineReady(at=0))
    for index, size in enumerate(sizes):
        for client in "ab":
            history.apply(a.Arrived(id=f"{client}{index}", client=client, prompts=(size,), answer_tokens=1, at=float(index)))
    most = max(history.state.cost.cost_bytes(size + 1) for size in sizes)
    while {t.client for t in history.state.waiting} == {"a", "b"}:
        assert abs(history.state.served["a"] - history.state.served["b"]) <= 2 * most
        history.apply(a.Finished(id=next(iter(history.state.in_flight)), at=200.0))


@given(st.integers(1, 600), st.integers(1, 600))
def test_a_refusal_names_a_length_that_would_have_been_let_in(prompt: int, answer: int) -> None:
    history = History(model(), a.Limits())
    history.apply(a.EngineReady(at=0))
    asked = a.Arrived(id="x", client="c", prompts=(prompt,), answer_tokens=answer, at=1.0)
    first = history.apply(asked)[0]
    if prompt + answer <= 512:
        assert isinstance(first, a.Admit)
        return
    assert isinstance(first, a.Refuse)
    assert (first.need, first.have, first.status) == (prompt + answer, 512, 400)
    shorter = a.Arrived(id="y", client="c", prompts=(first.longest_tokens - 1,), answer_tokens=1, at=1.0)
    assert isinstance(history.apply(shorter)[0], a.Admit)
