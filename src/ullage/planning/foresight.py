"""What the pool will hold until all that is in flight has ended, and what is known of requests before they come.

A sequence grows evenly and gives everything back when it ends, which nobody knows of one, and of many together about: of answers that came
as far, a share goes on. So a moment's bytes are a sum of shares, with room for what chance adds to it. Between two looks all that was there
at the first is taken to be as long as it is at the second, which no moment between passes.
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
_AT: Final = (0.0625, 0.125, 0.25, 0.5, 1.0)  # further looks, as parts of that time
_SPREADS: Final = 2.0  # standard deviations that a sum may pass what it is on average
BEFORE: Final = 32  # answers known before, at most twice as many, that stand beside those of this run: these outweigh them soon
_EXACT: Final = 1e-6  # of a token
FEWEST: Final = 8  # answers that a length is taken from
KEPT: Final = 256
_SHARES: Final = (0, 10, 20, 30, 40, 50, 60, 70, 80, 90, 95, 99, 100)
_ANSWER, _PACE = "answer_tokens_p", "sequence_pace"
_MOST_GROWTH: Final = 4.0  # more is not the cache's doing
_NEWEST: Final = 8


class Life(NamedTuple):
    """One sequence: its tokens now, those it may end with, how fast it gets there; and answers, rising, of which ``past`` were shorter.

    ``prompt`` is the part of the tokens that is no answer. Where fewer than FEWEST answers came as far, it stays to its end.
    """

    tokens: float
    end_tokens: int
    tokens_per_s: float
    answers: Sequence[int] = ()
    past: int = 0
    prompt: int = 0

    @property
    def ends_in_s(self) -> float:
        """Seconds from now until it is as long as most that came as far."""
        as_far, end = len(self.answers) - self.past, self.end_tokens
        if as_far >= FEWEST:
            end = min(end, self.prompt + self.answers[self.past + min(as_far - 1, int(SURE * as_far))])
        return max(0.0, end - self.tokens) / self.tokens_per_s

    def tokens_in(self, seconds: float) -> int:
        """Its tokens then, were it still there."""
        return min(self.end_tokens, math.ceil(self.tokens + self.tokens_per_s * seconds - _EXACT))

    def stays(self, seconds: float) -> float:
        """The share of those that came as far and are there then."""
        tokens = self.tokens + self.tokens_per_s * seconds + _EXACT
        if not seconds:
            return 1.0
        if tokens >= self.end_tokens:
            return 0.0
        as_far = len(self.answers) - self.past
        return (len(self.answers) - bisect_right(self.answers, tokens - self.prompt)) / as_far if as_far >= FEWEST else 1.0


def peak_bytes(cost: CostModel, lives: Sequence[Life], ahead_s: float, growth: float = 1.0, enough: float = math.inf) -> int:
    """The most that these hold until all have ended, as sure as ``_SPREADS`` says; less than that where more than ``enough`` is found.

    What may be there after ``ahead_s`` is taken together at its longest.
    """
    ends = sorted(end for life in lives if (end := life.ends_in_s) <= ahead_s)
    edges = {0.0, *(ends[len(ends) * part // LOOKS - 1] for part in range(1, LOOKS + 1) if ends), *(ahead_s * at for at in _AT)}
    most = sum(cost.cost_bytes(life.tokens_in(0.0)) for life in lives) * growth
    for begin, end in pairwise((*sorted(edges), math.inf)):
        if most > enough:
            break
        most = max(most, _held_bytes(cost, lives, begin, end) * growth)
    return math.ceil(most)


def _held_bytes(cost: CostModel, lives: Iterable[Life], begin_s: float, end_s: float) -> float:
    """What those hold that are there after ``begin_s``, each as long as it is at ``end_s``: on average, and what a sum may be beyond it."""
    mean = spread = 0.0
    for life in lives:
        share = life.stays(begin_s)
        if share:
            held = cost.cost_bytes(life.end_tokens if end_s == math.inf else life.tokens_in(end_s))
            mean += share * held
            spread += share * (1 - share) * held * held
    return mean + _SPREADS * math.sqrt(spread)


def foreseen_bytes(state: State, new: Ticket, at: float) -> int | None:
    """The most the pool will hold with ``new`` let in now; None where nobody knows how fast sequences grow."""
    known = state.foresight
    if known is None:
        return None
    paces = [ticket.tokens_per_s / max(1, ticket.sequences) for ticket in state.in_flight.values() if ticket.tokens_per_s]
    pace = sum(paces) / len(paces) if paces else known.tokens_per_s
    if not pace:
        return None
    before = known.answers[len(known.answers) // BEFORE // 2 :: max(1, len(known.answers) // BEFORE)]
    answers = sorted((*before, *state.answers))
    lives = [life for ticket in (*state.in_flight.values(), new) for life in _lives(ticket, at, pace, answers)]
    return peak_bytes(state.cost, lives, state.limits.ahead_s, known.growth, state.cost.pool_bytes)


def _lives(ticket: Ticket, at: float, pace: float, answers: Sequence[int]) -> tuple[Life, ...]:
    count = max(1, ticket.sequences)
    own = ticket.tokens_per_s / count or pace
    since = own * max(0.0, at - ticket.measured_at) if ticket.measured_at else 0.0
    made = ticket.generated / count + since
    most = max(ticket.answer_tokens, math.ceil(made))
    past = bisect_right(answers, made)
    return tuple(Life(prompt + made, prompt + most, own, answers, past, prompt) for prompt in ticket.prompts)


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
