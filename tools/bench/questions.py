"""Short questions that a small chat model answers in a sentence or two, seldom in many: lengths are skewed, ends its own."""

from random import Random
from typing import Final

_OF: Final = (
    *("river", "candle", "bridge", "violin", "harbour", "compass", "lantern", "bakery", "glacier", "telescope", "orchard", "windmill"),
    *("library", "pigeon", "magnet", "umbrella", "volcano", "carpet", "locomotive", "mushroom", "mirror", "pendulum", "sailor", "tailor"),
    *("walnut", "keyboard", "desert", "tunnel", "island", "engine", "garden", "hammer", "ladder", "market", "needle", "octopus"),
)
_ASKED: Final = (
    "In one short sentence, what is a {}?",
    "Name three things that have to do with a {}.",
    "Write one sentence about a {}.",
    "Answer briefly: what is a {} used for?",
)


def questions(count: int, seed: int) -> list[str]:
    """So many of them, each another one where there are as many."""
    every = [asked.format(thing) for thing in _OF for asked in _ASKED]
    Random(seed).shuffle(every)  # noqa: S311 - the same load in every run
    return (every * (count // len(every) + 1))[:count]
