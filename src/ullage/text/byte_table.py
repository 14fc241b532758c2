"""Which bytes each piece of a vocabulary stands for, read off the vocabulary's own decoder.

Two spellings make a table possible: byte-level vocabularies write every byte as one printable letter, and byte-fallback ones write text
with ``▁`` for a space and single bytes as ``<0xE4>``. In all others the text of a piece depends on its neighbours.
"""

import re
from collections.abc import Mapping
from functools import cache
from typing import Any, NamedTuple

_BYTE_PIECE = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_PRINTABLE = (*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100))


class Spelling(NamedTuple):
    """How pieces spell bytes. ``replaced``: letters that stand for others; ``stripped``: spaces that the first piece has too many."""

    byte_level: bool
    replaced: Mapping[str, str] = {}
    fallback: bool = False
    stripped: int = 0


def spelling(decoder: Any) -> Spelling | None:
    """The spelling that a decoder of a ``tokenizer.json`` undoes; None when it does more than a table can."""
    steps: list[Any] = decoder["decoders"] if isinstance(decoder, dict) and decoder.get("type") == "Sequence" else [decoder]
    kinds = [step.get("type") if isinstance(step, dict) else None for step in steps]
    if kinds == ["ByteLevel"]:
        return Spelling(byte_level=True)
    if not re.fullmatch(r"(Replace )*(ByteFallback )?Fuse (Strip )?", "".join(f"{kind} " for kind in kinds)):
        return None
    replaced = {}
    for step in steps[: kinds.count("Replace")]:
        old, new = step.get("pattern", {}).get("String"), step.get("content")
        if not isinstance(old, str) or len(old) != 1 or not isinstance(new, str):
            return None
        replaced[old] = new
    strip: dict[str, Any] = steps[-1] if kinds[-1] == "Strip" else {"content": " ", "start": 0, "stop": 0}
    if strip["content"] != " " or strip["stop"] != 0:
        return None
    return Spelling(byte_level=False, replaced=replaced, fallback="ByteFallback" in kinds, stripped=int(strip["start"]))


@cache
def byte_letters() -> dict[int, int]:
    """Letter to byte of byte-level vocabularies: printable Latin-1 letters stand for themselves, the others for U+0100 and up in order."""
    others = [byte for byte in range(256) if byte not in _PRINTABLE]
    return {byte: byte for byte in _PRINTABLE} | {0x100 + place: byte for place, byte in enumerate(others)}


def piece_bytes(piece: str, how: Spelling) -> bytes:
    """The bytes of one piece of the vocabulary."""
    if how.byte_level:
        letters = byte_letters()
        try:
            return bytes([letters[ord(letter)] for letter in piece])
        except KeyError:  # no byte-level spelling: an added token, kept as it stands
            return piece.encode()
    if how.fallback and (single := _BYTE_PIECE.fullmatch(piece)):
        return bytes([int(single[1], 16)])
    for old, new in how.replaced.items():
        piece = piece.replace(old, new)
    return piece.encode()


def byte_table(pieces: Mapping[int, str], added: Mapping[int, str], how: Spelling) -> tuple[bytes, ...]:
    """The bytes of every id from 0; ids that no piece has are empty. Added pieces are text and not spelt by bytes."""
    table = [b""] * (1 + max((*pieces, *added), default=-1))
    for token, piece in pieces.items():
        table[token] = piece_bytes(piece, how)
    for token, piece in added.items():
        table[token] = piece.encode() if how.byte_level else piece_bytes(piece, how)
    return tuple(table)
