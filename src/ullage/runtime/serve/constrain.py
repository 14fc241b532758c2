"""Answers that keep to a JSON schema: masks over the vocabulary by the library ``llguidance``."""

from collections.abc import Sequence
from threading import Lock
from typing import Any

import torch
from torch import Tensor

from ullage import wire
from ullage.errors import InputError, UnsupportedModelError
from ullage.text._optional import library
from ullage.text.tokenizer import Tokenizer

_BETWEEN = r"\x20|\x0A\x20{0,32}"  # one space, or a new line and its indent: small models go on with spaces for ever where they may


class _Vocabulary:
    """A tokeniser as the library wants it."""

    is_tokenizer_wrapper = True

    def __init__(self, tokenizer: Tokenizer, size: int) -> None:
        pieces = [tokenizer.token_bytes(token) for token in range(min(size, tokenizer.vocab_size))]
        if None in pieces or not tokenizer.eos_ids:
            raise UnsupportedModelError("this vocabulary has no table of bytes or no end of text, which constrained answers need")
        self.tokens = [piece or b"" for piece in pieces] + [b""] * (size - len(pieces))
        self.special_token_ids = sorted(token for token in tokenizer.special_ids | tokenizer.eos_ids if token < size)
        self.eos_token_id, self.bos_token_id = min(tokenizer.eos_ids), tokenizer.bos_id
        self._tokenizer = tokenizer

    def __call__(self, text: bytes | str) -> Sequence[int]:
        return self._tokenizer.encode(text.decode(errors="replace") if isinstance(text, bytes) else text, special=False)


class Grammars:
    """Makes masks. ``size`` is how many logits a row has. What is slow is done on first use, in whatever thread asks."""

    def __init__(self, tokenizer: Tokenizer, size: int) -> None:
        self._tokenizer, self._size = tokenizer, size
        self._known: Any = None
        self._lock = Lock()

    def masks(self, schema: Any, count: int) -> list["SchemaMask"]:
        """A mask for each of ``count`` answers. Raises InputError for a schema that the library refuses."""
        guidance = library("llguidance", "an answer that keeps to a JSON schema")
        with self._lock:
            if self._known is None:
                self._known = guidance.LLTokenizer(_Vocabulary(self._tokenizer, self._size), n_vocab=self._size)
        try:
            grammar = guidance.LLMatcher.grammar_from_json_schema(wire.dumps(schema), overrides={"whitespace_pattern": _BETWEEN})
        except ValueError as error:
            raise InputError(f"response_format holds no JSON schema: {str(error)[:300]}") from error
        matcher = guidance.LLMatcher(self._known, grammar, log_level=0)
        if matcher.is_error():
            raise InputError(f"response_format holds a JSON schema that cannot be kept to: {matcher.get_error()[:300]}")
        return [SchemaMask(matcher.deep_copy()) for _ in range(count)]


class SchemaMask:
    """One answer's place in its grammar."""

    def __init__(self, matcher: Any) -> None:
        self._matcher = matcher

    def restrict(self, logits: Tensor) -> None:
        """As the protocol says."""
        allowed = bytearray(self._matcher.compute_logit_bias())
        if self._matcher.is_error():
            raise ValueError(self._matcher.get_error())
        logits.masked_fill_((torch.frombuffer(allowed, dtype=torch.uint8) == 0).to(logits.device), float("-inf"))

    def accept(self, token: int) -> None:
        """As the protocol says."""
        if not self._matcher.consume_token(token):
            raise ValueError(self._matcher.get_error())
