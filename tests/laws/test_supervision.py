"""Laws of keeping an engine, over histories that a simulated engine lives through."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ullage.domain.facts import Fact
from ullage.domain.plan import Command, Limit
from ullage.domain.supervision import (
    Action,
    AnsweredARequest,
    ApplyRemedy,
    Close,
    CouldNotStart,
    Drained,
    Event,
    Exited,
    GiveUp,
    Healthy,
    Kill,
    Launch,
    Leave,
    Line,
    Open,
    Phase,
    Policy,
    ProbeHealth,
    ProbeRequest,
    RecordRun,
    Start,
    Started,
    State,
    StepDown,
    Stop,
    StopAsked,
    Tick,
    Unhealthy,
)
from ullage.frozen import replace
from ullage.planning.supervise import begin, step

POLICY = Policy(most_failures=4, most_steps=3)
OOM = Fact(name="error.torch_oom", value=1)
EXITS = st.builds(
    lambda code, signal, log, killed: {"code": None if signal else code, "signal": signal, "log": log, "killed_for_memory": killed},
    st.sampled_from((0, 1, 2, 3, 127)),
    st.sampled_from((None, 6, 9, 15)),
    st.sampled_from(((), ("RuntimeError: a",), ("RuntimeError: b",), ("error: unrecognized arguments: --x",), ("std::bad_alloc",))),
    st.booleans(),
)
MOVES = st.lists(
    st.one_of(
        st.tuples(st.just("exit"), EXITS),
        st.tuples(st.sampled_from(("well", "unwell", "answer", "tick", "tick", "tick", "stop", "drained", "oom", "refusal")), st.none()),
    ),
    max_size=60,
)


def launch(number: int = 0) -> Launch:
    return Launch(command=Command(argv=("engine", str(number))))


def stepped(before: Launch, _facts: tuple[Fact, ...], _limit: Limit | None) -> StepDown:
    number = int(before.command.argv[1]) + 1
    return StepDown(launch=launch(number), changes=(("ctx", number),), text=f"ctx to {number}")


class World:
    """An engine that is started when it is told to, and ends when the history says so."""

    def __init__(self) -> None:
        self.at = 0.0
        self.is_running = False
        self.history: list[tuple[float, State, Event | None, tuple[Action, ...]]] = []
        self.state, actions = begin(launch(), POLICY, 0.0)
        self.history.append((0.0, self.state, None, actions))
        self._perform(actions)

    def tell(self, event: Event) -> None:
        self.state, actions = step(self.state, event, stepped)
        self.history.append((self.at, self.state, event, actions))
        self._perform(actions)

    def _perform(self, actions: tuple[Action, ...]) -> None:
        for action in actions:
            match action:
                case Start():
                    assert not self.is_running, "two at once"
                    self.is_running = True
                    self.tell(Started(at=self.at, pid=1))
                case Kill() if self.is_running:
                    self.is_running = False
                    self.tell(Exited(at=self.at, signal=9))
                case _:
                    pass

    def move(self, name: str, how: object) -> None:
        self.at += 0.5
        match name:
            case "exit" if self.is_running and isinstance(how, dict):
                self.is_running = False
                self.tell(Exited(at=self.at, **how))
            case "well":
                self.tell(Healthy(at=self.at))
            case "unwell":
                self.tell(Unhealthy(at=self.at, reason="503"))
            case "answer" if self.is_running:
                self.tell(AnsweredARequest(at=self.at))
            case "tick":
                self.at += 5.0
                self.tell(Tick(at=self.at))
            case "drained":
                self.tell(Drained(at=self.at))
            case "stop":
                self.tell(StopAsked(at=self.at, signal=15))
            case "oom":
                self.tell(Line(at=self.at, fact=OOM))
            case "refusal":
                self.tell(Line(at=self.at, fact=Fact(name="error.heads", value=7)))

    def actions(self, kind: type) -> list[Action]:
        return [action for _, _, _, actions in self.history for action in actions if isinstance(action, kind)]


def lived(moves: list[tuple[str, object]]) -> World:
    world = World()
    for name, how in moves:
        world.move(name, how)
    return world


@given(MOVES)
def test_nothing_is_started_after_a_stop_was_asked(moves: list[tuple[str, object]]) -> None:
    asked = False
    for _, _, event, actions in lived(moves).history:
        asked = asked or isinstance(event, StopAsked)
        assert not (asked and any(isinstance(action, Start) for action in actions))


@given(MOVES)
def test_an_end_is_the_end(moves: list[tuple[str, object]]) -> None:
    ended = False
    for _, state, _, actions in lived(moves).history:
        assert not (ended and actions)
        ended = ended or state.phase.is_end


@given(MOVES)
def test_starts_are_bounded(moves: list[tuple[str, object]]) -> None:
    """Between two times it was ready there are never more starts than failures and changed settings are allowed."""
    starts = 0
    for _, _, _, actions in lived(moves).history:
        starts += sum(isinstance(action, Start) for action in actions)
        assert starts <= POLICY.most_failures + POLICY.most_steps
        starts = 0 if any(isinstance(action, Open) for action in actions) else starts


@given(MOVES)
def test_ready_means_that_a_request_was_answered_since_the_last_start(moves: list[tuple[str, object]]) -> None:
    answered = False
    for _, state, event, actions in lived(moves).history:
        if any(isinstance(action, Start) for action in actions) or isinstance(event, Started):
            answered = False
        answered = answered or isinstance(event, AnsweredARequest)
        assert state.phase is not Phase.READY or answered


@given(MOVES)
def test_every_run_that_ended_is_recorded_once(moves: list[tuple[str, object]]) -> None:
    world = lived(moves)
    before_the_end = [event for _, _, event, _ in world.history if isinstance(event, Exited)]
    assert len(world.actions(RecordRun)) == len(before_the_end)


@given(MOVES)
def test_giving_up_says_why_and_only_once(moves: list[tuple[str, object]]) -> None:
    world = lived(moves)
    said = world.actions(GiveUp)
    assert len(said) == (world.state.phase is Phase.GIVEN_UP)
    assert all(isinstance(action, GiveUp) and action.reason for action in said)


@given(MOVES)
def test_a_step_down_is_followed_by_a_start_of_what_it_led_to(moves: list[tuple[str, object]]) -> None:
    wanted: Launch | None = None
    for _, _, _, actions in lived(moves).history:
        for action in actions:
            if isinstance(action, ApplyRemedy):
                wanted = action.step.launch
            if isinstance(action, Start) and wanted is not None:
                assert action.launch == wanted


@given(MOVES)
def test_the_same_failure_before_it_was_ready_is_not_met_a_third_time(moves: list[tuple[str, object]]) -> None:
    row, last = 0, None
    for _, _, event, actions in lived(moves).history:
        if isinstance(event, AnsweredARequest) or any(isinstance(action, ApplyRemedy) for action in actions):
            row, last = 0, None
        for action in actions:
            if isinstance(action, RecordRun):
                seen = (action.run.kind, action.run.code, action.run.signal, action.run.reason)
                row, last = (row + 1, seen) if seen == last else (1, seen)
                assert row <= 2


@given(st.integers(1, 20))
def test_waiting_grows_to_its_bound(count: int) -> None:
    policy = Policy(most_failures=100)
    state, _ = begin(launch(), policy, 0.0)
    waits, at = [], 0.0
    for index in range(count):
        state, _ = step(state, Started(at=at, pid=1))
        state, _ = step(state, Exited(at=at, code=3, log=(f"RuntimeError: {'abcdefghijklmnopqrstuvwxyz'[index % 26]}",)))
        waits.append(state.restart_at - at)
        at = state.restart_at
        state, actions = step(state, Tick(at=at))
        assert any(isinstance(action, Start) for action in actions)
    assert waits == sorted(waits)
    assert waits[-1] <= policy.longest_delay_seconds


def test_a_start_that_fails_is_not_tried_again() -> None:
    state, _ = begin(launch(), POLICY, 0.0)
    state, actions = step(state, CouldNotStart(at=1.0, reason="no such program"))
    assert state.phase is Phase.GIVEN_UP
    assert any(isinstance(action, GiveUp) for action in actions)


def test_health_alone_is_not_readiness() -> None:
    state, _ = begin(launch(), POLICY, 0.0)
    state, _ = step(state, Started(at=0.0, pid=1))
    state, actions = step(state, Tick(at=1.0))
    assert actions == (ProbeHealth(seconds=POLICY.question_seconds),)
    state, actions = step(state, Healthy(at=1.1))
    assert (state.phase, actions) == (Phase.STARTING, (ProbeRequest(),))
    state, _ = step(state, AnsweredARequest(at=1.2))
    assert state.phase is Phase.READY


def test_a_second_request_to_stop_kills() -> None:
    state, _ = begin(launch(), POLICY, 0.0)
    state, _ = step(state, Started(at=0.0, pid=1))
    state, first = step(state, StopAsked(at=1.0, signal=2))
    state, second = step(state, StopAsked(at=2.0, signal=2))
    assert Stop(signal=2) in first
    assert Kill() in second


def ready() -> State:
    state, _ = begin(launch(), POLICY, 0.0)
    state, _ = step(state, Started(at=0.0, pid=1))
    state, _ = step(state, AnsweredARequest(at=0.5))
    assert state.phase is Phase.READY
    return state


@pytest.mark.parametrize("patience", [1.0, 5.0, 12.0, 60.0])
def test_an_engine_that_says_nothing_is_told_to_end_as_soon_as_it_was_so_long(patience: float) -> None:
    state, at, answers_at, reason = replace(ready(), policy=replace(POLICY, unhealthy_seconds=patience)), 0.5, float("inf"), "timed out"
    while state.phase is Phase.READY:
        at += 0.2
        if at >= answers_at:
            state, answers_at = step(state, Unhealthy(at=at, reason=reason))[0], float("inf")
        state, actions = step(state, Tick(at=at))
        answers_at = next((at + action.seconds for action in actions if isinstance(action, ProbeHealth)), answers_at)
    assert (actions[0], actions[-1]) == (Close(), Stop(signal=15))
    assert state.reason.endswith(f"for {patience:.0f} s: {reason}")
    assert patience <= at - 0.5 <= patience + POLICY.watch_seconds + 0.8


def test_an_engine_is_not_told_to_end_because_its_keeper_was_held_up() -> None:
    state, _ = step(ready(), Tick(at=5.0))
    assert state.is_probing
    state, _ = step(state, Unhealthy(at=900.0, reason="timed out"))
    _, actions = step(state, Tick(at=900.0))
    assert not any(isinstance(action, Stop) for action in actions)


@given(st.floats(min_value=POLICY.probe_seconds + POLICY.question_seconds + 0.1, max_value=9000.0))
def test_an_unwell_engine_is_asked_again_and_given_its_time_after_its_keeper_was_held_up(held: float) -> None:
    state, _ = step(ready(), Unhealthy(at=5.0, reason="503"))
    state, actions = step(state, Tick(at=5.0 + held))
    assert actions == (ProbeHealth(seconds=POLICY.question_seconds),)
    state, actions = step(state, Tick(at=5.0 + held + POLICY.unhealthy_seconds - 0.1))
    assert actions == ()
    _, actions = step(state, Tick(at=5.0 + held + POLICY.unhealthy_seconds + 0.1))
    assert actions[-1] == Stop(signal=15)


def test_an_engine_that_is_well_in_between_is_left_alone() -> None:
    state = ready()
    for turn in range(1, 10):
        state, _ = step(state, Unhealthy(at=turn * 50.0, reason="503"))
        state, _ = step(state, Healthy(at=turn * 50.0 + 20))
        state, actions = step(state, Tick(at=turn * 50.0 + 49))
        assert not any(isinstance(action, Stop) for action in actions)


def test_requests_in_flight_end_before_the_engine_is_told_to() -> None:
    state, first = step(ready(), StopAsked(at=1.0, signal=2))
    assert not any(isinstance(action, Stop | Kill | Leave | Close) for action in first)
    state, nothing = step(state, Tick(at=10.0))
    assert nothing == ()
    state, then = step(state, Drained(at=11.0))
    assert then == (Leave(), Stop(signal=2))
    state, _ = step(state, Exited(at=12.0, signal=2))
    assert state.phase is Phase.STOPPED


def test_requests_that_do_not_end_are_left_in_time_for_the_engine_to_end_within_the_grace() -> None:
    state, _ = step(ready(), StopAsked(at=1.0, signal=15))
    state, then = step(state, Tick(at=1.0 + 0.9 * POLICY.grace_seconds))
    assert then[1:] == (Leave(), Stop(signal=15))
    _, last = step(state, Tick(at=1.0 + POLICY.grace_seconds))
    assert Kill() in last


def test_asked_again_nothing_in_flight_is_waited_for() -> None:
    state, _ = step(ready(), StopAsked(at=1.0, signal=2))
    _, second = step(state, StopAsked(at=2.0, signal=2))
    assert (second[0], second[-1]) == (Leave(), Kill())


def test_who_is_held_while_it_starts_is_sent_away_when_it_is_to_stop() -> None:
    state, _ = begin(launch(), POLICY, 0.0)
    state, _ = step(state, Started(at=0.0, pid=1))
    _, actions = step(state, StopAsked(at=1.0, signal=2))
    assert Leave() in actions


def test_an_engine_that_does_not_end_in_time_is_killed() -> None:
    state, _ = begin(launch(), POLICY, 0.0)
    state, _ = step(state, Started(at=0.0, pid=1))
    state, _ = step(state, StopAsked(at=1.0, signal=15))
    _, actions = step(state, Tick(at=1.0 + POLICY.grace_seconds))
    assert Kill() in actions


def test_what_is_stepped_down_is_no_failure_of_those_that_are_counted() -> None:
    state, _ = begin(launch(), Policy(most_failures=1), 0.0)
    for turn in range(Policy().most_steps):
        state, _ = step(state, Tick(at=100.0 * turn))
        state, _ = step(state, Started(at=100.0 * turn, pid=1))
        state, _ = step(state, Line(at=100.0 * turn + 1, fact=OOM))
        state, _ = step(state, Exited(at=100.0 * turn + 1, code=1), stepped)
        assert state.phase is Phase.BACKING_OFF
    assert state.steps == Policy().most_steps == 8


@pytest.mark.parametrize("most", [0, 1])
def test_without_a_setting_left_to_change_an_engine_out_of_memory_is_given_up(most: int) -> None:
    state, _ = begin(launch(), Policy(most_steps=most), 0.0)
    for at in range(most + 1):
        state, _ = step(state, Tick(at=100.0 * at))
        state, _ = step(state, Started(at=100.0 * at, pid=1))
        state, _ = step(state, Line(at=100.0 * at + 1, fact=OOM))
        state, _ = step(state, Exited(at=100.0 * at + 1, code=1), stepped)
    assert state.phase is Phase.GIVEN_UP
    assert "no setting is left" in state.reason
