"""Vocabularies read by the ``tokenizers`` library."""

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any

from ullage.text.byte_table import Spelling, byte_table, spelling
from ullage.text.detokenise import ByteDetokeniser, LibraryDetokeniser
from ullage.text.tokenizer import Detokeniser
from ullage.wire import loads


class LibraryTokenizer:
    """A ``tokenizers.Tokenizer`` behind our interface; ``eos_ids`` and ``bos_id`` as the model's files say."""

    def __init__(self, backend: Any, *, eos_ids: frozenset[int] = frozenset(), bos_id: int | None = None) -> None:
        backend.no_truncation()
        backend.no_padding()
        self._backend = backend
        self._added = {int(token): piece for token, piece in backend.get_added_tokens_decoder().items()}
        self.special_ids = frozenset(token for token, piece in self._added.items() if piece.special)
        self.eos_ids, self.bos_id = eos_ids, bos_id
        self.vocab_size = 1 + max(backend.get_vocab(with_added_tokens=True).values(), default=-1)

    def encode(self, text: str, *, special: bool = True, add_special: bool = False) -> list[int]:
        """As the protocol says."""
        ids: list[int] = self._reader(special=special).encode(text, add_special_tokens=add_special).ids
        return ids

    def encode_batch(self, texts: Sequence[str], *, special: bool = True, add_special: bool = False) -> list[list[int]]:
        """As the protocol says."""
        read = self._reader(special=special).encode_batch_fast(list(texts), add_special_tokens=add_special)
        return [one.ids for one in read]

    def count(self, texts: Sequence[str]) -> list[int]:
        """As the protocol says."""
        return [len(one) for one in self._backend.encode_batch_fast(list(texts), add_special_tokens=False)]

    def decode(self, ids: Iterable[int], *, skip_special: bool = True) -> str:
        """As the protocol says."""
        if self._spelling is None:
            text: str = self._backend.decode(list(ids), skip_special_tokens=skip_special)
            return text
        stream = self.stream(skip_special=skip_special)
        return "".join([*map(stream.push, ids), stream.finish()])

    def token_bytes(self, token: int) -> bytes | None:
        """As the protocol says."""
        if self._spelling is None:
            return None
        return self._table[token] if 0 <= token < self.vocab_size else b""

    def stream(self, *, skip_special: bool = True, prompt_ids: Sequence[int] = ()) -> Detokeniser:
        """As the protocol says."""
        if self._spelling is None:
            return LibraryDetokeniser(self._backend, skip_special=skip_special, before=prompt_ids)
        table = self._shown_table if skip_special else self._table
        return ByteDetokeniser(table, stripped=self._spelling.stripped, before=prompt_ids)

    def _reader(self, *, special: bool) -> Any:
        return self._backend if special else self._letters_only

    @cached_property
    def _letters_only(self) -> Any:
        """A second reader to whom special tokens are letters: the setting belongs to a reader, and two threads may want both."""
        other = type(self._backend).from_str(self._backend.to_str())
        other.encode_special_tokens = True
        return other

    @cached_property
    def _spelling(self) -> Spelling | None:
        decoder = self._backend.decoder
        return spelling(loads(decoder.__getstate__())) if decoder is not None else None

    @cached_property
    def _table(self) -> tuple[bytes, ...]:
        assert self._spelling is not None  # noqa: S101 - asked for by those that looked
        pieces = {token: piece for piece, token in self._backend.get_vocab(with_added_tokens=False).items()}
        return byte_table(pieces, {token: piece.content for token, piece in self._added.items()}, self._spelling)

    @cached_property
    def _shown_table(self) -> tuple[bytes, ...]:
        return tuple(b"" if token in self.special_ids else piece for token, piece in enumerate(self._table))
