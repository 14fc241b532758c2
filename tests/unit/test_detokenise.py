"""Streaming detokenisation: what a reader of the stream sees, on every kind of vocabulary."""

import pytest
from tests.vocabularies import BYTE_KINDS, KINDS, OTHER_KINDS, TEXTS, byte_fallback, byte_level, smollm2, word_piece

from ullage.text.detokenise import ByteDetokeniser
from ullage.text.tokenizer import Tokenizer


def streamed(tokenizer: Tokenizer, ids: list[int], *, skip_special: bool = True) -> str:
    stream = tokenizer.stream(skip_special=skip_special)
    return "".join([*map(stream.push, ids), stream.finish()])


@pytest.mark.parametrize("script", TEXTS)
@pytest.mark.parametrize("kind", KINDS)
def test_the_stream_of_a_text_is_its_whole_decoding(kind: str, script: str) -> None:
    tokenizer = KINDS[kind]()
    ids = tokenizer.encode(TEXTS[script])
    assert streamed(tokenizer, ids) == tokenizer.decode(ids)


@pytest.mark.parametrize("script", TEXTS)
@pytest.mark.parametrize("kind", BYTE_KINDS)
def test_a_text_comes_back_as_it_was_and_no_step_shows_half_a_character(kind: str, script: str) -> None:
    tokenizer, text = BYTE_KINDS[kind](), TEXTS[script]
    stream, ids = tokenizer.stream(), tokenizer.encode(text)
    assert isinstance(stream, ByteDetokeniser)
    steps = []
    for token in ids:
        steps.append(stream.push(token))
        assert stream.held_bytes <= 3
    assert "\N{REPLACEMENT CHARACTER}" not in "".join(steps)
    assert ("".join(steps), stream.finish()) == (text, "")


@pytest.mark.parametrize("kind", BYTE_KINDS)
def test_every_character_is_shown_with_the_token_that_completes_it(kind: str) -> None:
    tokenizer = BYTE_KINDS[kind]()
    stream, shown, sent = tokenizer.stream(), "", b""
    for token in tokenizer.encode(TEXTS["joined emoji"]):
        sent += tokenizer.token_bytes(token) or b""
        shown += stream.push(token)
        assert shown == sent.removeprefix(b" " if kind == "byte-fallback" else b"").decode("utf-8", "ignore")


@pytest.mark.parametrize("kind", OTHER_KINDS)
def test_vocabularies_without_bytes_say_so(kind: str) -> None:
    assert OTHER_KINDS[kind]().token_bytes(5) is None


def test_an_unfinished_character_is_flushed_as_one_replacement() -> None:
    tokenizer = byte_level()
    ids = [token for token in range(tokenizer.vocab_size) if tokenizer.token_bytes(token) in {b"\xf0", b"\x9f"}]
    ids.sort(key=lambda token: tokenizer.token_bytes(token) or b"", reverse=True)
    stream = tokenizer.stream()
    assert [stream.push(token) for token in ids] == ["", ""]
    assert stream.finish() == "\N{REPLACEMENT CHARACTER}"
    assert stream.finish() == ""


def test_special_tokens_are_skipped_or_shown_by_name() -> None:
    tokenizer = byte_level()
    ids = tokenizer.encode("a<|end|>b<think>")
    assert streamed(tokenizer, ids) == "ab<think>"
    assert streamed(tokenizer, ids, skip_special=False) == "a<|end|>b<think>"


def test_an_added_token_is_text_even_where_its_letters_mean_other_bytes() -> None:
    tokenizer = byte_level()
    [token] = tokenizer.encode("Zoë")
    assert tokenizer.token_bytes(token) == "Zoë".encode()
    assert streamed(tokenizer, [token]) == "Zoë"


def test_numbers_that_no_token_has_are_no_text() -> None:
    for make in (byte_level, byte_fallback, word_piece):
        tokenizer = make()
        ids = [tokenizer.vocab_size, -1, *tokenizer.encode("a"), 1 << 40]
        assert streamed(tokenizer, ids) == tokenizer.decode(ids) == "a"


def test_the_space_before_a_text_is_dropped_and_the_space_after_a_prompt_kept() -> None:
    tokenizer = byte_fallback()
    ids = tokenizer.encode("the")
    assert tokenizer.token_bytes(ids[0])[:1] == b" "  # type: ignore[index] # it has bytes
    assert streamed(tokenizer, ids) == "the"
    after = tokenizer.stream(prompt_ids=tokenizer.encode("and"))
    assert "".join(map(after.push, ids)) == " the"
    only_special = tokenizer.stream(prompt_ids=[1])
    assert "".join(map(only_special.push, ids)) == "the"


def test_a_character_that_the_prompt_began_is_completed_in_the_answer() -> None:
    tokenizer = smollm2()
    ids = tokenizer.encode("ok 龘")
    assert tokenizer.decode(ids[:-1]).endswith("\N{REPLACEMENT CHARACTER}")
    stream = tokenizer.stream(prompt_ids=ids[:-1])
    assert stream.push(ids[-1]) == "龘"


def test_a_prompt_before_a_vocabulary_without_bytes_keeps_the_space() -> None:
    tokenizer = OTHER_KINDS["Metaspace"]()
    stream = tokenizer.stream(prompt_ids=tokenizer.encode("The quick"))
    assert "".join([*map(stream.push, tokenizer.encode("brown fox")), stream.finish()]) == " brown fox"
