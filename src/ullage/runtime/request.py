"""What is asked of the engine and what comes out of it."""

from enum import StrEnum

from ullage.frozen import dataclass
from ullage.runtime.sample.chooser import TokenMask
from ullage.runtime.sample.logprobs import Logprobs
from ullage.runtime.sample.settings import Sampling


class Finish(StrEnum):
    """How a request ended; each ends in exactly one of these ways."""

    STOP = "stop"  # the last token is one of its stop tokens
    LENGTH = "length"
    CANCELLED = "cancelled"
    REFUSED = "refused"  # it can never run here; ``detail`` has the numbers
    ERROR = "error"


@dataclass(frozen=True, eq=False, kw_only=True)
class Request:
    """One sequence to continue. ``client`` is whom the order is fair to."""

    prompt: tuple[int, ...]
    max_new_tokens: int
    sampling: Sampling = Sampling()
    stop_tokens: frozenset[int] = frozenset()
    min_new_tokens: int = 0  # before so many no stop token is chosen
    client: str = ""
    mask: TokenMask | None = None


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
