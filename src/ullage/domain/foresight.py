"""What earlier runs, or a workload, say of requests that are still to come."""

from ullage.frozen import dataclass

UNENDED = 1 << 40  # stands for the length of an answer that was cut at the length its request allowed: nobody knows when it had ended


@dataclass(frozen=True, slots=True, kw_only=True)
class Foresight:
    """``answers`` are lengths of answers, rising, each standing for as many; ``tokens_per_s`` is the pace of one sequence.

    ``growth`` is how many times the bytes of the rules a token took of the pool; ``source`` says who says so.
    """

    source: str
    answers: tuple[int, ...] = ()
    tokens_per_s: float | None = None
    growth: float = 1.0
