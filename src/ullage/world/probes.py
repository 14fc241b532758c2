"""Questions to a running engine: is it well, and does it answer a request."""

from collections.abc import Mapping
from contextlib import suppress
from http.client import HTTPConnection, HTTPException
from socket import SHUT_RDWR
from threading import Event, Timer

from ullage import wire
from ullage.domain.hyperparameters import Json
from ullage.errors import UllageError

_PAGE_SECONDS, _REQUEST_SECONDS = 10.0, 120.0
_MOST_BYTES = 1 << 20
_OK, _UNAUTHORIZED, _FORBIDDEN = 200, 401, 403
# Ways to ask for as little as can be asked: one token, or one vector.
_ASKED: tuple[tuple[str, Mapping[str, Json]], ...] = (
    ("/v1/completions", {"prompt": "Hello", "max_tokens": 1}),
    ("/v1/chat/completions", {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 1}),
    ("/v1/embeddings", {"input": "Hello"}),
)


def ask_health(host: str, port: int, path: str, seconds: float) -> str:
    """Empty when it says in time that it is well, else what it said instead."""
    try:
        status, body = _exchange(host, port, "GET", path, None, None, seconds)
    except (OSError, HTTPException) as error:
        return f"{path} is not answered: {error or type(error).__name__}"
    return "" if status == _OK else f"{path} says {status} {_shown(body)}"


def ask_page(host: str, port: int, path: str, key: str | None) -> str:
    """The text of a page; empty where there is none."""
    try:
        status, body = _exchange(host, port, "GET", path, None, key, _PAGE_SECONDS)
    except (OSError, HTTPException):
        return ""
    return body.decode(errors="replace") if status == _OK else ""


def ask_request(host: str, port: int, key: str | None) -> str:
    """Empty when one token, or one vector, was answered, else what was said instead. A server that asks for a key has answered."""
    told = ""
    try:
        model = _model(host, port, key)
        for path, body in _ASKED:
            status, said = _exchange(host, port, "POST", path, {"model": model, **body}, key, _REQUEST_SECONDS)
            if status == _OK or (status in {_UNAUTHORIZED, _FORBIDDEN} and key is None):
                return ""
            told = told or f"{path} says {status} {_shown(said)}"
    except (OSError, HTTPException) as error:
        return f"a request is not answered: {error or type(error).__name__}"
    return told


def _model(host: str, port: int, key: str | None) -> str:
    """What the engine calls the model that it serves."""
    status, body = _exchange(host, port, "GET", "/v1/models", None, key, _PAGE_SECONDS)
    if status != _OK:
        return "default"
    try:
        said = wire.loads(body)
    except UllageError:
        return "default"
    rows = said.get("data") if isinstance(said, dict) else None
    first = rows[0] if isinstance(rows, list) and rows else None
    return str(first["id"]) if isinstance(first, dict) and "id" in first else "default"


def _exchange(host: str, port: int, method: str, path: str, body: Json, key: str | None, seconds: float) -> tuple[int, bytes]:
    """Status and body. Raises OSError and HTTPException; TimeoutError where all of it takes longer, however often a byte comes."""
    connection, late = HTTPConnection(host, port, timeout=seconds), Event()
    end = Timer(seconds, _break_off, (connection, late))
    end.daemon = True
    end.start()
    try:
        headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {key}"} if key else {})}
        connection.request(method, path, body=None if body is None else wire.dumps(body).encode(), headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read(_MOST_BYTES)
    finally:
        end.cancel()
        connection.close()
        if late.is_set():
            raise TimeoutError("timed out")


def _break_off(connection: HTTPConnection, late: Event) -> None:
    late.set()
    with suppress(OSError, AttributeError):  # it has no socket yet, or none any more
        connection.sock.shutdown(SHUT_RDWR)


def _shown(body: bytes) -> str:
    return " ".join(body.decode(errors="replace").split())[:200]
