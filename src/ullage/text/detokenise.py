"""Streaming detokenisation that never splits a character, in constant time and at most three held bytes per step.

A byte table with an incremental UTF-8 decoder where the vocabulary has one, else the tokenizer library's own stream decoder.
"""

from codecs import getincrementaldecoder
from collections.abc import Iterable, Sequence
from typing import Any

from ullage.text._optional import library

_decoder = getincrementaldecoder("utf-8")
_LONGEST_CHARACTER_BYTES = 4
_CONTEXT_TOKENS = 32  # more than any decoder looks back
LARGEST_ID = 1 << 32  # exclusive: what the library takes


class ByteDetokeniser:
    """Bytes of each id through an incremental UTF-8 decoder.

    ``table`` has no bytes for ids to be skipped; ``stripped`` spaces that begin the text are dropped unless ``before`` has text.
    """

    __slots__ = ("_decode", "_decoder", "_size", "_stripped", "_table")

    def __init__(self, table: Sequence[bytes], *, stripped: int = 0, before: Iterable[int] = ()) -> None:
        self._table = table
        self._size = len(table)
        self._decoder = _decoder("replace")
        self._decode = self._decoder.decode
        seen = b"".join(_last_bytes(table, before))
        self._decode(seen)
        self._stripped = 0 if seen else stripped

    def push(self, token: int) -> str:
        """As the protocol says."""
        text = self._decode(self._table[token]) if 0 <= token < self._size else ""
        return self._without_margin(text) if self._stripped and text else text

    def finish(self) -> str:
        """As the protocol says."""
        text = self._decode(b"", True)
        return self._without_margin(text) if self._stripped and text else text

    @property
    def held_bytes(self) -> int:
        """The bytes that wait for the rest of their character."""
        return len(self._decoder.getstate()[0])

    def _without_margin(self, text: str) -> str:
        spaces = min(self._stripped, len(text) - len(text.lstrip(" ")))
        self._stripped = self._stripped - spaces if spaces == len(text) else 0
        return text[spaces:]


def _last_bytes(table: Sequence[bytes], ids: Iterable[int]) -> list[bytes]:
    """The bytes of the last ids, as far back as a character can reach."""
    found: list[bytes] = []
    length = 0
    for token in reversed(tuple(ids)):
        if length >= _LONGEST_CHARACTER_BYTES:
            break
        piece = table[token] if 0 <= token < len(table) else b""
        found.append(piece)
        length += len(piece)
    return found[::-1]


class LibraryDetokeniser:
    """The stream decoder of ``tokenizers``, which decodes a short window of ids again at each step.

    It gives up on bytes that turn out to be no character; then the window so far is decoded whole and a new stream begins behind it.
    """

    __slots__ = ("_backend", "_context", "_held", "_skip", "_step")

    def __init__(self, backend: Any, *, skip_special: bool, before: Sequence[int] = ()) -> None:
        self._backend = backend
        self._skip = skip_special
        self._held: list[int] = []
        self._begin(list(before[-_CONTEXT_TOKENS:]))

    def _begin(self, context: list[int]) -> None:
        self._context = context
        decoders = library("tokenizers.decoders", "detokenisation")
        self._step = decoders.DecodeStream(ids=list(context), skip_special_tokens=self._skip).step

    def push(self, token: int) -> str:
        """As the protocol says."""
        if not 0 <= token < LARGEST_ID:
            return ""
        self._held.append(token)
        try:
            text: str | None = self._step(self._backend, token)
        except Exception:  # noqa: BLE001 - the library raises Exception itself
            text = self.finish()
            self._begin(self._context)
            return text
        if not text:
            return ""
        self._context, self._held = self._held, []
        return text

    def finish(self) -> str:
        """As the protocol says."""
        shown: str = self._backend.decode(self._context, skip_special_tokens=self._skip)
        self._context, self._held = self._context + self._held, []
        whole: str = self._backend.decode(self._context, skip_special_tokens=self._skip)
        return whole[len(shown) :]
