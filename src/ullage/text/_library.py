"""Vocabularies read by the ``tokenizers`` library."""

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any

from ullage.errors import InputError
from ullage.text._tables import ByteTables
from ullage.text.byte_table import byte_table, spelling
from ullage.text.detokenise import LARGEST_ID, LibraryDetokeniser
from ullage.text.tokenizer import Detokeniser
from ullage.wire import loads


def _read(reader: Any, texts: Sequence[str], *, add_special: bool) -> Any:
    """What the library makes of each text, without the places of its tokens. Raises InputError for what is no text."""
    try:
        return reader.encode_batch_fast(list(texts), add_special_tokens=add_special)
    except TypeError as error:
        raise InputError("a text holds half of a surrogate pair (U+D800 to U+DFFF), which is no character: decode it as UTF-8") from error


class LibraryTokenizer:
    """A ``tokenizers.Tokenizer`` behind our interface; ``eos_ids`` and ``bos_id`` as the model's files say."""

    def __init__(self, backend: Any, *, eos_ids: frozenset[int] = frozenset(), bos_id: int | None = None) -> None:
        backend.no_truncation()
        backend.no_padding()
        self._backend = backend
        self._added = backend.get_added_tokens_decoder()
        self.special_ids = frozenset(token for token, piece in self._added.items() if piece.special)
        self.eos_ids, self.bos_id = eos_ids, bos_id
        self.vocab_size = 1 + max(backend.get_vocab(with_added_tokens=True).values(), default=-1)

    def encode(self, text: str, *, special: bool = True, add_special: bool = False) -> list[int]:
        """As the protocol says."""
        return self.encode_batch([text], special=special, add_special=add_special)[0]

    def encode_batch(self, texts: Sequence[str], *, special: bool = True, add_special: bool = False) -> list[list[int]]:
        """As the protocol says."""
        reader = self._backend if special else self._letters_only
        return [one.ids for one in _read(reader, texts, add_special=add_special)]

    def count(self, texts: Sequence[str]) -> list[int]:
        """As the protocol says."""
        return [len(one) for one in _read(self._backend, texts, add_special=False)]

    def decode(self, ids: Iterable[int], *, skip_special: bool = True) -> str:
        """As the protocol says."""
        if self._tables is not None:
            return self._tables.decode(ids, skip_special=skip_special)
        text: str = self._backend.decode([token for token in ids if 0 <= token < LARGEST_ID], skip_special_tokens=skip_special)
        return text

    def token_bytes(self, token: int) -> bytes | None:
        """As the protocol says."""
        return self._tables.bytes_of(token) if self._tables is not None else None

    def stream(self, *, skip_special: bool = True, prompt_ids: Sequence[int] = ()) -> Detokeniser:
        """As the protocol says."""
        if self._tables is not None:
            return self._tables.stream(skip_special=skip_special, prompt_ids=prompt_ids)
        return LibraryDetokeniser(self._backend, skip_special=skip_special, before=prompt_ids)

    @cached_property
    def _letters_only(self) -> Any:
        """A second reader to whom special tokens are letters: the setting belongs to a reader, and two threads may want both."""
        other = type(self._backend).from_str(self._backend.to_str())
        other.encode_special_tokens = True
        return other

    @cached_property
    def _tables(self) -> ByteTables | None:
        decoder = self._backend.decoder
        how = spelling(loads(decoder.__getstate__())) if decoder is not None else None
        if how is None:
            return None
        pieces = {token: piece for piece, token in self._backend.get_vocab(with_added_tokens=False).items()}
        table = byte_table(pieces, {token: piece.content for token, piece in self._added.items()}, how)
        return ByteTables(table, self.special_ids, stripped=how.stripped)
