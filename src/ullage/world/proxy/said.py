"""Answers in OpenAI's form: errors with their numbers, and the event that ends a broken stream."""

from typing import Any

from aiohttp import web

from ullage import wire
from ullage.domain.admission import Refuse, Reject

KINDS = {400: "invalid_request_error", 401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error"}


def error_body(status: int, message: str, *, code: str, **more: Any) -> bytes:
    """``{"error": {...}}`` as bytes; ``more`` are further keys of the error."""
    kind = KINDS.get(status, "server_error" if status >= 500 else "invalid_request_error")  # noqa: PLR2004 - the line HTTP draws
    return wire.dumps({"error": {"message": message, "type": kind, "param": None, "code": code, **more}}).encode()


def error(status: int, message: str, *, code: str, retry_after_s: int | None = None, **more: Any) -> web.Response:
    """The same as a response."""
    headers = {} if retry_after_s is None else {"Retry-After": str(retry_after_s)}
    body = error_body(status, message, code=code, **more)
    return web.Response(status=status, body=body, content_type="application/json", headers=headers)


def refusal(refused: Refuse) -> web.Response:
    """Why it can never fit, with the numbers."""
    numbers: dict[str, Any] = {"need": refused.need, "have": refused.have, "unit": refused.unit, "longest_tokens": refused.longest_tokens}
    return error(refused.status, refused.what, code="context_length_exceeded", **numbers)


def rejection(rejected: Reject) -> web.Response:
    """Why not now, and when to come again."""
    code = "queue_full" if rejected.status == 429 else "unavailable"  # noqa: PLR2004 - Too Many Requests
    return error(rejected.status, rejected.why, code=code, retry_after_s=rejected.retry_after_s)


def broken_stream(why: str, status: int = 503, code: str = "engine_died") -> bytes:
    """The event that ends a stream which does not go on; no ``[DONE]`` follows, as the answer is not whole.

    It begins with an empty line, which ends an event that was cut off.
    """
    return b"\n\ndata: " + error_body(status, why, code=code) + b"\n\n"
