"""Keep an engine running: what to do about each thing that happens, as a pure function of a state.

Ready means that it has answered a request. What was stopped is never started again; what cannot succeed is not tried twice; after running
out of memory one setting is stepped down before the next start.
"""

from collections.abc import Callable
from typing import assert_never

from ullage.catalog.traceback_frames import AFTER_FACT
from ullage.domain.facts import Fact
from ullage.domain.plan import Limit
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
    Kind,
    Launch,
    Leave,
    Line,
    Noted,
    Open,
    Phase,
    Policy,
    ProbeHealth,
    ProbeRequest,
    RecordRun,
    Run,
    Say,
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
from ullage.planning.failure import Failure, judge
from ullage.units import counted

Answer = tuple[State, tuple[Action, ...]]
# The next single change for a launch that ran out of what the limit says; None when there is none left, or nobody could plan it.
NextStep = Callable[[Launch, tuple[Fact, ...], Limit | None], StepDown | None]

_TERM = 15
_MOST_NOTES = 256
_DRAINING = 0.8  # of the grace is for requests, the rest for the engine to end
_LOADED = frozenset({"requests_running", "kv_cache_usage", "preemptions", "retracted"})  # what an engine says under load


def no_step(_launch: Launch, _facts: tuple[Fact, ...], _limit: Limit | None) -> StepDown | None:
    """For a command that nobody could plan."""
    return None


def begin(launch: Launch, policy: Policy, at: float) -> Answer:
    """The first state, and the first start."""
    return State(phase=Phase.STARTING, launch=launch, policy=policy, since=at, started_at=at), (Start(launch=launch),)


def step(state: State, event: Event, next_step: NextStep = no_step) -> Answer:  # noqa: C901, PLR0911 - one answer for each event
    """What an event leads to."""
    if state.phase.is_end:
        return state, ()
    match event:
        case Started():
            return replace(state, is_running=True, started_at=event.at, probe_at=event.at), ()
        case CouldNotStart():
            return _give_up(replace(state, is_running=False), event.at, event.reason)
        case Line():
            return replace(state, notes=(*state.notes, Noted(at=event.at, fact=event.fact))[-_MOST_NOTES:]), ()
        case Healthy():
            return _healthy(state, event)
        case Unhealthy():
            return _unhealthy(state, event)
        case AnsweredARequest():
            return _answered(state, event)
        case Exited():
            return _exited(state, event, next_step)
        case Tick():
            return _tick(state, event)
        case StopAsked():
            return _stop_asked(state, event)
        case Drained():
            return _leave(state) if state.drain_until is not None else (state, ())
        case _ as never:
            assert_never(never)


def _healthy(state: State, event: Healthy) -> Answer:
    if state.phase is Phase.STARTING and state.is_running:
        return replace(state, unwell_since=None), (ProbeRequest(),)
    return _waiting(replace(state, unwell_since=None), event.at, state.policy.watch_seconds), ()


def _unhealthy(state: State, event: Unhealthy) -> Answer:
    since = state.unwell_since
    if state.phase is Phase.READY and since is None:
        since = min(event.at, max(state.probe_at, event.at - _question_seconds(state)))  # when it was asked, unless we were held up since
    return _waiting(replace(state, unwell_since=since, unwell_reason=event.reason), event.at, state.policy.probe_seconds), ()


def _question_seconds(state: State) -> float:
    return min(state.policy.question_seconds, state.policy.unhealthy_seconds)


def _answered(state: State, event: AnsweredARequest) -> Answer:
    state = _waiting(state, event.at, state.policy.watch_seconds)
    if state.phase is not Phase.STARTING or not state.is_running:
        return state, ()
    said = f"ready: it answered a request {event.at - state.started_at:.1f} s after its start"
    return replace(state, phase=Phase.READY, since=event.at, ready_at=event.at, last_failure=""), (
        Say(text=said),
        Open(launch=state.launch),
    )


def _waiting(state: State, at: float, seconds: float) -> State:
    return replace(state, is_probing=False, probe_at=at + seconds)


