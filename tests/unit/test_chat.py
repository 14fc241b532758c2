"""Chat templates, with what Hugging Face's own expect of their surroundings."""

from datetime import UTC, datetime

import pytest
from tests.vocabularies import smollm2, smollm2_metadata

from ullage.errors import InputError, MalformedFileError
from ullage.text.chat import chat_template, chat_template_from_gguf, render
from ullage.wire import dumps

HELLO = [{"role": "user", "content": "Hällo"}]


def test_the_real_models_template_gives_the_text_it_was_trained_on() -> None:
    template = chat_template_from_gguf(smollm2_metadata())
    assert template is not None
    text = render(template, HELLO)
    assert text == (
        "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
        "<|im_start|>user\nHällo<|im_end|>\n<|im_start|>assistant\n"
    )
    assert render(template, HELLO, add_generation_prompt=False) == text.removesuffix("<|im_start|>assistant\n")
    tokenizer = smollm2()
    assert [token for token in tokenizer.encode(text) if token in tokenizer.special_ids] == [1, 2, 1, 2, 1]


def test_blocks_leave_no_lines_or_indents_behind() -> None:
    template = "{% for m in messages %}\n    {% if true %}\n{{ m.content }}|\n    {% endif %}\n{% endfor %}"
    assert render(template, HELLO) == "Hällo|\n"


def test_json_keeps_letters_order_and_takes_an_indent() -> None:
    tool = {"name": "grüße", "args": {"b": 1, "a": "<&>"}}
    assert render("{{ tools[0] | tojson }}", [], tools=[tool]) == '{"name": "grüße", "args": {"b": 1, "a": "<&>"}}'
    assert render("{{ tools[0] | tojson(indent=1) }}", [], tools=[{"a": 1}]) == '{\n "a": 1\n}'
    assert render("{{ x | tojson(separators=(',', ':'), sort_keys=true) }}", [], x={"b": 1, "a": 2}) == '{"a":2,"b":1}'


def test_the_names_that_templates_use_are_there() -> None:
    when = datetime(2026, 11, 21, tzinfo=UTC)
    words = {"bos_token": "<s>", "thinking": 1}
    assert render("{{ bos_token }}{{ strftime_now('%d %b %Y') }}{{ thinking }}", [], now=when, **words) == "<s>21 Nov 20261"
    assert render("{{ bos_token }}{% if tools is none and documents is none %}no{% endif %}", []) == "no"
    assert render("{% for i in [1, 2, 3] %}{% if i == 2 %}{% break %}{% endif %}{{ i }}{% endfor %}", []) == "1"
    assert render("{% generation %}{{ messages[0].content }}{% endgeneration %}", HELLO) == "Hällo"


def test_a_templates_own_refusal_is_the_answer() -> None:
    with pytest.raises(InputError, match="Roles must alternate"):
        render("{{ raise_exception('Roles must alternate') }}", HELLO)


@pytest.mark.parametrize(
    "template", ["{{ messages[5].content.parts }}", "{{ 'a' + messages[0] }}", "{{ 1 / 0 }}", "{{ messages | tojson(1, 2, 3, 4, 5) }}"]
)
def test_messages_that_a_template_cannot_use_are_an_input_error(template: str) -> None:
    with pytest.raises(InputError, match="cannot use these messages"):
        render(template, HELLO)


@pytest.mark.parametrize(
    "template", ["{% if", "{{ messages.append(1) }}", "{{ ''.__class__.__mro__ }}", "{{ messages[0].update(a=1) }}", "{% include 'x' %}"]
)
def test_a_broken_or_forbidden_template_is_malformed_and_does_nothing(template: str) -> None:
    messages = [dict(HELLO[0])]
    with pytest.raises((MalformedFileError, InputError)):
        render(template, messages)
    assert messages == HELLO


def folder(said: object) -> dict[str, bytes]:
    return {"tokenizer_config.json": dumps({"chat_template": said}).encode()}  # type: ignore[dict-item] # it is JSON


def test_a_template_is_found_wherever_a_folder_keeps_it() -> None:
    several = [{"name": "default", "template": "d"}, {"name": "tool_use", "template": "t"}]
    assert chat_template(folder("one")) == "one"
    assert (chat_template(folder(several)), chat_template(folder(several), tools=True)) == ("d", "t")
    assert chat_template(folder({"default": "d"}), tools=True) == "d"
    assert chat_template(folder("old") | {"chat_template.jinja": b"new"}) == "new"
    beside = {"chat_template.jinja": b"new", "additional_chat_templates/tool_use.jinja": b"tools"}
    assert (chat_template(beside), chat_template(beside, tools=True)) == ("new", "tools")
    assert chat_template({"chat_template.json": b'{"chat_template": "j"}'}) == "j"
    assert chat_template({"tokenizer_config.json": b"{}"}) is None
    assert chat_template({}) is None
    assert chat_template_from_gguf({"tokenizer.chat_template": "d", "tokenizer.chat_template.tool_use": "t"}, tools=True) == "t"


@pytest.mark.parametrize("files", [folder(3), {"chat_template.jinja": b"\xff"}])
def test_what_is_no_template_is_malformed(files: dict[str, bytes]) -> None:
    with pytest.raises(MalformedFileError, match="chat_template"):
        chat_template(files)
