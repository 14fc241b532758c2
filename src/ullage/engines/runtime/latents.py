"""How latent attention is worked off, where it matters to memory: when latents are expanded, and how many heads at a time."""

from typing import Final

EXPANDED_BYTES: Final = 32 << 20  # of expanded keys and values at a time


def expand_from(*, latent: int, rope: int, nope: int, value: int) -> int | None:
    """The queries of a block from which expanding latents takes fewer multiplications than attending to them; None: never.

    A query and a key cost two products of ``latent + rope`` elements, or of ``nope + rope`` when expanded, which costs each key
    ``latent * (nope + value)``.
    """
    saved = 2 * (latent - nope)
    return -(-latent * (nope + value) // saved) if saved > 0 and value <= nope + rope else None


def expanded_heads(heads: int, keys: int, width: int, element: int) -> int:
    """Heads whose expanded keys and values of one call fit in ``EXPANDED_BYTES``; at least one."""
    return max(1, min(heads, EXPANDED_BYTES // (2 * keys * width * element)))
