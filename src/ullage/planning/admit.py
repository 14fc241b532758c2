"""Who is let in: one pure step over what the guard sees. Every request that arrives ends in exactly one way.

It is refused, rejected, finished, cancelled, or failed after part of its answer was out. What was let in and had not begun to
answer when the engine died is sent again.
"""

import math
from typing import assert_never

from ullage.domain.admission import (
    Action,
    Admit,
    Arrived,
    Cancelled,
    Cap,
    CostModel,
    DeviceReading,
    EngineDied,
    EngineGone,
    EngineReady,
    Event,
    Fail,
    Finished,
    Limits,
    Lost,
    PoolReading,
    Queue,
    Refuse,
    Reject,
    Replay,
    SetInFlight,
    Started,
    State,
    Tick,
    Ticket,
)
from ullage.domain.foresight import UNENDED, Foresight
from ullage.frozen import replace
from ullage.planning import fair_queue, in_flight
from ullage.planning.foresight import KEPT
from ullage.planning.price import again, price, ticket_bytes
from ullage.planning.room import fits

LONGEST_RETRY_S = 120
AVERAGED_S = 10.0  # over which given-back bytes are averaged

Outcome = tuple[State, tuple[Action, ...]]


def begin(cost: CostModel, limits: Limits | None = None, foresight: Foresight | None = None) -> State:
    """The state before the engine is ready."""
    return State(cost=cost, limits=limits or Limits(), allowed=cost.most_sequences, foresight=foresight)


def step(state: State, event: Event) -> Outcome:  # noqa: PLR0911 - one answer for each kind of event
    """What follows from one event."""
    match event:
        case Arrived():
            return _arrived(state, event)
        case Started():
            return _started(state, event), ()
        case Finished() | Cancelled():
            return _let_in(_ended(_learned(state, event), event.id, event.at), event.at)
        case Lost():
            return _then(_lost(state, event), event.at)
        case Tick():
            return _then(_ticked(state, event), event.at)
        case PoolReading():
            return _then(_resized(state, in_flight.after_pool_reading(state, event)), event.at)
        case DeviceReading():
            return _then(_resized(state, in_flight.after_device_reading(state, event)), event.at)
        case EngineReady():
            return _ready(state, event)
        case EngineDied() | EngineGone():
            return _died(state, gone=isinstance(event, EngineGone))
        case _:
            assert_never(event)


def retry_after_s(state: State) -> int:
    """When what waits now will have been let in, at the rate at which cache was given back lately."""
    ahead = sum(ticket.cost_bytes for ticket in (*state.waiting, *state.replays))
    if state.bytes_per_s <= 0:
        return state.limits.retry_s
    return max(1, min(LONGEST_RETRY_S, math.ceil(ahead / state.bytes_per_s)))


def _then(outcome: Outcome, at: float) -> Outcome:
    state, actions = outcome
    state, more = _let_in(state, at)
    return state, (*actions, *more)


def _arrived(state: State, event: Arrived) -> Outcome:
    if state.gone:
        return state, (Reject(id=event.id, status=503, why="The engine has stopped.", retry_after_s=LONGEST_RETRY_S),)
    priced = price(state.cost, state.limits, event)
    if isinstance(priced, Refuse):
        return state, (priced,)
    ticket, cap = priced
    actions: list[Action] = [Cap(id=event.id, max_tokens=cap)] if cap is not None else []
    waits = replace(state, waiting=(*state.waiting, ticket), served=fair_queue.counted_in(state, event.client))
    after, let_in = _let_in(waits, event.at)
    if not any(waiting.id == event.id for waiting in after.waiting):
        return after, (*actions, *let_in)
    if len(after.waiting) > state.limits.queue_requests:
        return _overfull(state, after, event, (*actions, *let_in))
    queued = Queue(id=event.id, position=fair_queue.position(after, event.client))
    return after, (*actions, *let_in, queued)


def _overfull(before: State, state: State, event: Arrived, actions: tuple[Action, ...]) -> Outcome:
    """One too many waits: the newest of the client that fills the queue has to go, or the newcomer."""
    evicted = fair_queue.to_evict(before, event.client)
    gone = event.id if evicted is None else evicted.id
    retry = retry_after_s(before)
    state = _left(state, gone)
    why = f"{before.limits.queue_requests} requests wait already; come again in {retry} s."
    rejected = Reject(id=gone, status=429, why=why, retry_after_s=retry)
    if evicted is None:
        return state, (*(action for action in actions if not isinstance(action, Cap)), rejected)
    return state, (*actions, rejected, Queue(id=event.id, position=fair_queue.position(state, event.client)))


