"""Whether there is room for a request: in the worst case, or by what is foreseen."""

from ullage.domain.admission import State, Ticket
from ullage.planning.foresight import foreseen_bytes
from ullage.planning.pool_forecast import held_ahead


def fits(state: State, ticket: Ticket, at: float) -> bool:
    """Whether it can be let in now: by the forecast where one is looked ahead by, else by what all may take at most."""
    if state.in_flight and state.sequences + ticket.sequences > state.allowed:
        return False
    if state.limits.ahead_s > 0 and state.foresight is not None:
        return _is_foreseen(state, ticket, at)
    if state.limits.ahead_s > 0:
        return not state.in_flight or held_ahead(state, ticket, at) <= state.cost.pool_bytes
    return state.reserved_bytes + ticket.cost_bytes <= state.cost.pool_bytes


def _is_foreseen(state: State, ticket: Ticket, at: float) -> bool:
    """Whether there is room for it until all have ended; where nobody can tell, for the worst case."""
    has_room = state.reserved_bytes + ticket.cost_bytes <= state.cost.pool_bytes
    if not state.in_flight or (has_room and (state.foresight is None or state.foresight.growth <= 1)):
        return True
    foreseen = foreseen_bytes(state, ticket, at)
    return has_room if foreseen is None else foreseen <= state.cost.pool_bytes
