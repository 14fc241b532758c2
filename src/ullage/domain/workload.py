"""What the model will be asked to hold: one length, or the lengths of real requests and when they come."""

from enum import StrEnum

from ullage.frozen import dataclass, field


class Growth(StrEnum):
    """When an engine gives a sequence its cache: as tokens come, all it may need when it begins, or a place for the longest there is."""

    TOKEN = "token"  # noqa: S105 - a token of text
    REQUEST = "request"
    SLOT = "slot"


@dataclass(frozen=True, slots=True)
class LengthBin:
    """``requests`` requests of about so many tokens of prompt and of answer."""

    prompt_tokens: int
    output_tokens: int
    requests: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Lengths:
    """Prompts and answers of a workload, as bins of like ones: bounded, however many requests there were. The longest are exact."""

    bins: tuple[LengthBin, ...]
    longest_prompt_tokens: int
    longest_output_tokens: int
    longest_total_tokens: int

    @property
    def requests(self) -> int:
        """How many there were."""
        return sum(one.requests for one in self.bins)

    def total_quantile(self, fraction: float) -> int:
        """The smallest prompt plus answer, in tokens, that this share of the requests does not pass."""
        if fraction >= 1:  # a bin stands at the mean of what is in it
            return self.longest_total_tokens
        left = fraction * self.requests
        for total, requests in sorted((one.prompt_tokens + one.output_tokens, one.requests) for one in self.bins):
            left -= requests
            if left <= 0:
                return min(total, self.longest_total_tokens)
        return self.longest_total_tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrivals:
    """When requests come: at random at a rate, from so many clients that wait for their answer, at stated times, or else all at once."""

    rate_per_s: float | None = None
    clients: int | None = None
    times_s: tuple[float, ...] = ()

    def __str__(self) -> str:
        if self.times_s:
            return f"{len(self.times_s):,} requests at their recorded times"
        if self.rate_per_s is not None:
            return f"arriving at random, {self.rate_per_s:g} a second"
        if self.clients is not None:
            return f"from {self.clients:,} clients that each wait for their answer"
        return "all waiting at once"


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """``context_tokens`` is prompt plus answer of one sequence; None leaves it to the engine (usually the model's whole length).

    ``lengths`` and ``arrivals`` are what is behind it, where a real workload was measured; no engine's sizing reads them.
    """

    context_tokens: int | None = None
    concurrent_sequences: int = 1
    prompt_tokens: int | None = None  # None: the context, less one token
    lengths: Lengths | None = field(default=None, compare=False)
    arrivals: Arrivals | None = field(default=None, compare=False)
