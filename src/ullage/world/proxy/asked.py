"""What a request asks for, as far as memory can tell: its texts, how many answers, and how long."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from ullage import wire
from ullage.domain.hyperparameters import Json
from ullage.errors import InputError, MalformedFileError

CHAT, COMPLETIONS, EMBEDDINGS = "/v1/chat/completions", "/v1/completions", "/v1/embeddings"
GATED = (CHAT, COMPLETIONS, EMBEDDINGS)
_LENGTHS = ("max_completion_tokens", "max_tokens", "n_predict")
_COPIES = ("n", "best_of")


class Asked(NamedTuple):
    """``texts`` are to be counted, ``exact_tokens`` were sent as token ids; ``messages`` is a chat; ``items`` are images and sounds."""

    document: Mapping[str, Any]
    texts: tuple[str, ...] = ()
    exact_tokens: tuple[int, ...] = ()
    messages: tuple[Mapping[str, Any], ...] = ()
    tools: tuple[Mapping[str, Any], ...] = ()
    items: int = 0
    copies: int = 1
    answer_tokens: int | None = None


def read(path: str, body: bytes) -> Asked:
    """The request in ``body``. Raises InputError saying what is wrong; what only the engine can judge is left to it."""
    try:
        document = wire.loads(body)
    except MalformedFileError as error:
        raise InputError(f"The body is {error}.") from error
    if not isinstance(document, dict):
        raise InputError("The body is no JSON object.")
    copies = max(_whole(document.get(name)) or 1 for name in _COPIES)
    answer = next((said for name in _LENGTHS if (said := _whole(document.get(name))) is not None), None)
    if path == CHAT:
        return _chat(document, copies, answer)
    texts, exact = _prompts(document.get("prompt" if path == COMPLETIONS else "input"))
    if path == EMBEDDINGS:
        copies, answer = 1, 0
    return Asked(document=document, texts=texts, exact_tokens=exact, copies=copies, answer_tokens=answer)


def with_length(asked: Asked, max_tokens: int) -> bytes:
    """The body with another length of the answer, under the name that the request uses."""
    named = [name for name in _LENGTHS if asked.document.get(name) is not None] or ["max_tokens"]
    return wire.dumps({**asked.document, **dict.fromkeys(named, max_tokens)}).encode()


def _whole(value: object) -> int | None:
    return value if type(value) is int and value >= 0 else None


def _chat(document: Mapping[str, Any], copies: int, answer: int | None) -> Asked:
    messages = document.get("messages")
    if not isinstance(messages, list) or not all(isinstance(message, dict) for message in messages):
        raise InputError("messages is missing or is no list of objects.")
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
