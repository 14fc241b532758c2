"""What the pool will hold in the next seconds, from how long every sequence is and how fast it grows."""

from collections.abc import Iterable

from ullage.domain.admission import CostModel, State, Ticket
from ullage.frozen import dataclass

POINTS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Growing:
    """Sequences alike: tokens now, tokens at most, and how many they gain in a second."""

    tokens: int
    most_tokens: int
    tokens_per_s: float
    sequences: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """Bytes at some seconds from now, and when ``pool_bytes`` are passed; None where they are not within the time looked at."""

    points: tuple[tuple[float, int], ...]
    full_in_s: float | None

    @property
    def peak_bytes(self) -> int:
        """The most at any of the points."""
        return max((nbytes for _, nbytes in self.points), default=0)


def forecast(cost: CostModel, sequences: Iterable[Growing], horizon_s: float) -> Forecast:
    """No sequence is taken to end within the time: what is left out by that is on the safe side."""
    known = tuple(sequences)
    seconds = tuple(horizon_s * index / POINTS for index in range(POINTS + 1))
    points = tuple((at, sum(_bytes_at(cost, one, at) for one in known)) for at in seconds)
    return Forecast(points=points, full_in_s=_first_passing(points, cost.pool_bytes))


def _bytes_at(cost: CostModel, one: Growing, at_s: float) -> int:
    return one.sequences * cost.cost_bytes(min(one.most_tokens, one.tokens + int(one.tokens_per_s * at_s)))


def _first_passing(points: tuple[tuple[float, int], ...], have: int) -> float | None:
    """Where a straight line between two points passes ``have``."""
    before = None
    for at, nbytes in points:
        if nbytes > have:
            if before is None:
                return at
            was, held = before
            return was + (at - was) * (have - held) / (nbytes - held)
        before = (at, nbytes)
    return None


def ticket_growth(ticket: Ticket, at: float, tokens_per_s: float) -> tuple[Growing, ...]:
    """The sequences of a request, each as long as the last count said and grown since."""
    rate = ticket.tokens_per_s or tokens_per_s
    share = max(1, ticket.sequences)
    since = rate * max(0.0, at - ticket.measured_at) if ticket.measured_at else 0.0
    made = min(ticket.answer_tokens, int((ticket.generated + since) / share))
    return tuple(
        Growing(tokens=prompt + made, most_tokens=prompt + ticket.answer_tokens, tokens_per_s=rate / share) for prompt in ticket.prompts
    )


def held_ahead(state: State, new: Ticket, at: float) -> int:
    """The most the pool holds within ``limits.ahead_s`` with ``new`` let in now; it is taken to grow as fast as the others do."""
    rates = [ticket.tokens_per_s for ticket in state.in_flight.values() if ticket.tokens_per_s]
    usual = sum(rates) / len(rates) if rates else float(new.answer_tokens)
    growing = [one for ticket in (*state.in_flight.values(), new) for one in ticket_growth(ticket, at, usual)]
    return forecast(state.cost, growing, state.limits.ahead_s).peak_bytes
