"""Messages to the text that a model was trained on, by the model's own template, with what Hugging Face templates expect.

A template is a program of a stranger: it runs in Jinja's immutable sandbox, without files, network or attributes of Python.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, NoReturn

from ullage.domain.hyperparameters import Json
from ullage.errors import InputError, MalformedFileError
from ullage.text._optional import library
from ullage.wire import dumps, loads

Message = Mapping[str, Any]
_DEFAULT, _WITH_TOOLS = "default", "tool_use"
_KEPT_TEMPLATES = 16


class _RefusedError(Exception):
    """What a template says through ``raise_exception``."""


def render(
    template: str,
    messages: Sequence[Message],
    *,
    add_generation_prompt: bool = True,
    bos_token: str | None = None,
    eos_token: str | None = None,
    tools: Sequence[Mapping[str, Any]] | None = None,
    now: datetime | None = None,
    **extra: Any,
) -> str:
    """The text of a chat. ``extra`` are the template's own switches (``enable_thinking``); ``now`` is what ``strftime_now`` tells.

    Raises InputError when the template refuses the messages or cannot use them, and MalformedFileError when it is no template.
    """
    jinja = library("jinja2", "a chat template")
    names = {name: word for name, word in (("bos_token", bos_token), ("eos_token", eos_token)) if word is not None}
    words = {"documents": None, **names, **extra, "messages": messages, "tools": tools, "add_generation_prompt": add_generation_prompt}

    def told(form: str) -> str:  # few templates ask what time it is
        return (now or datetime.now().astimezone()).strftime(form)

    words["strftime_now"] = told
    try:
        return str(_compiled(template).render(**words))
    except _RefusedError as error:
        raise InputError(f"the model's chat template refuses these messages: {error}") from error
    except jinja.exceptions.TemplateSyntaxError as error:
        raise MalformedFileError(f"the model's chat template is not Jinja, line {error.lineno}: {error.message}") from error
    except jinja.exceptions.SecurityError as error:
        raise MalformedFileError(f"the model's chat template does what no template may: {error}") from error
    except (jinja.exceptions.TemplateError, TypeError, ValueError, LookupError, AttributeError, ArithmeticError, RuntimeError) as error:
        raise InputError(
            f"the model's chat template cannot use these messages: {error}; each needs a role and a content, as text for most templates"
        ) from error


@lru_cache(maxsize=_KEPT_TEMPLATES)
def _compiled(template: str) -> Any:
    sandbox = library("jinja2.sandbox", "a chat template")
    environment = sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[library("jinja2.ext", "a chat template").loopcontrols, _answers_tag()]
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _refuse
    return environment.from_string(template)


def _answers_tag() -> Any:
    """``{% generation %}`` marks what the model says, for training; its text stands as it is."""

    class Answers(library("jinja2.ext", "a chat template").Extension):  # type: ignore[misc] # the base is read when it is needed
        tags = frozenset({"generation"})

        def parse(self, parser: Any) -> Any:
            next(parser.stream)
            return parser.parse_statements(("name:endgeneration",), drop_needle=True)

    return Answers


def _to_json(
    value: Json,
    ensure_ascii: bool = False,  # noqa: FBT001, FBT002 - templates pass it so
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,  # noqa: FBT001, FBT002 - as above
) -> str:
    return dumps(value, indent=indent, separators=separators, sort_keys=sort_keys, ensure_ascii=ensure_ascii)


def _refuse(message: object) -> NoReturn:
    raise _RefusedError(str(message))


def chat_template(documents: Mapping[str, bytes], *, tools: bool = False) -> str | None:
    """The template that a model folder's files hold, the one for ``tools`` where there are several; None when there is none."""
    if (own := documents.get("chat_template.jinja")) is not None:
        templates: dict[str, Json] = {_DEFAULT: _text(own, "chat_template.jinja")}
        if (beside := documents.get(f"additional_chat_templates/{_WITH_TOOLS}.jinja")) is not None:
            templates[_WITH_TOOLS] = _text(beside, f"{_WITH_TOOLS}.jinja")
        return _choose(templates, tools=tools)
    for name in ("chat_template.json", "tokenizer_config.json"):
        settings = loads(documents[name]) if name in documents else None
        if isinstance(settings, dict) and settings.get("chat_template") is not None:
            return _choose(_by_name(settings["chat_template"], name), tools=tools)
    return None


def chat_template_from_gguf(metadata: Mapping[str, object], *, tools: bool = False) -> str | None:
    """The template in the metadata of a GGUF file, the one for ``tools`` where there are several; None when there is none."""
    keys = {_DEFAULT: "tokenizer.chat_template", _WITH_TOOLS: f"tokenizer.chat_template.{_WITH_TOOLS}"}
    return _choose({name: word for name, key in keys.items() if isinstance(word := metadata.get(key), str)}, tools=tools)


def _by_name(said: Json, file: str) -> dict[str, Json]:
    """One template, several by name, or a list of objects with ``name`` and ``template``."""
    if isinstance(said, str):
        return {_DEFAULT: said}
    if isinstance(said, list):
        return {str(one.get("name")): one.get("template") for one in said if isinstance(one, dict)}
    if isinstance(said, dict):
        return said
    raise MalformedFileError(f"chat_template in {file} is {type(said).__name__}; a text or a list of them is needed")


def _choose(templates: Mapping[str, Json], *, tools: bool) -> str | None:
    found = templates.get(_WITH_TOOLS if tools and _WITH_TOOLS in templates else _DEFAULT)
    return found if isinstance(found, str) else None


def _text(data: bytes, name: str) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise MalformedFileError(f"{name} is not UTF-8: byte {data[error.start]:#04x} at offset {error.start}") from error
