"""The state of the guard and the requests it is about: every event goes through the pure step, every action wakes whom it concerns."""

import asyncio
import time
from collections.abc import Iterable
from http import HTTPStatus

from ullage.domain.admission import (
    Action,
    Admit,
    Arrived,
    Cancelled,
    Cap,
    EngineDied,
    Event,
    Fail,
    Finished,
    Lost,
    Queue,
    Refuse,
    Reject,
    Replay,
    SetInFlight,
    Started,
    State,
    Tick,
)
from ullage.domain.guard import GuardRecord, Step
from ullage.world.proxy.counting import Count
from ullage.world.proxy.records import Records

Decision = Admit | Replay | Refuse | Reject | Fail
_CLIENT_CLOSED = 499  # as proxies write down a client that went away


class Slot:
    """One request while it is here. ``turn`` counts how often it was sent; ``decision`` is what the step says of it next."""

    def __init__(self, name: str, client: str, path: str, count: Count) -> None:
        self.id, self.client, self.path, self.count = name, client, path, count
        self.at = time.monotonic()
        self.decision: asyncio.Future[Decision] = asyncio.get_running_loop().create_future()
        self.turn = 0
        self.asked_tokens: int | None = None  # the length of its answer as the request states it
        self.max_tokens: int | None = None  # the same as the guard shortens it
        self.is_streamed = False
        self.generated = 0
        self.cost_bytes = self.reserved_bytes = 0
        self.is_ahead = False
        self.let_in_at: float | None = None
        self.ended, self.status = "cancelled", _CLIENT_CLOSED

    async def decided(self) -> Decision:
        """What the step says next; of two things said before anybody looked the later one."""
        while True:
            future = self.decision
            decision = await future
            if future is self.decision:
                self.decision = asyncio.get_running_loop().create_future()
                return decision


class Gate:
    """Lives in one event loop; nothing here waits."""

    def __init__(self, state: State, step: Step, records: Records) -> None:
        self.state, self.records = state, records
        self._step = step
        self._slots: dict[str, Slot] = {}
        self._arrived = 0

    def enter(self, client: str, path: str, count: Count, answer_tokens: int | None) -> Slot:
        """A request that has arrived; its decision comes at once or later."""
        self._arrived += 1
        slot = Slot(f"r{self._arrived}", client, path, count)
        slot.asked_tokens = answer_tokens
        self._slots[slot.id] = slot
        self.dispatch(
            Arrived(
                id=slot.id,
                client=client,
                prompts=count.prompts,
                answer_tokens=answer_tokens,
                at=slot.at,
                exact=count.is_exact,
                is_least=count.is_least,
            )
        )
        return slot

    def leave(self, slot: Slot) -> None:
        """The request has ended as its slot says; its place is free and its record written."""
        now = time.monotonic()
        most = slot.asked_tokens if slot.max_tokens is None else slot.max_tokens
        del self._slots[slot.id]
        if slot.ended == "finished":
            self.dispatch(Finished(id=slot.id, at=now, generated=slot.generated))
        elif slot.ended in {"cancelled", "late"}:
            self.dispatch(Cancelled(id=slot.id, at=now))
        self.records.add(
            GuardRecord(
                id=slot.id,
                client=slot.client,
                path=slot.path,
                ended=slot.ended,
                status=slot.status,
                queue_s=(slot.let_in_at or now) - slot.at,
                whole_s=now - slot.at,
                prompt_tokens=sum(slot.count.prompts),
                sequences=len(slot.count.prompts),
                is_exact=slot.count.is_exact,
                generated=slot.generated,
                cost_bytes=slot.cost_bytes,
                reserved_bytes=slot.reserved_bytes,
                replays=max(0, slot.turn - 1),
                was_cut=most is not None and slot.generated >= most * len(slot.count.prompts),
                ahead=slot.is_ahead,
            )
        )

    def started(self, slot: Slot) -> None:
        """A byte of the answer goes out: it cannot be sent again from here on."""
        slot.is_streamed = True
        self.dispatch(Started(id=slot.id))

    def is_current(self, slot: Slot, turn: int) -> bool:
        """Whether the step still takes the sending ``turn`` to be under way."""
        return slot.turn == turn and not slot.decision.done() and slot.id in self.state.in_flight

    def lost(self, slot: Slot) -> None:
        """The engine dropped this one and answers others."""
        self.dispatch(Lost(id=slot.id, at=time.monotonic()))

    def died(self) -> None:
        """The engine does not answer."""
        self.dispatch(EngineDied(at=time.monotonic()))

    def tick(self) -> None:
        """Time passes; lengths of answers are told where something is reckoned from them."""
        limits = self.state.limits
        counted = limits.ahead_s > 0 or limits.answer_tokens is not None
        made = tuple((name, self._slots[name].generated) for name in self.state.in_flight if name in self._slots) if counted else ()
        self.dispatch(Tick(at=time.monotonic(), generated=made))

    def dispatch(self, event: Event) -> None:
        """Take one event through the step and do what follows."""
        self.state, actions = self._step(self.state, event)
        self._carry_out(actions)

    def _carry_out(self, actions: Iterable[Action]) -> None:
        for action in actions:
            match action:
                case Replay():
                    for name in action.ids:
                        self._decide(name, action)
                case Cap():
                    self._slots[action.id].max_tokens = action.max_tokens
                case Queue() | SetInFlight():
                    pass
                case Admit() | Refuse() | Reject() | Fail():
                    self._decide(action.id, action)

    def _decide(self, name: str, decision: Decision) -> None:
        slot = self._slots.get(name)
        if slot is None:  # it went away while the engine died
            return
        if isinstance(decision, Admit | Replay):
            slot.turn += 1
            slot.let_in_at = slot.let_in_at or time.monotonic()
        if isinstance(decision, Admit):
            slot.cost_bytes, slot.reserved_bytes, slot.is_ahead = decision.cost_bytes, decision.reserved_bytes, decision.ahead
        if slot.decision.done():
            slot.decision = asyncio.get_running_loop().create_future()
        slot.decision.set_result(decision)


def end_of(slot: Slot, decision: Refuse | Reject | Fail) -> None:
    """Write down how a request ends that gets no answer of the engine."""
    slot.ended = {Refuse: "refused", Reject: "rejected", Fail: "failed"}[type(decision)]
    slot.status = HTTPStatus.SERVICE_UNAVAILABLE if isinstance(decision, Fail) else decision.status
