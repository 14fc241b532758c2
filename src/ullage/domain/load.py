"""A load put on a running engine, and what it answered."""

from collections.abc import Callable
from typing import Protocol

from ullage.frozen import dataclass


@dataclass(frozen=True, slots=True)
class Asked:
    """One request: when it is sent after the round's beginning, and its tokens."""

    at_s: float
    prompt_tokens: int
    output_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """The same requests again and again, a round at a time.

    With ``clients`` each of them sends its next request when it has its answer (a closed loop); without, requests are sent at their times
    whether earlier ones are answered or not (an open loop). ``vocabulary`` bounds the token numbers of prompts.
    """

    requests: tuple[Asked, ...]
    clients: int | None
    vocabulary: int
    warm_up: int = 4  # requests before the first round, which count for nothing
    patience_s: float = 600.0  # for one answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """One request as it went: seconds to the first token and to the last, and the tokens that came; ``why`` says what failed."""

    first_s: float
    last_s: float
    tokens: int
    why: str = ""

    @property
    def between_s(self) -> float | None:
        """The mean time between two tokens; None for a single one."""
        return (self.last_s - self.first_s) / (self.tokens - 1) if self.tokens > 1 else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """All requests once, from the first that was sent to the last answer."""

    seconds: float
    answered: tuple[Answered, ...]

    @property
    def good(self) -> tuple[Answered, ...]:
        """Those that did not fail."""
        return tuple(one for one in self.answered if not one.why)

    @property
    def tokens_per_s(self) -> float:
        """Answer tokens a second over all of it."""
        return sum(one.tokens for one in self.good) / self.seconds if self.seconds > 0 else 0.0

    @property
    def first_s(self) -> float:
        """The mean time to the first token."""
        return sum(one.first_s for one in self.good) / max(1, len(self.good))


class Loading(Protocol):
    """A load that is on. All may be asked from any thread."""

    @property
    def rounds(self) -> tuple[Round, ...]:
        """What was measured so far."""

    @property
    def is_over(self) -> bool:
        """Whether it has ended, well or not."""

    @property
    def problem(self) -> str:
        """Why it failed; empty where it did not."""

    def wait(self, seconds: float) -> None:
        """Let it end, at most so long."""


# Whether what was measured in so many seconds is enough.
IsEnough = Callable[[tuple[Round, ...], float], bool]
# What begins to put a load on the engine that answers at an address and asks for a key.
Bench = Callable[[str, str | None, Load, IsEnough], Loading]
