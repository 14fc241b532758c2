"""Tokenisers from model folders and GGUF metadata."""

import base64
import sys

import pytest
from tests.vocabularies import byte_fallback, byte_level, smollm2, smollm2_metadata, spm_metadata

from ullage.errors import InputError, MalformedFileError, UnsupportedModelError, WorldError
from ullage.text._cuts import _CUTS
from ullage.text.estimate import estimate_tokens
from ullage.text.opening import open_tokenizer, tokenizer_from_gguf
from ullage.wire import dumps

BYTES = [bytes([byte]) for byte in range(256)]
PIECES = [*BYTES, b"he", b"ll", b"hell", b"hello", "é".encode(), "你".encode(), " 你".encode()]
RANKS = b"\n".join(base64.b64encode(piece) + b" %d" % rank for rank, piece in enumerate(PIECES))


def folder(**settings: object) -> dict[str, bytes]:
    """The files of a folder whose vocabulary is the small byte-level one."""
    files = {"tokenizer.json": byte_level()._backend.to_str().encode()}
    return files | {f"{name}.json": dumps(value).encode() for name, value in settings.items()}  # type: ignore[arg-type] # it is JSON


def test_a_folder_gives_the_ids_that_end_an_answer_from_both_its_files() -> None:
    one = open_tokenizer(folder(generation_config={"eos_token_id": [3, 5]}, tokenizer_config={"eos_token": {"content": "<|end|>"}}))
    assert one.eos_ids == {0, 3, 5}
    assert open_tokenizer(folder(special_tokens_map={"bos_token": "<|end|>"})).bos_id == 0
    assert open_tokenizer(folder(tokenizer_config={"bos_token": None})).bos_id is None


def test_config_json_says_what_ends_an_answer_where_no_generation_config_does() -> None:
    assert open_tokenizer(folder(config={"eos_token_id": 7})).eos_ids == {7}
    assert open_tokenizer(folder(config={"eos_token_id": 7}, generation_config={"eos_token_id": 8})).eos_ids == {8}


def test_names_of_special_tokens_are_letters_in_a_strangers_text() -> None:
    tokenizer = byte_level()
    assert tokenizer.encode("<|end|>") == [0]
    letters = tokenizer.encode("<|end|>", special=False)
    assert len(letters) > 1
    assert tokenizer.decode(letters) == "<|end|>"
    assert tokenizer.encode_batch(["<|end|>", "a"], special=False) == [letters, tokenizer.encode("a")]


def test_half_a_surrogate_pair_is_no_text() -> None:
    for ask in (byte_level().encode, byte_level().count):
        with pytest.raises(InputError, match="surrogate"):
            ask(["\ud800"] if ask == byte_level().count else "\ud800")  # type: ignore[arg-type,operator] # each takes its own


def test_counting_is_the_length_of_encoding() -> None:
    for tokenizer in (byte_level(), byte_fallback()):
        texts = ["", "The quick brown fox", "你好", "a<|end|>b"]
        assert tokenizer.count(texts) == [len(tokenizer.encode(text)) for text in texts]


def test_what_surrounds_a_text_comes_only_when_asked_for() -> None:
    plain = byte_fallback().encode("the")
    assert byte_fallback().encode("the", add_special=True) == [1, *plain]
    both = tokenizer_from_gguf(spm_metadata(**{"tokenizer.ggml.add_eos_token": True}))
    assert both.encode("the", add_special=True) == [1, *plain, 2]
    neither = tokenizer_from_gguf(spm_metadata(**{"tokenizer.ggml.add_bos_token": False}))
    assert neither.encode("the", add_special=True) == plain


def test_pieces_merge_by_score_and_what_no_piece_has_falls_back_to_bytes() -> None:
    tokenizer = byte_fallback()
    ids = tokenizer.encode("the 龘<tool>")
    spelt = [tokenizer.token_bytes(token) for token in ids]
    assert spelt == [b" the", b" ", *(bytes([byte]) for byte in "龘".encode()), b"<tool>"]
    assert tokenizer.decode(ids) == "the 龘<tool>"


def test_a_vocabulary_without_a_space_before_the_text_keeps_none() -> None:
    tokenizer = tokenizer_from_gguf(spm_metadata(**{"tokenizer.ggml.add_space_prefix": False}))
    assert tokenizer.token_bytes(tokenizer.encode("the")[0])[:1] != b" "  # type: ignore[index] # it has bytes
    assert tokenizer.decode(tokenizer.encode(" the")) == " the"


def test_digits_stand_alone_in_the_real_vocabulary_as_its_cut_says() -> None:
    tokenizer = smollm2()
    assert [tokenizer.decode([token]) for token in tokenizer.encode(" 1 22  333")] == [" ", "1", " ", "2", "2", "  ", "3", "3", "3"]
    assert (tokenizer.vocab_size, tokenizer.bos_id, tokenizer.eos_ids) == (49152, 1, {2})
    assert tokenizer.encode("<|im_start|>user\n") == [1, 4093, 198]


