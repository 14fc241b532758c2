"""How many tokens a text could have when no tokeniser is at hand."""

from typing import NamedTuple

_BYTES_PER_TOKEN = 4  # English prose 4.2 to 4.9, code 3 to 4, Chinese 1.5 to 4.5 over vocabularies of 32 to 260 thousand tokens
_MOST_BYTES_PER_TOKEN = 8  # no natural text of any length comes near it; only runs of spaces do


class TokenEstimate(NamedTuple):
    """``high`` is certain for vocabularies that spell bytes; ``low`` and ``expected`` are what natural text shows."""

    low: int
    expected: int
    high: int


def estimate_tokens(text_bytes: int) -> TokenEstimate:
    """A range for a text of so many bytes of UTF-8.

    A token has at least one byte, so there are never more tokens than bytes, save one for the space that some put before a text.
    """
    if text_bytes <= 0:
        return TokenEstimate(0, 0, 0)
    return TokenEstimate(-(-text_bytes // _MOST_BYTES_PER_TOKEN), -(-text_bytes // _BYTES_PER_TOKEN), text_bytes + 1)
