"""What the pool will hold until all that is in flight has ended, and what is known of requests before they come.

A sequence grows evenly and gives everything back when it ends, so the pool is fullest just before an end. Ends are looked at in groups: a
group holds, until its last end, what all in it hold by then, which no moment before passes.
"""

import math
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Final, NamedTuple

from ullage.domain.admission import CostModel, State, Ticket
from ullage.domain.baseline import Figure, MachineMark, ModelMark, Run
from ullage.domain.foresight import UNENDED, Foresight
from ullage.domain.guard import GuardRecord
from ullage.domain.workload import Lengths
from ullage.units import counted

LOOKS: Final = 8  # groups of ends within the time looked ahead
SURE: Final = 0.9  # an answer is taken to be as long as this share of those that came as far
FEWEST: Final = 8  # answers that a length is taken from
KEPT: Final = 256
_SHARES: Final = (0, 10, 20, 30, 40, 50, 60, 70, 80, 90, 95, 99, 100)
_ANSWER, _PACE = "answer_tokens_p", "sequence_pace"
_MOST_GROWTH: Final = 4.0  # more is not the cache's doing
_NEWEST: Final = 8


class Life(NamedTuple):
    """One sequence: its tokens now, those it ends with, how fast it gets there."""

    tokens: float
    end_tokens: int
    tokens_per_s: float

    @property
    def ends_in_s(self) -> float:
        """Seconds from now."""
        return max(0.0, self.end_tokens - self.tokens) / self.tokens_per_s

    def tokens_in(self, seconds: float) -> int:
        """Its tokens then, were it still there."""
        return min(self.end_tokens, math.ceil(self.tokens + self.tokens_per_s * seconds))


def likely_tokens(answers: Sequence[int], made: int, most: int) -> int:
    """How long an answer gets that has come so far; ``most`` where too few came as far to tell, or too many were cut."""
    longer = answers[bisect_right(answers, made) :]
    if len(longer) < FEWEST:
        return most
    return min(most, longer[min(len(longer) - 1, int(SURE * len(longer)))])