@pytest.mark.parametrize("name", sorted(_CUTS))
def test_every_cut_is_a_pattern_that_the_library_reads_and_loses_no_text(name: str) -> None:
    metadata = smollm2_metadata() | {"tokenizer.ggml.pre": name}
    small = {key: metadata[key][:600] if key.endswith(("tokens", "token_type")) else metadata[key] for key in metadata}
    tokenizer = tokenizer_from_gguf(small | {"tokenizer.ggml.merges": metadata["tokenizer.ggml.merges"][:300]})
    text = "Hello WORLD's naïve 12345 foo_bar();\n\n  x\t!?"
    assert tokenizer.decode(tokenizer.encode(text)) == text


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"tokenizer.ggml.model": "t5"}, "'t5'"),
        ({"tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "brand-new"}, "'brand-new'"),
        ({"tokenizer.ggml.model": "gpt2"}, "'None'"),
    ],
)
def test_an_unknown_vocabulary_is_refused_by_name(change: dict[str, object], word: str) -> None:
    with pytest.raises(UnsupportedModelError, match=word):
        tokenizer_from_gguf(spm_metadata(**change))


@pytest.mark.parametrize(
    "change",
    [
        {"tokenizer.ggml.tokens": {"length": 9}},
        {"tokenizer.ggml.scores": [0.0]},
        {"tokenizer.ggml.token_type": [1]},
        {"tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "gpt-2", "tokenizer.ggml.merges": ["zz qq"]},
    ],
)
def test_arrays_that_do_not_belong_together_are_malformed(change: dict[str, object]) -> None:
    with pytest.raises(MalformedFileError, match=r"tokenizer\.ggml\."):
        tokenizer_from_gguf(spm_metadata(**change))


def test_a_file_of_ranks_is_read_as_its_class_does() -> None:
    config = {"tokenizer_class": "QWenTokenizer"}
    tokenizer = open_tokenizer({"qwen.tiktoken": RANKS, "tokenizer_config.json": dumps(config).encode()})
    first = len(PIECES)
    assert tokenizer.encode("hello<|im_end|>") == [PIECES.index(b"hello"), first + 2]
    assert tokenizer.encode("e\u0301") == [PIECES.index("é".encode())]
    assert tokenizer.eos_ids == {first, first + 2}
    ids = tokenizer.encode("hello 你 🇩🇪 <|im_start|>")
    assert tokenizer.decode(ids) == "hello 你 🇩🇪 "
    assert tokenizer.decode(ids, skip_special=False) == "hello 你 🇩🇪 <|im_start|>"
    assert tokenizer.decode(tokenizer.encode("<|im_end|>", special=False)) == "<|im_end|>"
    stream = tokenizer.stream()
    assert "".join([*map(stream.push, ids), stream.finish()]) == tokenizer.decode(ids)
    assert tokenizer.count(["hello", ""]) == [1, 0]
    assert tokenizer.token_bytes(first + 1) == b"<|im_start|>"


def test_special_tokens_of_a_file_of_ranks_have_the_names_that_the_configuration_gives() -> None:
    first = len(PIECES)
    named = {str(first): {"content": "[BOS]"}, str(first + 3): {"content": "<|im_end|>"}}
    config = {"tokenizer_class": "TikTokenTokenizer", "added_tokens_decoder": named, "eos_token": "<|im_end|>"}
    tokenizer = open_tokenizer({"tiktoken.model": RANKS, "tokenizer_config.json": dumps(config).encode()})  # type: ignore[arg-type] # JSON
    assert (tokenizer.bos_id, tokenizer.eos_ids, tokenizer.vocab_size) == (first, {first + 3}, first + 256)
    assert tokenizer.encode(f"[BOS]<|reserved_token_{first + 1}|>") == [first, first + 1]


@pytest.mark.parametrize(
    ("files", "word"),
    [
        ({"tokenizer.model": b""}, "tokenizer.model"),
        ({}, "no tokeniser"),
        ({"x.tiktoken": RANKS, "tokenizer_config.json": b'{"tokenizer_class": "NewTokenizer"}'}, "NewTokenizer"),
    ],
)
def test_a_folder_that_is_not_read_is_refused_with_what_to_do(files: dict[str, bytes], word: str) -> None:
    with pytest.raises(UnsupportedModelError, match=rf"{word}.*tokenizer\.json"):
        open_tokenizer(files)


@pytest.mark.parametrize(
    "files",
    [
        {"tokenizer.json": b"{}"},
        {"tokenizer.json": b"\xff"},
        {"tokenizer_config.json": b"[]", "tokenizer.json": b"{}"},
        {"x.tiktoken": b"!!! 1", "tokenizer_config.json": b'{"tokenizer_class": "QWenTokenizer"}'},
        {"x.tiktoken": b"YQ==", "tokenizer_config.json": b'{"tokenizer_class": "QWenTokenizer"}'},
    ],
)
def test_broken_files_are_said_to_be_broken(files: dict[str, bytes]) -> None:
    with pytest.raises(MalformedFileError):
        open_tokenizer(files)


def test_a_missing_library_is_named_with_the_extra_that_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(WorldError, match=r"tokenizers.*pip install 'ullage\[runtime\]'"):
        open_tokenizer({"tokenizer.json": b"{}"})


def test_an_estimate_holds_for_every_script_of_the_real_vocabulary() -> None:
    for text in ("The quick brown fox jumps over the lazy dog. " * 20, "你好世界" * 50, "x = [1, 2, 3]\n" * 30):
        size = len(text.encode())
        low, expected, high = estimate_tokens(size)
        assert low <= smollm2().count([text])[0] <= high
        assert low <= expected <= high
    assert estimate_tokens(0) == (0, 0, 0)
