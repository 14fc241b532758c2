"""How the tokens of one request are chosen."""

from math import isfinite

from ullage.errors import InputError
from ullage.frozen import dataclass

MOST_LOGPROBS = 20
_SEEDS = 1 << 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """What a request asks of its tokens; the defaults are greedy.

    Penalties and biases come first, then the mask of the request, the temperature, and the cuts: the ``top_k`` best, of them the fewest
    that have ``top_p`` of the weight together, of them those with ``min_p`` of the best one's weight.
    """

    temperature: float = 0.0  # 0: the best token
    top_k: int = 0  # 0: all
    top_p: float = 1.0
    min_p: float = 0.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float = 1.0
    seed: int | None = None  # None: another one each time
    logprobs: int | None = None  # how many best tokens are reported beside the chosen one; None: not even that one's
    logit_bias: tuple[tuple[int, float], ...] = ()

    @property
    def is_greedy(self) -> bool:
        """Whether the best token is taken."""
        return self.temperature == 0.0 or self.top_k == 1

    @property
    def moves_logits(self) -> bool:
        """Whether logits are changed before anything is chosen."""
        penalised = self.presence_penalty != 0.0 or self.frequency_penalty != 0.0 or self.repetition_penalty != 1.0
        return penalised or bool(self.logit_bias)


def check(sampling: Sampling, vocabulary: int) -> None:
    """Raises InputError naming the first value that is out of its range."""
    ranges: tuple[tuple[str, float, float, float], ...] = (
        ("temperature", sampling.temperature, 0.0, 100.0),
        ("top_k", sampling.top_k, 0, vocabulary),
        ("top_p", sampling.top_p, 0.0, 1.0),
        ("min_p", sampling.min_p, 0.0, 1.0),
        ("presence_penalty", sampling.presence_penalty, -2.0, 2.0),
        ("frequency_penalty", sampling.frequency_penalty, -2.0, 2.0),
        ("repetition_penalty", sampling.repetition_penalty, 0.01, 100.0),
        ("seed", sampling.seed or 0, -_SEEDS + 1, _SEEDS - 1),
        ("logprobs", sampling.logprobs or 0, 0, min(MOST_LOGPROBS, vocabulary)),
    )
    for name, value, least, most in ranges:
        if not isfinite(value) or not least <= value <= most:
            raise InputError(f"{name} is {value}; it has to be from {least} to {most}")
    for token, bias in sampling.logit_bias:
        if not 0 <= token < vocabulary:
            raise InputError(f"logit_bias names token {token}; the model has {vocabulary} tokens, from 0 to {vocabulary - 1}")
        if not -100.0 <= bias <= 100.0:  # noqa: PLR2004 - the range of OpenAI's interface
            raise InputError(f"logit_bias of token {token} is {bias}; it has to be from -100 to 100")
