"""Whether bytes are a text at all, whatever its letters are encoded as."""

from typing import Final

LOOKED_AT: Final = 4096  # bytes
_NEVER: Final = bytes(at for at in (*range(32), 127) if at not in b"\t\n\r\f\b\x1b")  # signs that no text has, terminals' own aside
_FEWEST, _ONE_IN = 4, 32  # of bytes at random one in nine or ten is such a sign


def is_text(beginning: bytes) -> bool:
    """Whether hardly any sign of a beginning is one that texts do not have; zeros before it, as of an emptied log, count for nothing."""
    looked = beginning[:LOOKED_AT].lstrip(b"\0")
    strange = len(looked) - len(looked.translate(None, _NEVER))
    return strange < max(_FEWEST, len(looked) / _ONE_IN)
