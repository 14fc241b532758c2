"""A tokeniser from the metadata of a GGUF file: its pieces, merges or scores, and the name of its pre-tokeniser."""

from collections.abc import Mapping, Sequence
from typing import Any

from ullage.errors import MalformedFileError, UnsupportedModelError
from ullage.text._cuts import cut_of
from ullage.text._library import LibraryTokenizer
from ullage.text._optional import library
from ullage.text.tokenizer import Tokenizer

_PREFIX = "tokenizer.ggml."
_NORMAL, _UNKNOWN, _CONTROL, _USER_DEFINED, _UNUSED, _BYTE = 1, 2, 3, 4, 5, 6
_ENDS = ("eos_token_id", "eot_token_id", "eom_token_id")
_SPACE = "\u2581"


class _Vocabulary:
    """The arrays of one file, checked against each other."""

    def __init__(self, metadata: Mapping[str, object]) -> None:
        self._metadata = metadata
        self.pieces: Sequence[str] = self._array("tokens", str)
        kinds = self._array("token_type", int) if self.get("token_type") is not None else [_NORMAL] * len(self.pieces)
        if len(kinds) != len(self.pieces):
            raise MalformedFileError(f"{_PREFIX}token_type has {len(kinds)} entries for {len(self.pieces)} tokens")
        self.kinds: Sequence[int] = kinds
        self.ids: dict[str, int] = {piece: token for token, piece in reversed(list(enumerate(self.pieces)))}

    def get(self, key: str) -> object:
        return self._metadata.get(_PREFIX + key)

    def _array(self, key: str, kind: type) -> Any:
        found = self.get(key)
        if not isinstance(found, list | tuple) or not all(isinstance(item, kind) for item in found):
            raise MalformedFileError(f"{_PREFIX}{key} is no whole array of {kind.__name__}: read the file with its arrays")
        return found

    def merges(self) -> list[tuple[str, str]]:
        pairs = [(line[:cut], line[cut + 1 :]) for line in self._array("merges", str) if (cut := line.find(" ", 1)) > 0]
        strange = next((pair for pair in pairs if not {*pair, "".join(pair)} <= self.ids.keys()), None)
        if strange:
            raise MalformedFileError(f"{_PREFIX}merges has {' '.join(strange)[:60]!r}, whose pieces are no tokens")
        return pairs

    def merges_of_scores(self) -> list[tuple[str, str]]:
        """Every way to put a piece together from two others, best score first: the order in which SentencePiece merges."""
        scores = self._array("scores", int | float)  # type: ignore[arg-type] # isinstance takes a union
        if len(scores) != len(self.pieces):
            raise MalformedFileError(f"{_PREFIX}scores has {len(scores)} entries for {len(self.pieces)} tokens")
        known = {piece: token for piece, token in self.ids.items() if self.kinds[token] in (_NORMAL, _USER_DEFINED, _UNUSED)}
        found = []
        for piece, token in known.items():
            if self.kinds[token] != _NORMAL:
                continue
            for cut in range(1, len(piece)):
                left, right = known.get(piece[:cut]), known.get(piece[cut:])
                if left is not None and right is not None:
                    found.append((-scores[token], token, left, right))
        found.sort()
        return [(self.pieces[left], self.pieces[right]) for _, _, left, right in found]

    def token(self, key: str) -> int | None:
        found = self.get(key)
        return found if type(found) is int and 0 <= found < len(self.pieces) else None


def tokenizer_from_gguf(metadata: Mapping[str, object]) -> Tokenizer:
    """The tokeniser of metadata with whole arrays. Raises UnsupportedModelError naming a value, and MalformedFileError."""
    words = _Vocabulary(metadata)
    build = {"gpt2": _byte_level, "llama": _byte_fallback}.get(str(words.get("model")))
    if build is None:
        raise UnsupportedModelError(
            f"{_PREFIX}model is {str(words.get('model'))[:60]!r}; gpt2 and llama are known: put the model's tokenizer.json beside the file"
        )
    tokenizers = library("tokenizers", "reading a GGUF file's vocabulary")
    backend, begins = build(tokenizers, words)
    for kind, add in ((_CONTROL, backend.add_special_tokens), (_USER_DEFINED, backend.add_tokens)):
        add([tokenizers.AddedToken(words.pieces[at], normalized=False) for at, own in enumerate(words.kinds) if own == kind])
    bos = words.token("bos_token_id")
    _surround(tokenizers, backend, words, begins=begins)
    ends = frozenset(token for key in _ENDS if (token := words.token(key)) is not None)
    return LibraryTokenizer(backend, eos_ids=ends, bos_id=bos)


def _byte_level(tokenizers: Any, words: _Vocabulary) -> tuple[Any, bool]:
    cut = cut_of(words.get("pre"))
    backend = tokenizers.Tokenizer(tokenizers.models.BPE(vocab=words.ids, merges=words.merges(), ignore_merges=cut.whole_first))
    steps = [tokenizers.pre_tokenizers.Split(tokenizers.Regex(pattern), behavior="isolated") for pattern in cut.patterns]
    steps.append(tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False))
    backend.pre_tokenizer = tokenizers.pre_tokenizers.Sequence(steps)
    backend.decoder = tokenizers.decoders.ByteLevel()
    return backend, cut.begins


def _byte_fallback(tokenizers: Any, words: _Vocabulary) -> tuple[Any, bool]:
    unknown = words.token("unknown_token_id")
    unknown = next((at for at, kind in enumerate(words.kinds) if kind == _UNKNOWN), None) if unknown is None else unknown
    model = tokenizers.models.BPE(
        vocab=words.ids,
        merges=words.merges_of_scores(),
        unk_token=None if unknown is None else words.pieces[unknown],
        fuse_unk=True,
        byte_fallback=_BYTE in words.kinds,
    )
    backend = tokenizers.Tokenizer(model)
    prefixed = words.get("add_space_prefix") is not False
    normalise, decode = tokenizers.normalizers, tokenizers.decoders
    backend.normalizer = normalise.Sequence([normalise.Prepend(_SPACE)] * prefixed + [normalise.Replace(" ", _SPACE)])
    backend.decoder = decode.Sequence(
        [decode.Replace(_SPACE, " "), decode.ByteFallback(), decode.Fuse()] + [decode.Strip(" ", 1, 0)] * prefixed
    )
    return backend, True


def _surround(tokenizers: Any, backend: Any, words: _Vocabulary, *, begins: bool) -> None:
    """What the model wants around a text that is not a chat."""
    said = words.get("add_bos_token")
    first = words.token("bos_token_id") if (begins if said is None else said is True) else None
    last = words.token("eos_token_id") if words.get("add_eos_token") is True else None
    around = {name: token for name, token in (("first", first), ("last", last)) if token is not None}
    if around:
        template = [*(["first"] if "first" in around else []), "$A", *(["last"] if "last" in around else [])]
        backend.post_processor = tokenizers.processors.TemplateProcessing(single=template, special_tokens=list(around.items()))
