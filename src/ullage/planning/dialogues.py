"""What a record of a data set asks for: its messages, in whichever of the common shapes it has them, and a record of other messages."""

from datetime import UTC, datetime
from typing import NamedTuple

from ullage.domain.hyperparameters import Json
from ullage.errors import MalformedFileError

USER, ASSISTANT, SYSTEM = "user", "assistant", "system"
_ROLES = {
    **dict.fromkeys(("human", "user", "prompter", "question", "instruction"), USER),
    **dict.fromkeys(("gpt", "chatgpt", "assistant", "model", "bot", "bing", "bard", "answer"), ASSISTANT),
    **dict.fromkeys(("system", "developer"), SYSTEM),
}
_LISTS = ("conversations", "conversation", "messages", "dialogue", "dialog")
_PROMPTS = ("prompt", "instruction", "question", "input", "text")
_ANSWERS = ("completion", "response", "output", "answer", "chosen")
_BOUNDS = ("max_completion_tokens", "max_tokens", "max_new_tokens", "output_tokens")
# The names under which traces state the tokens of a prompt and of its answer, and how many of their timestamps are a second:
# Mooncake, BurstGPT, Azure.
_TRACES = (("input_length", "output_length", 1000), ("request_tokens", "response_tokens", 1), ("contexttokens", "generatedtokens", 1))
# The same in a record that may have texts as well, which count first: those of vLLM's and of OpenAI's own words.
_LENGTHS = (
    ("prompt_tokens", "completion_tokens", 1),
    ("prompt_tokens", "output_tokens", 1),
    ("input_tokens", "output_tokens", 1),
    ("prompt_len", "output_len", 1),
    ("input_len", "output_len", 1),
)
_MOST_TOKENS = 1 << 40  # a length above is a mistake
_TIMES = ("arrival_s", "arrival", "timestamp_s", "timestamp")


class Message(NamedTuple):
    """One message: who says it, its text, and where it stands in its list (or the key it stands under)."""

    role: str
    text: str
    place: int | str = 0


class Dialogue(NamedTuple):
    """The messages of a record. ``path`` leads to their list; ``answer_tokens`` bounds an answer not there; ``at_s`` is when it came."""

    messages: tuple[Message, ...]
    path: tuple[str, ...] = ()
    answer_tokens: int | None = None
    at_s: float | None = None
    prompt_tokens: int | None = None  # of a record that states its length alone, and has no messages
    is_chat: bool = False  # messages that a chat template puts together, and no bare prompt


def read_dialogue(value: Json) -> Dialogue:
    """The messages of a record. Raises MalformedFileError that says what was looked for."""
    if isinstance(value, str):
        return Dialogue((_message(USER, value),))
    if isinstance(value, list):
        return Dialogue(_messages(value), is_chat=True)
    if not isinstance(value, dict):
        raise MalformedFileError(f"the record is {type(value).__name__}, not an object with messages or a prompt")
    for outer in ("body", "request"):
        inner = value.get(outer)
        if isinstance(inner, dict):
            found = read_dialogue(inner)
            return found._replace(path=(outer, *found.path))
    has_text = any(isinstance(value.get(key), list) for key in _LISTS) or any(_text(value.get(key)) for key in _PROMPTS)
    stated = _stated(value, _TRACES if has_text else (*_TRACES, *_LENGTHS))
    if stated is not None:
        return stated
    return _of_object(value)._replace(answer_tokens=_bound(value), at_s=_time(value))


def _stated(value: dict[str, Json], names: tuple[tuple[str, str, int], ...]) -> Dialogue | None:
    """A record of a trace that has lengths in place of texts; None for any other. Raises MalformedFileError for one without a prompt."""
    by_name = {name.lower().replace(" ", "_"): item for name, item in value.items()}
    for prompt, answer, ticks in names:
        if prompt in by_name and answer in by_name:
            asked, answered = by_name[prompt], by_name[answer]
            if type(asked) is not int or type(answered) is not int or not (1 <= asked < _MOST_TOKENS and 0 <= answered < _MOST_TOKENS):
                raise MalformedFileError(f"{prompt} and {answer} are no lengths in tokens, of a prompt of at least one")
            return Dialogue((), answer_tokens=answered, at_s=_moment(by_name.get("timestamp"), ticks), prompt_tokens=asked)
    return None


def _moment(said: Json, ticks: int) -> float | None:
    """In seconds, from a number of which ``ticks`` are a second, or from a date with its time."""
    if isinstance(said, str):
        try:
            at = datetime.fromisoformat(said)
        except ValueError:
            return None
        return (at if at.tzinfo is not None else at.replace(tzinfo=UTC)).timestamp()
    return said / ticks if isinstance(said, int | float) and not isinstance(said, bool) else None