def _started(state: State, event: Started) -> State:
    ticket = state.in_flight.get(event.id)
    if ticket is None or ticket.streamed:
        return state
    return replace(state, in_flight={**state.in_flight, event.id: replace(ticket, streamed=True)})


def _learned(state: State, event: Finished | Cancelled) -> State:
    """The state with the length of an answer that came to its end."""
    ticket = state.in_flight.get(event.id)
    if state.foresight is None or ticket is None or isinstance(event, Cancelled) or event.generated <= 0:
        return state
    length = -(-event.generated // max(1, ticket.sequences))
    was_cut = ticket.is_stated and length >= ticket.answer_tokens
    known, took_s = state.foresight, event.at - ticket.measured_at
    if known.tokens_per_s is None and not ticket.generated and took_s > 0:  # it came in one piece: nobody counted while it grew
        known = replace(known, tokens_per_s=length / took_s)
    return replace(state, foresight=known, answers=(*state.answers[1 - KEPT :], UNENDED if was_cut else length))


def _ended(state: State, name: str, at: float) -> State:
    ticket = state.in_flight.get(name)
    if ticket is None:
        return _left(state, name)
    since = AVERAGED_S if state.finished_at is None else max(0.001, at - state.finished_at)
    kept = math.exp(-since / AVERAGED_S)
    rate = state.bytes_per_s * kept + ticket.cost_bytes / since * (1 - kept)
    return replace(_given_back(state, ticket), bytes_per_s=rate, finished_at=at)


def _given_back(state: State, ticket: Ticket) -> State:
    """The state without a request in flight, and its cache free."""
    others = dict(state.in_flight)  # copied as a whole: twenty times as quick as picking hundreds
    del others[ticket.id]
    left = replace(
        state,
        in_flight=others,
        reserved_bytes=state.reserved_bytes - ticket.cost_bytes,
        sequences=state.sequences - ticket.sequences,
    )
    return fair_queue.without_absent(left, ticket.client)


def _left(state: State, name: str) -> State:
    """The state without a request that waits."""
    ticket = next((ticket for ticket in (*state.waiting, *state.replays) if ticket.id == name), None)
    if ticket is None:
        return state
    left = replace(
        state,
        waiting=tuple(other for other in state.waiting if other.id != name),
        replays=tuple(other for other in state.replays if other.id != name),
    )
    return fair_queue.without_absent(left, ticket.client)


def _lost(state: State, event: Lost) -> Outcome:
    ticket = state.in_flight.get(event.id)
    return (state, ()) if ticket is None else _dropped(state, ticket)


def _dropped(state: State, ticket: Ticket) -> Outcome:
    """What becomes of a request whose engine is not there any more."""
    free = _given_back(state, ticket)
    if ticket.streamed:
        return free, (Fail(id=ticket.id, why="The engine died while it answered; what came so far is not the whole answer."),)
    if ticket.replays_left == 0:
        why = f"The engine died {state.limits.replays + 1} times with this request, and it is not sent again."
        return free, (Reject(id=ticket.id, status=503, why=why, retry_after_s=state.limits.retry_s),)
    back = replace(ticket, replays_left=ticket.replays_left - 1, generated=0, measured_at=0.0)
    return replace(free, replays=(*free.replays, back), served=fair_queue.counted_in(free, ticket.client)), ()


def _ticked(state: State, event: Tick) -> Outcome:
    grown = _counted(state, event)
    actions: list[Action] = []
    for ticket, most_s in (*((t, state.limits.deadline_s) for t in state.waiting), *((t, state.limits.restart_s) for t in state.replays)):
        if event.at - ticket.at > most_s:
            why = f"No room came free within {most_s:g} s." if state.up else f"The engine was not back within {most_s:g} s."
            actions.append(Reject(id=ticket.id, status=503, why=why, retry_after_s=retry_after_s(state)))
            grown = _left(grown, ticket.id)
    return grown, tuple(actions)


def _counted(state: State, event: Tick) -> State:
    """The state with how far answers have come; one that goes past what was reserved for it has reserved more from then on."""
    found, reserved = dict(state.in_flight), state.reserved_bytes
    for name, generated in event.generated:
        ticket = found.get(name)
        if ticket is not None and generated > ticket.generated:
            elapsed = event.at - (ticket.measured_at or ticket.at)
            rate = (generated - ticket.generated) / elapsed if elapsed > 0 else ticket.tokens_per_s
            found[name] = _outgrown(state.cost, replace(ticket, generated=generated, tokens_per_s=rate, measured_at=event.at))
            reserved += found[name].cost_bytes - ticket.cost_bytes
    return replace(state, in_flight=found, reserved_bytes=reserved) if event.generated else state


def _outgrown(cost: CostModel, ticket: Ticket) -> Ticket:
    """Half as much again for an answer of a length nobody stated that is longer than was reserved for it."""
    made = ticket.generated // max(1, ticket.sequences)
    if ticket.is_stated or made <= ticket.answer_tokens:
        return ticket
    longer = replace(ticket, answer_tokens=made + max(1, made // 2))
    return replace(longer, cost_bytes=ticket_bytes(cost, longer))


def _resized(before: State, after: State) -> Outcome:
    return after, (() if after.allowed == before.allowed else (SetInFlight(sequences=after.allowed),))


def _ready(state: State, event: EngineReady) -> Outcome:
    if event.cost is None:
        return _let_in(in_flight.restarted(replace(state, up=True, gone=False)), event.at)
    state, ended = _died(state, gone=False)  # what another plan served is not in flight any more
    state = in_flight.restarted(replace(state, up=True, cost=event.cost))
    refused = list(ended)
    for ticket in (*state.replays, *state.waiting):
        priced = again(event.cost, state.limits, ticket)
        if isinstance(priced, Refuse):
            refused.append(priced)
            state = _left(state, ticket.id)
        else:
            state = replace(
                state,
                waiting=tuple(priced if other.id == ticket.id else other for other in state.waiting),
                replays=tuple(priced if other.id == ticket.id else other for other in state.replays),
            )
    return _then((state, tuple(refused)), event.at)


def _died(state: State, *, gone: bool) -> Outcome:
    actions: list[Action] = []
    state = replace(state, up=False, gone=gone)
    for ticket in tuple(state.in_flight.values()):
        state, more = _dropped(state, ticket)
        actions.extend(more)
    if gone:
        for ticket in (*state.replays, *state.waiting):
            actions.append(Reject(id=ticket.id, status=503, why="The engine has stopped.", retry_after_s=LONGEST_RETRY_S))
            state = _left(state, ticket.id)
    return state, tuple(actions)


def _let_in(state: State, at: float) -> Outcome:
    """Whoever is next, for as long as the next one fits; what is sent again goes before what waits."""
    actions: list[Action] = []
    again: list[str] = []
    while state.up:
        ticket = state.replays[0] if state.replays else fair_queue.next_in_line(state)
        if ticket is None or not fits(state, ticket, at):
            break
        was_in = bool(state.replays)
        state = _taken(state, ticket, at, is_new=not was_in)
        if was_in:
            again.append(ticket.id)
        else:
            ahead = state.reserved_bytes > state.cost.pool_bytes
            actions.append(Admit(id=ticket.id, cost_bytes=ticket.cost_bytes, reserved_bytes=state.reserved_bytes, ahead=ahead))
    return state, ((Replay(ids=tuple(again)), *actions) if again else tuple(actions))


def _taken(state: State, ticket: Ticket, at: float, *, is_new: bool) -> State:
    served = {**state.served, ticket.client: state.served.get(ticket.client, 0) + (ticket.cost_bytes if is_new else 0)}
    return replace(
        state,
        in_flight={**state.in_flight, ticket.id: replace(ticket, measured_at=at)},
        waiting=tuple(other for other in state.waiting if other.id != ticket.id) if is_new else state.waiting,
        replays=state.replays if is_new else tuple(other for other in state.replays if other.id != ticket.id),
        served=served,
        reserved_bytes=state.reserved_bytes + ticket.cost_bytes,
        sequences=state.sequences + ticket.sequences,
    )
