"""What is reported about a chosen token."""

from torch import Tensor

from ullage.frozen import dataclass


@dataclass(frozen=True, slots=True)
class Logprobs:
    """Natural logarithms of probabilities before anything is done to the logits."""

    token: float  # of the chosen one
    top: tuple[tuple[int, float], ...]  # the best, in order: token and its logarithm


def logprobs_of(logits: Tensor, token: int, top: int) -> Logprobs:
    """Of ``token`` and the ``top`` best of one row, (vocabulary,)."""
    total = logits.logsumexp(-1)
    best = logits.topk(top)
    found = tuple(zip(best.indices.tolist(), (best.values - total).tolist(), strict=True))
    return Logprobs(float(logits[token] - total), found)
