"""What the model will be asked to hold."""

from ullage.frozen import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """``context_tokens`` is prompt plus answer of one sequence; None leaves it to the engine (usually the model's whole length)."""

    context_tokens: int | None = None
    concurrent_sequences: int = 1
    prompt_tokens: int | None = None  # None: the context, less one token
