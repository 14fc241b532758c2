import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.text_models import byte_level, spaced

from ullage.text.boundaries import boundaries
from ullage.text.remembered import RememberedCount
from ullage.text.tokenizer import Tokenizer

TEXTS = [
    "the cat sat on the mat",
    "the the the",
    "",
    " ",
    "a  b",
    "x = 1 + the 2",
    "中文 and the 😀 emoji",
    "it's the cat\n\n the end ",
    "the<|end|> cat",
]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return byte_level()


def test_words_are_counted_as_the_tokenizer_counts_texts(tokenizer: Tokenizer) -> None:
    count = RememberedCount(tokenizer.count, ["<|end|>"])
    assert count.is_by_words
    for _ in range(3):
        assert count(TEXTS) == tokenizer.count(TEXTS)


@given(st.lists(st.text(alphabet=st.sampled_from("the cat \n中é😀.,'1<|end|>"), max_size=40), max_size=8))
def test_any_text_has_its_own_count(texts: list[str]) -> None:
    tokenizer = byte_level()
    count = RememberedCount(tokenizer.count, ["<|end|>"])
    assert count(texts) == tokenizer.count(texts) == count(texts)


def test_a_vocabulary_that_joins_words_is_asked_for_whole_texts() -> None:
    joined = spaced()
    count = RememberedCount(joined.count)
    assert not count.is_by_words
    assert count(TEXTS) == joined.count(TEXTS)


def test_a_count_found_wrong_on_the_way_ends_the_remembering() -> None:
    def moody(texts: list[str]) -> list[int]:
        return [0 if "cat sat" in text else len(text.split()) for text in texts]

    count = RememberedCount(moody)  # type: ignore[arg-type]
    assert count.is_by_words
    assert count(TEXTS) == moody(TEXTS)
    assert not count.is_by_words


@given(st.text(alphabet=st.sampled_from("the cat \n中é😀🇩🇪👩‍👩ก"), max_size=40))
def test_a_cut_is_between_tokens_and_between_characters(text: str) -> None:
    tokenizer = byte_level()
    ends = boundaries(tokenizer, text)
    assert ends[0] == 0
    assert ends[-1] == len(text)
    assert list(ends) == sorted(set(ends)) or not text
    ids, at = tokenizer.encode(text, special=False), 0
    starts = {0}
    for token in ids:
        at += len(tokenizer.token_bytes(token) or b"")
        starts.add(at)
    assert all(len(text[:end].encode()) in starts for end in ends)
