"""What a request asks for, read from OpenAI's JSON. Members that nobody knows are ignored, as OpenAI-compatible servers do."""

from collections.abc import Mapping
from typing import Any

from ullage import wire
from ullage.errors import InputError, MalformedFileError
from ullage.frozen import dataclass
from ullage.runtime.sample.settings import MOST_LOGPROBS, Sampling
from ullage.runtime.serve.fields import Fields, WrongFieldError
from ullage.text.language import Language

MOST_STOPS, MOST_COPIES, MOST_PROMPTS, MOST_BIASES = 16, 128, 1024, 1024
_COMPLETION_TOKENS = 16  # OpenAI's default for completions; a chat may go on to the end of the context
_NOT_DONE = {"functions": "tools", "function_call": "tools", "suffix": None, "audio": None, "prediction": None}


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """Token ids, and the text that ``echo`` shows."""

    ids: tuple[int, ...]
    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request for ``copies`` answers to each prompt. ``schema`` is what the answer's JSON has to keep to, as a JSON schema."""

    is_chat: bool
    prompts: tuple[Prompt, ...]
    sampling: Sampling
    copies: int = 1
    max_tokens: int | None = None
    min_tokens: int = 0
    ignores_end: bool = False  # the model's own end of an answer ends none
    stops: tuple[str, ...] = ()
    stream: bool = False
    with_usage: bool = False
    echo: bool = False
    schema: Mapping[str, Any] | bool | None = None


def document_of(body: bytes) -> Mapping[str, Any]:
    """The JSON object of a body. Raises InputError."""
    try:
        document = wire.loads(body)
    except MalformedFileError as error:
        raise InputError(f"The body cannot be read: {error}.") from error
    if not isinstance(document, dict):
        raise InputError("The body is no JSON object.")
    return document


def chat(document: Mapping[str, Any], language: Language) -> Asked:
    """A body of ``/v1/chat/completions``. Raises InputError, as WrongFieldError where one member is wrong."""
    fields = Fields(document)
    _refuse_what_is_not_done(fields)
    top = fields.whole("top_logprobs", least=0, most=MOST_LOGPROBS)
    if top is not None and not fields.flag("logprobs"):
        raise WrongFieldError("top_logprobs", "is said without logprobs")
    name = "max_completion_tokens" if fields.raw("max_completion_tokens") is not None else "max_tokens"
    return _asked(
        fields,
        is_chat=True,
        prompts=(Prompt(ids=chat_prompt(fields, language)),),
        logprobs=(top or 0) if fields.flag("logprobs") else None,
        max_tokens=fields.whole(name, least=1),
    )


def chat_prompt(fields: Fields, language: Language) -> tuple[int, ...]:
    """The ids of a chat by the model's own template."""
    messages = tuple(_message(message) for message in fields.objects("messages"))
    if not messages:
        raise WrongFieldError("messages", "is missing or empty; a list of objects with role and content is wanted", "missing_value")
    extra = fields.raw("chat_template_kwargs")
    words = extra if isinstance(extra, dict) else {}
    if fields.raw("add_generation_prompt") is not None:
        words = {**words, "add_generation_prompt": fields.flag("add_generation_prompt")}
    reserved = {"messages", "tools", "bos_token", "eos_token", "template", "now"} & set(words)
    if reserved:
        raise WrongFieldError("chat_template_kwargs", f"has {', '.join(sorted(reserved))}, which the request says elsewhere")
    text = language.render(messages, tools=_tools(fields), **words)
    return tuple(language.tokenizer.encode(text))


def completion(document: Mapping[str, Any], language: Language) -> Asked:
    """A body of ``/v1/completions``. Raises as ``chat`` does."""
    fields = Fields(document)
    _refuse_what_is_not_done(fields)
    logprobs = fields.whole("logprobs", least=0, most=MOST_LOGPROBS)
    copies = fields.whole("n", least=1, most=MOST_COPIES) or 1
    if (fields.whole("best_of", least=1, most=MOST_COPIES) or copies) != copies:
        raise WrongFieldError("best_of", "differs from n; every answer that is made is given, so leave it out", "unsupported_value")
    if fields.flag("echo") and logprobs is not None:
        raise WrongFieldError("echo", "and logprobs are not given together: a prompt's own logarithms are not kept", "unsupported_value")
    return _asked(
        fields,
        is_chat=False,
        prompts=prompts_of(fields.raw("prompt"), language),
        logprobs=logprobs,
        max_tokens=fields.whole("max_tokens", least=1) or _COMPLETION_TOKENS,
        echo=fields.flag("echo"),
    )


def prompts_of(said: Any, language: Language, param: str = "prompt") -> tuple[Prompt, ...]:
    """A text, a list of ids, or a list of either."""
    if isinstance(said, str) or (isinstance(said, list) and said and all(type(token) is int for token in said)):
        said = [said]
    if not isinstance(said, list) or not 0 < len(said) <= MOST_PROMPTS:
        raise WrongFieldError(param, f"is missing or no list; a text, token ids, or a list of up to {MOST_PROMPTS} of either is wanted")
    return tuple(_prompt(one, language, param) for one in said)


