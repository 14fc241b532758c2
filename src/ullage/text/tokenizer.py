"""What every tokeniser answers, whichever library reads it, and what turns its ids back into text one at a time."""

from collections.abc import Iterable, Sequence
from typing import Protocol


class Detokeniser(Protocol):
    """Text from ids as they come. What ``push`` and ``finish`` give, put together, is the text of all ids."""

    def push(self, token: int) -> str:
        """The text that is complete with this id; empty while a character is not. An id outside the vocabulary has no text."""

    def finish(self) -> str:
        """What is still held: U+FFFD in place of bytes that never became a character."""


class Tokenizer(Protocol):
    """A vocabulary with its rules. Ids are whole numbers from 0."""

    @property
    def vocab_size(self) -> int:
        """One more than the largest id."""

    @property
    def eos_ids(self) -> frozenset[int]:
        """The ids that end an answer."""

    @property
    def bos_id(self) -> int | None:
        """The id that begins a text, if the model has one."""

    @property
    def special_ids(self) -> frozenset[int]:
        """The ids that control the model and are no part of its answer."""

    def encode(self, text: str, *, special: bool = True, add_special: bool = False) -> list[int]:
        """The ids of ``text``.

        ``special``: the names of special tokens in it become those tokens, as a chat template needs it; otherwise they are letters like any
        others, as a stranger's text should be. ``add_special``: with what the model wants around a text, such as BOS. Raises InputError
        for half a surrogate pair.
        """

    def encode_batch(self, texts: Sequence[str], *, special: bool = True, add_special: bool = False) -> list[list[int]]:
        """The ids of each text, on several cores where the library can."""

    def count(self, texts: Sequence[str]) -> list[int]:
        """How many ids each text has, by the quickest way; nothing is added around them."""

    def decode(self, ids: Iterable[int], *, skip_special: bool = True) -> str:
        """The text of ``ids``."""

    def token_bytes(self, token: int) -> bytes | None:
        """The bytes that this id stands for: special ones by their names, none outside the vocabulary.

        None when the vocabulary has no such table, because the text of a piece depends on its neighbours.
        """

    def stream(self, *, skip_special: bool = True, prompt_ids: Sequence[int] = ()) -> Detokeniser:
        """A new detokeniser; ``prompt_ids`` are those before, whose text is not given again and after which a space is kept."""
