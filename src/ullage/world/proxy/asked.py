"""What a request asks for, as far as memory can tell: its texts, how many answers, and how long."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from ullage import wire
from ullage.domain.hyperparameters import Json
from ullage.errors import InputError, MalformedFileError

CHAT, COMPLETIONS, EMBEDDINGS, RESPONSES = "/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses"
GATED = (CHAT, COMPLETIONS, EMBEDDINGS, RESPONSES)
_LENGTHS = ("max_completion_tokens", "n_predict", "max_tokens")  # what an answer's length is called, the usual name last
_LONGEST_NUMBER = 32
_LENGTHS_OF_RESPONSE = ("max_output_tokens",)
_TEXTS = ("input_text", "output_text", "text")
_COPIES = ("n", "best_of")
MOST_SEQUENCES = 8192  # of one request; no engine runs more at once
MOST_PARTS = 1_000_000  # brackets of a body: reading more holds up every stream


class Asked(NamedTuple):
    """``texts`` are to be counted, ``exact_tokens`` were sent as token ids; ``messages`` is a chat.

    ``items`` are images, sounds and whatever else is no text; ``lengths`` the names for an answer's length, the usual one last.
    """

    document: Mapping[str, Any]
    texts: tuple[str, ...] = ()
    exact_tokens: tuple[int, ...] = ()
    messages: tuple[Mapping[str, Any], ...] = ()
    tools: tuple[Mapping[str, Any], ...] = ()
    items: int = 0
    copies: int = 1
    answer_tokens: int | None = None
    lengths: tuple[str, ...] = _LENGTHS


def read(path: str, body: bytes) -> Asked:
    """The request in ``body``. Raises InputError saying what is wrong; what only the engine can judge is left to it."""
    if body.count(b"[") + body.count(b"{") > MOST_PARTS:
        raise InputError(f"The body has more than {MOST_PARTS:,} brackets.")
    try:
        document = wire.loads(body)
    except MalformedFileError as error:
        raise InputError(f"The body cannot be read: {error}.") from error
    if not isinstance(document, dict):
        raise InputError("The body is no JSON object.")
    copies = max(_whole(document.get(name)) or 1 for name in _COPIES)
    _few_enough(copies)
    answer = _length(document, _LENGTHS)
    if path == CHAT:
        return _chat(document, copies, answer)
    if path == RESPONSES:
        return _response(document)
    texts, exact = _prompts(document.get("prompt" if path == COMPLETIONS else "input"))
    if path == EMBEDDINGS:
        copies, answer = 1, 0
    _few_enough(copies * (len(texts) + len(exact)))
    return Asked(document=document, texts=texts, exact_tokens=exact, copies=copies, answer_tokens=answer)


def with_length(asked: Asked, max_tokens: int) -> bytes:
    """The body with another length of the answer, under the name that the request uses."""
    named = [name for name in asked.lengths if asked.document.get(name) is not None] or asked.lengths[-1:]
    return wire.dumps({**asked.document, **dict.fromkeys(named, max_tokens)}).encode()


def _length(document: Mapping[str, Any], names: tuple[str, ...]) -> int | None:
    """Tokens of the answer at most; None where none says it. Which of several names counts is the engine's affair, so it is the longest."""
    said = [number for name in names if (number := _number(document.get(name))) is not None]
    return max(said) if said and min(said) >= 0 else None


def _whole(value: object) -> int | None:
    number = _number(value)
    return number if number is not None and number >= 0 else None


def _number(value: object) -> int | None:
    """A whole number as engines take one: also written as ``2.0`` or ``"2"``."""
    match value:
        case bool():
            return None
        case int():
            return value
        case float() if value.is_integer():
            return int(value)
        case str() if len(value) < _LONGEST_NUMBER and value.strip().lstrip("+-").isdecimal():
            return int(value)
        case _:
            return None


def _few_enough(sequences: int) -> None:
    if sequences > MOST_SEQUENCES:
        raise InputError(f"This request asks for {sequences:,} sequences; {MOST_SEQUENCES:,} is the most that one request may have.")


def _chat(document: Mapping[str, Any], copies: int, answer: int | None) -> Asked:
    messages = document.get("messages")
    if not isinstance(messages, list) or not messages or not all(isinstance(message, dict) for message in messages):
        raise InputError("messages is missing, empty, or no list of objects.")
    tools = document.get("tools")
    known = tuple(tool for tool in tools if isinstance(tool, dict)) if isinstance(tools, list) else ()
    return Asked(
        document=document,
        messages=tuple(messages),
        tools=known,
        items=sum(_items(message.get("content")) for message in messages),
        copies=copies,
        answer_tokens=answer,
    )


def _response(document: Mapping[str, Any]) -> Asked:
    """A request to ``/v1/responses`` as the chat it is; InputError where a part of that chat lies in the engine and cannot be counted."""
    kept = next((name for name in ("previous_response_id", "conversation", "prompt") if document.get(name) is not None), None)
    if kept is not None:
        raise InputError(f"The guard cannot count what {kept} refers to, as the engine keeps it; send the whole conversation as input.")
    said, first = document.get("input"), document.get("instructions")
    turns = [{"role": "user", "content": said}] if isinstance(said, str) else said
    if not isinstance(turns, list) or not turns or not all(isinstance(one, dict) for one in turns):
        raise InputError("The input is missing; a text or a list of messages is needed.")
    system = [{"role": "system", "content": first}] if isinstance(first, str) else []
    chat = _chat({**document, "messages": [*system, *map(_message, turns)]}, 1, _length(document, _LENGTHS_OF_RESPONSE))
    others = sum("content" not in turn for turn in turns)  # calls of tools and what these said: no template takes them as they are
    return chat._replace(document=document, items=chat.items + others, lengths=_LENGTHS_OF_RESPONSE)


def _message(turn: Mapping[str, Any]) -> Mapping[str, Any]:
    """An item of input as a message of a chat: its parts of text under the name that templates know."""
    content = turn.get("content")
    if not isinstance(content, list):
        return turn
    plain = [{**part, "type": "text"} if isinstance(part, dict) and part.get("type") in _TEXTS else part for part in content]
    return {**turn, "content": plain}


def _items(content: Json) -> int:
    """Parts of a message that are no text."""
    if not isinstance(content, list):
        return 0
    return sum(isinstance(part, dict) and part.get("type") not in {"text", "refusal"} for part in content)


def _prompts(said: Json) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Texts, and lengths of lists of token ids: one text, one list of ids, or a list of either."""
    if isinstance(said, str):
        return (said,), ()
    if not isinstance(said, list) or not said:
        raise InputError("The prompt is missing; a text, a list of texts or a list of token ids is needed.")
    if all(type(token) is int for token in said):
        return (), (len(said),)
    texts = tuple(one for one in said if isinstance(one, str))
    ids = tuple(len(one) for one in said if isinstance(one, list))
    if len(texts) + len(ids) < len(said):
        raise InputError("The prompt holds something that is neither a text nor a list of token ids.")
    return texts, ids
