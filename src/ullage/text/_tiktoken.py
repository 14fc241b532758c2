"""Vocabularies kept as lists of byte strings with their ranks, read by ``tiktoken``.

Such a file says neither how text is cut nor which special tokens there are; both belong to the class that ``tokenizer_config.json`` names.
"""

from binascii import Error as NotBase64Error
from binascii import a2b_base64
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple
from unicodedata import normalize

from ullage.domain.hyperparameters import Json
from ullage.errors import MalformedFileError, UnsupportedModelError
from ullage.text._cuts import KIMI, QWEN
from ullage.text._optional import library
from ullage.text._tables import ByteTables
from ullage.text.tokenizer import Detokeniser, Tokenizer


class Dialect(NamedTuple):
    """What the classes that read such files add to them: the cut, the special tokens behind the last rank, and a normal form."""

    pattern: str
    names: Callable[[int], tuple[str, ...]]
    normal_form: str = ""
    ends: tuple[str, ...] = ()


def _qwen_names(_first: int) -> tuple[str, ...]:
    return ("<|endoftext|>", "<|im_start|>", "<|im_end|>", *(f"<|extra_{number}|>" for number in range(205)))


def _kimi_names(first: int) -> tuple[str, ...]:
    return tuple(f"<|reserved_token_{token}|>" for token in range(first, first + 256))


_DIALECTS = {
    "QWenTokenizer": Dialect(QWEN, _qwen_names, normal_form="NFC", ends=("<|endoftext|>", "<|im_end|>")),
    "TikTokenTokenizer": Dialect(KIMI, _kimi_names),
}


class RankTokenizer:
    """A ``tiktoken.Encoding`` behind our interface."""

    def __init__(self, encoding: Any, specials: Mapping[str, int], *, shape: Callable[[str], str], eos_ids: frozenset[int]) -> None:
        self._encoding = encoding
        self._shape = shape
        self.special_ids = frozenset(specials.values())
        self.eos_ids = eos_ids
        self.bos_id: int | None = specials.get("[BOS]")
        self.vocab_size: int = encoding.n_vocab

    def encode(self, text: str, *, special: bool = True, add_special: bool = False) -> list[int]:
        """As the protocol says; these models want nothing around a text."""
        return self.encode_batch([text], special=special, add_special=add_special)[0]

    def encode_batch(self, texts: Sequence[str], *, special: bool = True, add_special: bool = False) -> list[list[int]]:
        """As the protocol says; these models want nothing around a text."""
        del add_special
        shaped = [self._shape(text) for text in texts]
        allowed = self._encoding.special_tokens_set if special else set()
        found: list[list[int]] = self._encoding.encode_batch(shaped, allowed_special=allowed, disallowed_special=())
        return found

    def count(self, texts: Sequence[str]) -> list[int]:
        """As the protocol says."""
        return [len(ids) for ids in self.encode_batch(texts)]

    def decode(self, ids: Iterable[int], *, skip_special: bool = True) -> str:
        """As the protocol says."""
        return self._tables.decode(ids, skip_special=skip_special)

    def token_bytes(self, token: int) -> bytes | None:
        """As the protocol says."""
        return self._tables.bytes_of(token)

    def stream(self, *, skip_special: bool = True, prompt_ids: Sequence[int] = ()) -> Detokeniser:
        """As the protocol says."""
        return self._tables.stream(skip_special=skip_special, prompt_ids=prompt_ids)

    @cached_property
    def _tables(self) -> ByteTables:
        return ByteTables([self._bytes(token) for token in range(self.vocab_size)], self.special_ids)

    def _bytes(self, token: int) -> bytes:
        try:
            found: bytes = self._encoding.decode_single_token_bytes(token)
        except KeyError:  # a number that no token has
            return b""
        return found


def tokenizer_from_ranks(data: bytes, config: Mapping[str, Json], ends: Iterable[int]) -> Tokenizer:
    """The tokeniser of a ``.tiktoken`` file. Raises UnsupportedModelError naming an unknown ``tokenizer_class``, and MalformedFileError."""
    name = str(config.get("tokenizer_class"))
    dialect = _DIALECTS.get(name)
    if dialect is None:
        raise UnsupportedModelError(
            f"tokenizer_class is {name[:60]!r}, which says how a .tiktoken file cuts text; known are {', '.join(_DIALECTS)}: "
            "put the model's tokenizer.json into the folder"
        )
    ranks = _ranks(data)
    first = 1 + max(ranks.values(), default=-1)
    names = dict(enumerate(dialect.names(first), first)) | _added(config)
    specials = {word: token for token, word in names.items()}
    tiktoken = library("tiktoken", "reading a .tiktoken file", "pip install tiktoken")
    encoding = tiktoken.Encoding(name=name, pat_str=dialect.pattern, mergeable_ranks=ranks, special_tokens=specials)
    known = (specials.get(word) for word in (*dialect.ends, str(config.get("eos_token"))))
    eos_ids = frozenset((*ends, *(token for token in known if token is not None)))
    return RankTokenizer(encoding, specials, shape=lambda text: _shaped(text, dialect.normal_form), eos_ids=eos_ids)


def _shaped(text: str, form: str) -> str:
    return normalize("NFC", text) if form == "NFC" else text


def _ranks(data: bytes) -> dict[bytes, int]:
    found: dict[bytes, int] = {}
    for number, line in enumerate(data.splitlines(), 1):
        if not line.strip():
            continue
        try:
            word, rank = line.split()
            found[a2b_base64(word, strict_mode=True)] = int(rank)
        except (ValueError, NotBase64Error) as error:
            raise MalformedFileError(f"line {number} of the vocabulary is no base64 word with a rank: {line[:40]!r}") from error
    return found


def _added(config: Mapping[str, Json]) -> dict[int, str]:
    """Special tokens that the configuration names, by their ids."""
    said = config.get("added_tokens_decoder")
    entries = said.items() if isinstance(said, dict) else ()
    words = {int(token): entry.get("content") for token, entry in entries if isinstance(entry, dict) and token.isdecimal()}
    return {token: word for token, word in words.items() if isinstance(word, str)}
