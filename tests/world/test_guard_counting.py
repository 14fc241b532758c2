"""How many tokens a request has: as the model's own tokeniser and template say, and never more than the bound."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.vocabularies import smollm2, smollm2_metadata

from ullage import wire
from ullage.errors import InputError
from ullage.text.chat import chat_template_from_gguf, render
from ullage.world.proxy import asked
from ullage.world.proxy.asked import CHAT, COMPLETIONS, EMBEDDINGS
from ullage.world.proxy.counting import LONG_CHARACTERS, SPARE_CHARACTERS, Count, PromptCounter, counter_of

BOUND = PromptCounter()


def read(path: str, **document: object) -> asked.Asked:
    return asked.read(path, wire.dumps(document).encode())  # type: ignore[arg-type]


def exact() -> PromptCounter:
    return counter_of({}, smollm2_metadata(), 0)


def test_a_chat_has_the_tokens_of_its_rendered_text() -> None:
    messages = [{"role": "system", "content": "Be short."}, {"role": "user", "content": "How long is a piece of string? ä 中"}]
    template = chat_template_from_gguf(smollm2_metadata())
    assert template is not None
    whole = render(template, messages, bos_token="<|im_start|>", eos_token="<|im_end|>")  # noqa: S106 - tokens of a text
    assert exact().count(read(CHAT, messages=messages, n=3)) == Count((len(smollm2().encode(whole)),) * 3, True)


def test_texts_and_token_ids_are_counted_each_for_itself() -> None:
    counter = exact()
    one, two = (len(smollm2().encode(text, add_special=True)) for text in ("one text", "and another"))
    assert counter.count(read(COMPLETIONS, prompt=["one text", "and another"], n=2)).prompts == (one, two, one, two)
    assert counter.count(read(COMPLETIONS, prompt=[[1, 2, 3], [4]])) == Count((3, 1), True)
    assert BOUND.count(read(EMBEDDINGS, input=[5, 6, 7])) == Count((3,), True)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(max_size=80), min_size=1, max_size=4))
def test_the_bound_is_never_passed(texts: list[str]) -> None:
    texts = [text.encode(errors="replace").decode() for text in texts]
    messages = [{"role": ("user", "assistant")[index % 2], "content": text} for index, text in enumerate(texts)]
    for request in (read(CHAT, messages=messages), read(COMPLETIONS, prompt=texts)):
        bound, count = BOUND.count(request), exact().count(request)
        assert not bound.is_exact
        assert count.is_exact
        assert all(most >= tokens for most, tokens in zip(bound.prompts, count.prompts, strict=True))


def test_images_make_a_count_a_bound_and_their_bytes_are_no_words() -> None:
    parts = [{"type": "text", "text": "see"}, {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 100_000}}]
    count = PromptCounter(tokenizer=smollm2(), template="{{ messages }}", item_tokens=576).count(
        read(CHAT, messages=[{"role": "user", "content": parts}])
    )
    assert not count.is_exact
    assert 576 < count.prompts[0] < 2000


def test_a_template_that_does_not_take_the_messages_leaves_the_answer_to_the_engine() -> None:
    counter = PromptCounter(tokenizer=smollm2(), template="{{ raise_exception('roles must alternate') }}")
    assert not counter.count(read(CHAT, messages=[{"role": "user", "content": "x"}])).is_exact


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens", "n_predict"])
def test_the_length_of_an_answer_is_read_and_written_under_the_name_it_has(name: str) -> None:
    found = read(COMPLETIONS, prompt="x", **{name: 90})
    assert found.answer_tokens == 90
    assert wire.loads(asked.with_length(found, 7)) == {"prompt": "x", name: 7}
    assert wire.loads(asked.with_length(read(COMPLETIONS, prompt="x"), 7)) == {"prompt": "x", "max_tokens": 7}


JSON = st.recursive(
    st.none() | st.integers(-1, 9) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(("role", "content", "type", "text")), inner, max_size=3),
)


@given(
    st.binary(max_size=40)
    | st.dictionaries(st.sampled_from(("prompt", "input", "messages")), JSON).map(lambda one: wire.dumps(one).encode())
)
def test_any_bytes_are_a_request_or_a_refusal(body: bytes) -> None:
    for path in asked.GATED:
        try:
            found = asked.read(path, body)
        except InputError:
            continue
        assert BOUND.count(found).prompts


def test_a_response_is_counted_as_the_chat_it_is_and_its_length_has_its_own_name() -> None:
    parts = [{"type": "input_text", "text": "one two"}, {"type": "input_image", "image_url": "data:x"}]
    plain = asked.read(asked.RESPONSES, b'{"input": "one two three", "instructions": "be brief", "max_output_tokens": 9}')
    assert [(turn["role"], turn["content"]) for turn in plain.messages] == [("system", "be brief"), ("user", "one two three")]
    assert (plain.answer_tokens, plain.items) == (9, 0)
    assert wire.loads(asked.with_length(plain, 4)) == {"input": "one two three", "instructions": "be brief", "max_output_tokens": 4}
    listed = asked.read(asked.RESPONSES, wire.dumps({"input": [{"role": "user", "content": parts}]}).encode())  # type: ignore[dict-item]
    assert (listed.items, listed.answer_tokens) == (1, None)
    assert listed.messages[0]["content"][0] == {"type": "text", "text": "one two"}


def test_a_response_with_calls_of_tools_is_bounded_with_what_they_said() -> None:
    turns = [
        {"role": "user", "content": "how warm is it"},
        {"type": "function_call", "name": "warmth", "arguments": "{}", "call_id": "c1"},
        {"type": "function_call_output", "call_id": "c1", "output": "very " * 500},
    ]
    count = exact().count(read(asked.RESPONSES, input=turns))
    assert not count.is_exact
    assert count.prompts[0] > 2500


@pytest.mark.parametrize(
    ("body", "word"),
    [(b'{"input": "x", "previous_response_id": "r1"}', "previous_response_id"), (b'{"input": []}', "input"), (b"{}", "input")],
)
def test_a_response_that_nobody_here_can_count_is_refused_with_the_reason(body: bytes, word: str) -> None:
    with pytest.raises(InputError, match=word):
        asked.read(asked.RESPONSES, body)


def test_of_a_text_that_can_never_fit_no_more_is_counted_than_tells_so() -> None:
    """All of it would take more memory than the guard has: a token takes some 250 bytes while it is counted."""
    counter, longest = exact(), 100
    words = "word " * SPARE_CHARACTERS
    found = counter.count(read(COMPLETIONS, prompt=words), longest)
    assert found.is_least
    assert longest < found.prompts[0] < len(words) // 5 // 2
    assert not counter.count(read(COMPLETIONS, prompt=words)).is_least


def test_a_long_text_of_few_tokens_is_counted_to_its_end() -> None:
    words = " " * (100 * LONG_CHARACTERS + 2 * SPARE_CHARACTERS)
    whole = len(smollm2().encode(words, add_special=True))
    assert exact().count(read(COMPLETIONS, prompt=words), whole) == Count((whole,), True)