def _tick(state: State, event: Tick) -> Answer:  # noqa: PLR0911 - one answer for each that time can bring
    match state.phase:
        case Phase.BACKING_OFF if event.at >= state.restart_at:
            begun = replace(state, phase=Phase.STARTING, since=event.at, started_at=event.at)
            return begun, (Start(launch=state.launch),)
        case Phase.STOPPING if state.drain_until is not None and event.at >= state.drain_until:
            left, actions = _leave(state)
            return left, (Say(text="requests are still in flight; it is stopped all the same"), *actions)
        case Phase.STOPPING if state.kill_at is not None and event.at >= state.kill_at:
            return replace(state, kill_at=None), (Say(text="it did not end in time: killed with all it started"), Kill())
        case Phase.STARTING if state.is_running and event.at - state.started_at >= state.policy.start_seconds:
            why = f"not ready {state.policy.start_seconds:.0f} s after its start"
            return _stop_unwell(state, event.at, f"{why}: {state.unwell_reason}" if state.unwell_reason else why)
        case Phase.READY if _was_held_up(state, event.at):
            return replace(state, is_probing=True, unwell_since=event.at), (ProbeHealth(seconds=_question_seconds(state)),)
        case Phase.READY if state.unwell_since is not None and event.at - state.unwell_since >= state.policy.unhealthy_seconds:
            why = f"it has not answered well for {event.at - state.unwell_since:.0f} s: {state.unwell_reason}"
            return _stop_unwell(state, event.at, why)
        case Phase.STARTING | Phase.READY if state.is_running and not state.is_probing and event.at >= state.probe_at:
            return replace(state, is_probing=True), (ProbeHealth(seconds=_question_seconds(state)),)
    return state, ()


def _was_held_up(state: State, at: float) -> bool:
    """Whether an unwell engine was not asked when it should have been: that time is no silence of its own."""
    return state.unwell_since is not None and not state.is_probing and at > state.probe_at + _question_seconds(state)


def _stop_unwell(state: State, at: float, reason: str) -> Answer:
    closed = (Close(),) if state.phase is Phase.READY else ()
    stopping = replace(state, phase=Phase.STOPPING, since=at, kill_at=at + state.policy.grace_seconds, reason=reason)
    return stopping, (*closed, Say(text=f"{reason}; it is stopped"), Stop(signal=_TERM))


def _stop_asked(state: State, event: StopAsked) -> Answer:
    """New requests are refused; those in flight have most of the grace to end, unless it is asked again."""
    if not state.is_running and state.phase is Phase.BACKING_OFF:
        stopped = replace(state, phase=Phase.STOPPED, since=event.at, stop_asked=True)
        return stopped, (Leave(), Say(text="stopped; it is not started again"))
    if state.stop_asked:  # asked twice: at once
        return replace(state, drain_until=None, kill_at=None), (Leave(), Say(text="killed with all it started"), Kill())
    grace, already = state.policy.grace_seconds, state.phase is Phase.STOPPING
    kill_at = state.kill_at if already else event.at + grace
    stopping = replace(state, phase=Phase.STOPPING, since=event.at, stop_asked=True, stop_signal=event.signal, kill_at=kill_at)
    if state.phase is Phase.READY:
        until = event.at + _DRAINING * grace
        said = (
            f"stopping: what is in flight has {until - event.at:.0f} s to end; asked again it is killed, and so it is after {grace:.0f} s"
        )
        return replace(stopping, drain_until=until), (Say(text=said),)
    said = f"stopping; asked again it is killed, and so it is after {grace:.0f} s"
    return stopping, (Leave(), Say(text=said), *(() if already else (Stop(signal=event.signal),)))


def _leave(state: State) -> Answer:
    """Nothing is waited for any more."""
    return replace(state, drain_until=None), (Leave(), Stop(signal=state.stop_signal))


def _exited(state: State, event: Exited, next_step: NextStep) -> Answer:
    was_ready = state.ready_at is not None
    recent = tuple(note.fact for note in state.notes if event.at - note.at <= state.policy.recent_seconds)
    if state.stop_asked:
        failure = Failure(kind=Kind.STOPPED, reason="as asked")
    elif state.reason:
        failure = Failure(kind=Kind.UNWELL, reason=state.reason, mark=Kind.UNWELL)
    else:
        failure = judge(event, recent, was_ready=was_ready)
    record = RecordRun(run=_run(state, event, failure))
    closed = (Close(),) if state.phase is Phase.READY else (Leave(),) if state.drain_until is not None else ()
    ended = replace(
        state,
        is_running=False,
        is_probing=False,
        ready_at=None,
        drain_until=None,
        kill_at=None,
        unwell_since=None,
        unwell_reason="",
        reason="",
        notes=(),
    )
    after, actions = _after(ended, event.at, failure, _telling(state, recent, failure), next_step, was_ready=was_ready)
    return after, (*closed, record, *actions)


