"""Whether there is room for a request: in the worst case, or by what is foreseen."""

from ullage.domain.admission import State, Ticket
from ullage.planning.foresight import foreseen_bytes
from ullage.planning.pool_forecast import held_ahead


def fits(state: State, ticket: Ticket, at: float) -> bool:
    """Whether it can be let in now; where nobody can tell what will be, by what all may take at most."""
    if state.in_flight and state.sequences + ticket.sequences > state.allowed:
        return False
    has_room = state.reserved_bytes + ticket.cost_bytes <= state.cost.pool_bytes
    if state.limits.ahead_s <= 0:
        return has_room
    if not state.in_flight:
        return True
    if state.foresight is None:
        return held_ahead(state, ticket, at) <= state.cost.pool_bytes
    if has_room and state.foresight.growth <= 1:
        return True
    foreseen = foreseen_bytes(state, ticket, at)
    return has_room if foreseen is None else foreseen <= state.cost.pool_bytes
