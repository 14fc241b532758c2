"""Whose turn it is: of the clients that wait, the one that was let in least, by the cache it was let in with.

A client that comes back starts where the least served client stands, so nobody saves up turns and nobody pays for a quiet time.
The turn is kept until its request fits: small requests do not pass a large one for ever.
"""

from collections import Counter
from collections.abc import Mapping

from ullage.domain.admission import State, Ticket
from ullage.frozen import replace


def next_in_line(state: State) -> Ticket | None:
    """The oldest request of the least served client."""
    return min(state.waiting, key=lambda ticket: (state.served.get(ticket.client, 0), ticket.at), default=None)


def counted_in(state: State, client: str) -> Mapping[str, int]:
    """What was served with ``client`` among those that are here."""
    if client in state.served:
        return state.served
    return {**state.served, client: min(state.served.values(), default=0)}


def without_absent(state: State, client: str) -> State:
    """The state without the count of a client that has nothing here any more."""
    here = (*state.in_flight.values(), *state.waiting, *state.replays)
    if any(ticket.client == client for ticket in here):
        return state
    return replace(state, served={name: count for name, count in state.served.items() if name != client})


def to_evict(state: State, client: str) -> Ticket | None:
    """Of a full queue the newest request of the client that fills most of it; None where ``client`` would fill as much itself."""
    counts = Counter(ticket.client for ticket in state.waiting)
    if not counts:
        return None
    fullest, count = max(counts.items(), key=lambda item: (item[1], item[0]))
    if count <= counts[client] + 1:
        return None
    return max((ticket for ticket in state.waiting if ticket.client == fullest), key=lambda ticket: ticket.at)


def position(state: State, client: str) -> int:
    """How many requests of a client wait."""
    return sum(ticket.client == client for ticket in state.waiting)
