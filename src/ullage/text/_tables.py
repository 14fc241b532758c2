"""Decoding by a byte table, the same whichever library reads the vocabulary."""

from collections.abc import Iterable, Sequence

from ullage.text.detokenise import ByteDetokeniser


class ByteTables:
    """The bytes of every id, with and without those of special tokens; ``stripped`` spaces that begin a text are dropped."""

    def __init__(self, table: Sequence[bytes], special_ids: frozenset[int], *, stripped: int = 0) -> None:
        self._table = table
        self._shown = tuple(b"" if token in special_ids else piece for token, piece in enumerate(table))
        self._stripped = stripped

    def bytes_of(self, token: int) -> bytes:
        """The bytes of one id, none outside the vocabulary."""
        return self._table[token] if 0 <= token < len(self._table) else b""

    def stream(self, *, skip_special: bool, prompt_ids: Sequence[int] = ()) -> ByteDetokeniser:
        """A new detokeniser."""
        return ByteDetokeniser(self._shown if skip_special else self._table, stripped=self._stripped, before=prompt_ids)

    def decode(self, ids: Iterable[int], *, skip_special: bool) -> str:
        """The text of ``ids``, which a stream of them gives too."""
        table = self._shown if skip_special else self._table
        size = len(table)
        text = b"".join([table[token] for token in ids if 0 <= token < size]).decode("utf-8", "replace")
        margin = min(self._stripped, len(text) - len(text.lstrip(" "))) if self._stripped else 0
        return text[margin:]
