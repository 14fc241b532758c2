"""What is asked of the engine and what comes out of it."""

from enum import StrEnum
from typing import Protocol

from torch import Tensor

from ullage.frozen import dataclass
from ullage.runtime.sample.settings import Sampling


class Finish(StrEnum):
    """How a request ended; each ends in exactly one of these ways."""

    STOP = "stop"  # the last token is one of its stop tokens
    LENGTH = "length"
    CANCELLED = "cancelled"
    REFUSED = "refused"  # it can never run here; ``detail`` has the numbers
    ERROR = "error"


class TokenMask(Protocol):
    """Which tokens may come next: constrained output. One per request; the engine's thread alone calls it."""

    def restrict(self, logits: Tensor) -> None:
        """Set what may not come to minus infinity, in place; (vocabulary,), float32."""

    def accept(self, token: int) -> None:
        """The token that was chosen."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Request:
    """One sequence to continue. ``client`` is whom the order is fair to."""

    prompt: tuple[int, ...]
    max_new_tokens: int
    sampling: Sampling = Sampling()
    stop_tokens: frozenset[int] = frozenset()
    client: str = ""
    mask: TokenMask | None = None


@dataclass(frozen=True, slots=True)
class Logprobs:
    """Natural logarithms of probabilities before anything is done to the logits."""

    token: float  # of the chosen one
    top: tuple[tuple[int, float], ...]  # the best, in order: token and its logarithm


@dataclass(frozen=True, slots=True)
class Output:
    """One more token of a request, its end, or both.

    A stop token is reported as ``token`` with ``finished`` "stop": it counts, but is no part of the text. ``token`` is None where a
    request ends without one. ``reused_tokens``: with the first token, how much of the prompt was already in the cache.
    """

    id: int
    token: int | None
    logprobs: Logprobs | None = None
    finished: Finish | None = None
    detail: str = ""
    reused_tokens: int = 0