def _prompt(said: Any, language: Language, param: str) -> Prompt:
    if isinstance(said, str):
        return Prompt(ids=tuple(language.tokenizer.encode(said, special=True, add_special=True)), text=said)
    if isinstance(said, list) and said and all(type(token) is int for token in said):
        return Prompt(ids=tuple(said), text=language.tokenizer.decode(said, skip_special=False))
    raise WrongFieldError(param, "holds something that is neither a text nor token ids", "invalid_type")


def _refuse_what_is_not_done(fields: Fields) -> None:
    for name, instead in _NOT_DONE.items():
        if fields.raw(name) is not None:
            raise WrongFieldError(name, f"is not done here{f'; use {instead}' if instead else ''}", "unsupported_parameter")


def _asked(
    fields: Fields,
    *,
    is_chat: bool,
    prompts: tuple[Prompt, ...],
    logprobs: int | None,
    max_tokens: int | None,
    echo: bool = False,
) -> Asked:
    options = fields.inner("stream_options") or Fields({})
    if fields.raw("stream_options") is not None and not fields.flag("stream"):
        raise WrongFieldError("stream_options", "is said without stream")
    least = fields.whole("min_tokens", least=0) or 0
    if max_tokens is not None and least > max_tokens:
        raise WrongFieldError("min_tokens", f"is {least}, more than the {max_tokens} tokens that the answer may have")
    schema = _schema(fields)
    for name in ("min_tokens", "ignore_eos"):
        if schema is not None and fields.raw(name):
            raise WrongFieldError(
                name, "and response_format contradict one another: the form says where the answer ends", "unsupported_value"
            )
    return Asked(
        is_chat=is_chat,
        prompts=prompts,
        sampling=_sampling(fields, logprobs),
        copies=fields.whole("n", least=1, most=MOST_COPIES) or 1,
        max_tokens=max_tokens,
        min_tokens=least,
        ignores_end=fields.flag("ignore_eos"),
        stops=fields.words("stop", MOST_STOPS),
        stream=fields.flag("stream"),
        with_usage=options.flag("include_usage"),
        echo=echo,
        schema=schema,
    )


def _sampling(fields: Fields, logprobs: int | None) -> Sampling:
    top_k = fields.whole("top_k", least=-1) or 0
    return Sampling(
        temperature=fields.number("temperature", 1.0),
        top_k=max(0, top_k),  # -1 is all, too
        top_p=fields.number("top_p", 1.0),
        min_p=fields.number("min_p", 0.0),
        presence_penalty=fields.number("presence_penalty", 0.0),
        frequency_penalty=fields.number("frequency_penalty", 0.0),
        repetition_penalty=fields.number("repetition_penalty", 1.0),
        seed=fields.whole("seed"),
        logprobs=logprobs,
        logit_bias=_biases(fields),
    )


def _biases(fields: Fields) -> tuple[tuple[int, float], ...]:
    said = fields.raw("logit_bias") or {}
    if not isinstance(said, dict) or len(said) > MOST_BIASES:
        raise WrongFieldError("logit_bias", f"is no object of at most {MOST_BIASES} token ids with a number each", "invalid_type")
    values = Fields(said)
    for name in said:
        if not (name.isascii() and name.isdecimal()):
            raise WrongFieldError("logit_bias", f"has {name[:40]!r}, which is no token id")
    return tuple((int(name), values.number(name, 0.0)) for name in said)


def _schema(fields: Fields) -> Mapping[str, Any] | bool | None:
    form = fields.inner("response_format")
    match None if form is None else form.raw("type"):
        case None if form is None:
            return None
        case "text":
            return None
        case "json_object":
            return {"type": "object"}
        case "json_schema" if form is not None:
            outer = form.inner("json_schema")
            found = outer.raw("schema") if outer is not None else None
            if isinstance(found, dict | bool):
                return found
            raise WrongFieldError("response_format", "has no json_schema.schema, which has to be an object", "missing_value")
        case _:
            raise WrongFieldError("response_format", "has another type than text, json_object or json_schema")


def _tools(fields: Fields) -> tuple[Mapping[str, Any], ...] | None:
    tools, choice = fields.objects("tools"), fields.raw("tool_choice")
    if choice not in (None, "auto", "none"):
        raise WrongFieldError("tool_choice", "is neither auto nor none, and no other is done here", "unsupported_value")
    return tools if tools and choice != "none" else None


def _message(message: Mapping[str, Any]) -> Mapping[str, Any]:
    """Parts of text put together; most templates take texts only."""
    content = message.get("content")
    if not isinstance(message.get("role"), str):
        raise WrongFieldError("messages", "has a message without a role", "missing_value")
    if not isinstance(content, list):
        if content is not None and not isinstance(content, str):
            raise WrongFieldError("messages", "has a content that is neither a text nor a list of parts", "invalid_type")
        return message
    if not all(isinstance(part, dict) and part.get("type") == "text" and isinstance(part.get("text"), str) for part in content):
        raise WrongFieldError("messages", "has a part that is no text; this server reads text only", "unsupported_value")
    return {**message, "content": "".join(part["text"] for part in content)}
