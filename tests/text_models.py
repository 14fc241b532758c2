"""Small vocabularies for tests, made by the library that reads the real ones."""

from functools import cache

import pytest

from ullage.text.opening import open_tokenizer
from ullage.text.tokenizer import Tokenizer

MERGES = [("t", "h"), ("th", "e"), ("Ġ", "the"), ("c", "a"), ("ca", "t"), ("Ġ", "cat"), ("Ġ", "a"), ("ä", "\u00b8")]


def byte_level_json() -> bytes:
    """A ``tokenizer.json`` of single bytes and a few merges, with one special token."""
    library = pytest.importorskip("tokenizers")
    pieces = [*sorted(library.pre_tokenizers.ByteLevel.alphabet()), *("".join(pair) for pair in MERGES)]
    made = library.Tokenizer(library.models.BPE({piece: at for at, piece in enumerate(pieces)}, MERGES))
    made.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = library.decoders.ByteLevel()
    made.add_special_tokens(["<|end|>"])
    return bytes(made.to_str(), "utf-8")


@cache
def byte_level() -> Tokenizer:
    """That vocabulary, opened."""
    return open_tokenizer({"tokenizer.json": byte_level_json()})


@cache
def spaced() -> Tokenizer:
    """A vocabulary that merges over spaces, as those without a cut into words may."""
    library = pytest.importorskip("tokenizers")
    letters = {letter: at for at, letter in enumerate(["<unk>", "▁", *"abcdefghijklmnopqrstuvwxyzATZ0123456789.,'", "t▁", "t▁s"])}
    made = library.Tokenizer(library.models.BPE(letters, [("t", "▁"), ("t▁", "s")], unk_token="<unk>"))  # noqa: S106 - a token of text
    made.normalizer = library.normalizers.Replace(" ", "▁")
    return open_tokenizer({"tokenizer.json": bytes(made.to_str(), "utf-8")})