def _of_object(value: dict[str, Json]) -> Dialogue:
    for key in _LISTS:
        if isinstance(value.get(key), list):
            return Dialogue(_messages(value[key]), (key,), is_chat=True)  # type: ignore[arg-type] # a list, as was just seen
    prompts = [Message(USER, text, key) for key in _PROMPTS if (text := _text(value.get(key)))]
    answers = [Message(ASSISTANT, text, key) for key in _ANSWERS if (text := _text(value.get(key)))]
    if "instruction" not in value:  # which alone has its ``input`` beside it
        prompts = prompts[:1]
    if not prompts:
        raise MalformedFileError(
            f"no {', '.join((*_LISTS[:3], *_PROMPTS))} with text in it; its keys are {', '.join(list(value)[:8]) or 'none'}"
        )
    return Dialogue((*(_message(*one) for one in prompts), *(_message(*one) for one in answers[:1])))


def _messages(items: list[Json]) -> tuple[Message, ...]:
    found = []
    for at, item in enumerate(items):
        if not isinstance(item, dict):
            raise MalformedFileError(f"message {at + 1} is {type(item).__name__}, not an object")
        who = item.get("from", item.get("role"))
        text = _text(item.get("value", item.get("content")))
        if not isinstance(who, str) or text is None:
            raise MalformedFileError(f"message {at + 1} has no from and value, and no role and content")
        found.append(_message(_ROLES.get(who.lower(), who.lower()), text, at))
    if not found:
        raise MalformedFileError("the record has no message")
    return tuple(found)


def _message(role: str, text: str, place: int | str = 0) -> Message:
    """With a question mark for what is no character: half a surrogate pair, or a byte that is not UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        text = text.encode("utf-8", "replace").decode()
    return Message(role, text, place)


def _text(content: Json) -> str | None:
    """Text as it stands or as the text parts of a list; a missing content, as of a tool call, is empty; None for anything else."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        parts = [part.get("text") if isinstance(part, dict) else part for part in content]
        return "\n".join(part for part in parts if isinstance(part, str))
    return "" if content is None else None


def _bound(value: dict[str, Json]) -> int | None:
    return next((said for key in _BOUNDS if type(said := value.get(key)) is int and said > 0), None)


def _time(value: dict[str, Json]) -> float | None:
    return next((float(said) for key in _TIMES if isinstance(said := value.get(key), int | float) and not isinstance(said, bool)), None)


def with_messages(value: Json, dialogue: Dialogue, messages: tuple[Message, ...], part: str) -> Json:
    """The record with these messages in place of its own, and ``part`` after its id where it has one."""
    if isinstance(value, dict):
        changed = _in_object(value, dialogue.path, messages)
        own = value.get("id", value.get("custom_id"))
        key = "id" if "id" in value else "custom_id"
        return {**changed, key: f"{own}_{part}"} if isinstance(own, str) else changed
    if isinstance(value, list):
        return _listed(value, messages)
    return messages[0].text if messages else ""


def with_answer(value: Json, dialogue: Dialogue) -> Json:
    """The record with the bound of its answer beside its list of messages, where it has one in an object."""
    if not isinstance(value, dict) or not dialogue.path or dialogue.answer_tokens is None:
        return value
    first = dialogue.path[0]
    if len(dialogue.path) > 1:
        return {**value, first: with_answer(value[first], dialogue._replace(path=dialogue.path[1:]))}
    return {**value, "output_tokens": dialogue.answer_tokens}


def _in_object(value: dict[str, Json], path: tuple[str, ...], messages: tuple[Message, ...]) -> dict[str, Json]:
    if not path:
        own = {str(message.place): message.text for message in messages}
        return {key: own.get(key, item) for key, item in value.items()}
    inner = value[path[0]]
    if isinstance(inner, dict):
        return {**value, path[0]: _in_object(inner, path[1:], messages)}
    return {**value, path[0]: _listed(inner if isinstance(inner, list) else [], messages)}


def _listed(items: list[Json], messages: tuple[Message, ...]) -> list[Json]:
    found: list[Json] = []
    for message in messages:
        item = items[message.place] if isinstance(message.place, int) else {}
        own = item if isinstance(item, dict) else {}
        key = "value" if "value" in own else "content"
        found.append(dict(own) if _text(own.get(key)) == message.text else {**own, key: message.text})
    return found