def _telling(state: State, recent: tuple[Fact, ...], failure: Failure) -> tuple[Fact, ...]:
    """What tells why it ended: how far it was, by all that it said, and its last errors; that it was killed where it said none."""
    said = tuple(note.fact for note in state.notes)
    way = tuple(fact for fact in said if fact.name in AFTER_FACT and fact.name not in _LOADED)
    loaded = tuple(fact for fact in said if fact.name in _LOADED)
    answered = (Fact(name="ready", value="it had answered a request"),) if state.ready_at is not None else ()
    errors = tuple(fact for fact in recent if fact.is_error)
    killed = (Fact(name="error.host_killed", value=failure.reason),) if failure.limit is Limit.HOST and not errors else ()
    return (*way, *answered, *loaded, *errors, *killed)


def _run(state: State, event: Exited, failure: Failure) -> Run:
    return Run(
        launch=state.launch,
        started_at=state.started_at,
        ended_at=event.at,
        ready_seconds=None if state.ready_at is None else state.ready_at - state.started_at,
        kind=failure.kind,
        reason=failure.reason,
        code=event.code,
        signal=event.signal,
        facts=tuple(note.fact for note in state.notes),
        log=event.log,
    )


def _after(state: State, at: float, failure: Failure, facts: tuple[Fact, ...], next_step: NextStep, *, was_ready: bool) -> Answer:
    match failure.kind:
        case Kind.STOPPED:
            end = replace(state, phase=Phase.STOPPED, since=at)
            return end, (Say(text=f"stopped, {failure.reason}; it is not started again"),)
        case Kind.HOPELESS:
            return _give_up(state, at, f"the same command cannot succeed: {failure.reason}")
        case Kind.OUT_OF_MEMORY:
            found = next_step(state.launch, facts, failure.limit) if state.steps < state.policy.most_steps else None
            if found is not None:
                return _step_down(state, at, failure, found)
            if not was_ready:
                tried = f" after {counted(state.steps, 'step')} down" if state.steps else ""
                return _give_up(state, at, f"it runs out of memory, and no setting is left to change{tried}: {failure.reason}")
    return _again(state, at, failure, was_ready=was_ready)


def _step_down(state: State, at: float, failure: Failure, found: StepDown) -> Answer:
    """One change, then a start without much waiting: it is not the same attempt."""
    delay = state.policy.first_delay_seconds
    stepped = replace(
        state,
        phase=Phase.BACKING_OFF,
        since=at,
        launch=found.launch,
        steps=state.steps + 1,
        last_failure="",
        restart_at=at + delay,
    )
    said = f"out of memory: {failure.reason}. One setting is stepped down: {found.text}. It starts again in {delay:.0f} s"
    return stepped, (Say(text=said), ApplyRemedy(step=found))


def _again(state: State, at: float, failure: Failure, *, was_ready: bool) -> Answer:
    policy = state.policy
    failures = (*(time for time in state.failures if at - time < policy.window_seconds), at)
    if not was_ready and failure.mark and failure.mark == state.last_failure:
        return _give_up(state, at, f"it failed twice in the same way before it was ready: {failure.reason}")
    if len(failures) >= policy.most_failures:
        within = f"{len(failures)} failures within {policy.window_seconds:.0f} s"
        return _give_up(state, at, f"{within}, the last: {failure.reason}")
    delay = min(policy.longest_delay_seconds, policy.first_delay_seconds * 2 ** (len(failures) - 1))
    waiting = replace(
        state,
        phase=Phase.BACKING_OFF,
        since=at,
        failures=failures,
        last_failure="" if was_ready else failure.mark,
        restart_at=at + delay,
    )
    return waiting, (Say(text=f"{failure.kind}: {failure.reason}. It starts again in {delay:.0f} s"),)


def _give_up(state: State, at: float, reason: str) -> Answer:
    return replace(state, phase=Phase.GIVEN_UP, since=at, reason=reason), (Say(text=f"given up: {reason}"), GiveUp(reason=reason))
