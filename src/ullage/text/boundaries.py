"""Where a text may be cut: between two tokens and between two characters."""

from collections.abc import Iterator, Sequence

from ullage.text.tokenizer import Tokenizer

_CONTINUES = 0x80  # the two highest bits of a byte that is not the first of its character


def boundaries(tokenizer: Tokenizer, text: str) -> tuple[int, ...]:
    """Character offsets from 0 to the length of ``text``, rising. Where pieces have no bytes of their own: before each space."""
    ids = tokenizer.encode(text, special=False)
    pieces = [tokenizer.token_bytes(token) for token in ids]
    data = text.encode()
    if any(piece is None for piece in pieces) or b"".join(piece or b"" for piece in pieces) != data:
        return spaces(text)
    return (0, *_of_pieces([piece or b"" for piece in pieces], data))


def _of_pieces(pieces: Sequence[bytes], data: bytes) -> Iterator[int]:
    """The ends of pieces that end a character, counted in characters."""
    at = characters = 0
    for piece in pieces:
        characters += sum(byte & 0xC0 != _CONTINUES for byte in piece)
        at += len(piece)
        if piece and (at == len(data) or data[at] & 0xC0 != _CONTINUES):
            yield characters


def spaces(text: str) -> tuple[int, ...]:
    """The offset of each space, where every vocabulary we know of begins a token, and both ends."""
    inner = (at for at, letter in enumerate(text) if letter == " " and at and text[at - 1] != " ")
    return tuple(dict.fromkeys((0, *inner, len(text))))