def peak_bytes(cost: CostModel, lives: Iterable[Life], ahead_s: float, growth: float = 1.0) -> int:
    """The most that these hold until all have ended; of what ends later than ``ahead_s`` all together at their longest."""
    ordered = sorted(lives, key=lambda life: life.ends_in_s)
    within = bisect_right([life.ends_in_s for life in ordered], ahead_s)
    edges = sorted({0, *(within * part // LOOKS for part in range(1, LOOKS + 1))})
    most = sum(cost.cost_bytes(life.tokens_in(0.0)) for life in ordered)
    for begin, end in pairwise(edges):
        seconds = ordered[end - 1].ends_in_s
        most = max(most, sum(cost.cost_bytes(life.tokens_in(seconds)) for life in ordered[begin:]))
    most = max(most, sum(cost.cost_bytes(life.end_tokens) for life in ordered[within:]))
    return math.ceil(most * growth)


def foreseen_bytes(state: State, new: Ticket, at: float) -> int | None:
    """The most the pool will hold with ``new`` let in now; None where nobody knows how fast sequences grow."""
    known = state.foresight
    if known is None:
        return None
    paces = [ticket.tokens_per_s / max(1, ticket.sequences) for ticket in state.in_flight.values() if ticket.tokens_per_s]
    pace = sum(paces) / len(paces) if paces else known.tokens_per_s
    if not pace:
        return None
    answers = sorted((*known.answers, *state.answers))
    lives = [life for ticket in (*state.in_flight.values(), new) for life in _lives(ticket, at, pace, answers)]
    return peak_bytes(state.cost, lives, state.limits.ahead_s, known.growth)


def _lives(ticket: Ticket, at: float, pace: float, answers: Sequence[int]) -> tuple[Life, ...]:
    count = max(1, ticket.sequences)
    own = ticket.tokens_per_s / count or pace
    since = own * max(0.0, at - ticket.measured_at) if ticket.measured_at else 0.0
    made = ticket.generated / count + since
    end = likely_tokens(answers, int(made), max(ticket.answer_tokens, math.ceil(made)))
    return tuple(Life(prompt + made, prompt + end, own) for prompt in ticket.prompts)


def seen_answers(records: Iterable[GuardRecord]) -> tuple[Figure, ...]:
    """What requests that ended say of each sequence to come, as it is stored with a run; nothing where they are few."""
    ended = [(one, one.generated / max(1, one.sequences)) for one in records if one.ended == "finished" and one.generated > 0]
    if len(ended) < FEWEST:
        return ()
    lengths = sorted(UNENDED if one.was_cut else math.ceil(made) for one, made in ended)
    paces = sorted(made / max(0.001, one.whole_s - one.queue_s) for one, made in ended)
    known = [(share, length) for share in _SHARES if (length := _at(lengths, share / 100)) < UNENDED]
    points = (Figure(name=f"{_ANSWER}{share}", value=float(length), unit="tokens") for share, length in known)
    return (*points, Figure(name=_PACE, value=paces[len(paces) // 2], unit="tokens/s"))


def alike(runs: Sequence[Run], model: ModelMark, machine: MachineMark) -> tuple[Run, ...]:
    """The runs of this model on such devices."""
    kind = (model.architecture_hash, model.scheme, [one.name for one in machine.devices])
    return tuple(one for one in runs if (one.model.architecture_hash, one.model.scheme, [d.name for d in one.machine.devices]) == kind)


def of_runs(runs: Sequence[Run], model: ModelMark, machine: MachineMark, cost: CostModel) -> Foresight | None:
    """What the newest runs of this model on such devices say; None where none grew as far as anybody saw, or was asked anything."""
    telling = [one for one in alike(runs, model, machine) if one.growth or any(figure.name == _PACE for figure in one.figures)][:_NEWEST]
    if not telling:
        return None
    slopes = sorted(growth.bytes_per_token for one in telling for growth in one.growth)
    told = next((one for one in telling if any(figure.name == _PACE for figure in one.figures)), None)
    figures = {figure.name: figure.value for figure in told.figures} if told is not None else {}
    return Foresight(
        source=f"{counted(len(telling), 'earlier run')} of this model here",
        answers=_between([(share / 100, figures[f"{_ANSWER}{share}"]) for share in _SHARES if f"{_ANSWER}{share}" in figures]),
        tokens_per_s=figures.get(_PACE),
        growth=_growth(slopes[len(slopes) // 2], cost) if slopes else 1.0,
    )


def _growth(bytes_per_token: float, cost: CostModel) -> float:
    """Times the bytes of the rules; those where a pool is taken at the start and does not grow, or less than the rules say was seen."""
    longest = cost.longest_tokens
    ruled = cost.cost_bytes(longest) / longest if longest else 0.0
    return min(_MOST_GROWTH, max(1.0, bytes_per_token / ruled)) if ruled else 1.0


def of_workload(lengths: Lengths, before: Foresight | None) -> Foresight:
    """Answers as long as those of a workload; all else as it was known before."""
    ordered = sorted((one.output_tokens, one.requests) for one in lengths.bins)
    total, passed, answers = lengths.requests, 0, list[int]()
    for tokens, requests in ordered:
        passed += requests
        answers += [tokens] * (passed * KEPT // max(1, total) - len(answers))
    return Foresight(
        source="the workload" if before is None else f"the workload and {before.source}",
        answers=tuple(answers),
        tokens_per_s=before.tokens_per_s if before is not None else None,
        growth=before.growth if before is not None else 1.0,
    )


def _at(ordered: Sequence[int], share: float) -> int:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def _between(points: list[tuple[float, float]]) -> tuple[int, ...]:
    """A hundred lengths whose shares are those of the points; what lies beyond the last point never ended."""
    found = []
    for (low, below), (high, above) in pairwise(points):
        steps = range(round(low * 100), round(high * 100))
        found += [math.ceil(below + (above - below) * ((step + 1) / 100 - low) / (high - low)) for step in steps]
    return (*found, *(UNENDED,) * (100 - len(found))) if points else ()
