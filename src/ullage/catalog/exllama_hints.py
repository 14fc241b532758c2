"""What helps when either ExLlama engine died."""

from typing import Final

from ullage.domain.cause import Hint, Kind

_CACHE: Final = frozenset({Kind.PLACEMENT, Kind.CACHE_ALLOCATION, Kind.ACTIVATIONS, Kind.WORKSPACE})
_WEIGHTS: Final = frozenset({Kind.WEIGHTS})
_ROOM: Final = _CACHE | _WEIGHTS


def hints(length: str) -> tuple[Hint, ...]:
    """Changes with the smallest first; ``length`` is the setting of the cache's length."""
    return (
        Hint(kinds=frozenset({Kind.ACTIVATIONS, Kind.WORKSPACE}), setting="chunk_size", cost="slower prompts"),
        Hint(
            kinds=_CACHE, setting=length, cost="shorter or fewer sequences", names=("max_seq_len", "length", "cache_size", "max_num_tokens")
        ),
        Hint(
            kinds=_CACHE, setting="cache_mode", cost="a quantised cache: some quality", value="Q4", names=("cq4", "cache_q4", "cache_bits")
        ),
        Hint(kinds=_WEIGHTS, setting=length, cost="a smaller cache beside the weights"),
        Hint(kinds=_ROOM, setting="gpu_split", cost="none: the cache lies on other cards", value="lower where the cache lands"),
        Hint(kinds=_WEIGHTS | {Kind.PLACEMENT}, setting="bits a weight", cost="a narrower quantisation", value="fewer"),
        Hint(kinds=frozenset({Kind.REQUEST_TOO_LONG}), setting=length, cost="a larger cache", up=True),
        Hint(kinds=frozenset({Kind.CACHE_PRESSURE}), setting="max_batch_size", cost="fewer jobs at once"),
        Hint(kinds=frozenset({Kind.CACHE_PRESSURE}), setting=length, cost="a larger cache", up=True),
    )
