"""Pages of an engine fetched, and notes posted, over HTTP; addresses are never told with what is secret in them."""

import base64
import os
from http.client import HTTPException, HTTPMessage
from typing import IO
from urllib import error, parse, request

from ullage.domain.reading import Page
from ullage.errors import InputError

_PATIENCE_S = 5.0
_LARGEST_BYTES = 8 << 20
_KEY_VARIABLE = "ULLAGE_API_KEY"  # as our own runtime takes its own


class _NoRedirect(request.HTTPRedirectHandler):
    """Credentials go to the address that was written, and nowhere else."""

    def redirect_request(self, req: request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str) -> None:
        """As the library says: None follows nothing."""


def checked(url: str) -> parse.SplitResult:
    """The address in its parts. Raises InputError for one that is no HTTP address."""
    try:
        parts = parse.urlsplit(url)
        if parts.scheme in {"http", "https"} and parts.hostname and (parts.port is None or parts.port):
            return parts
    except ValueError:
        pass
    raise InputError(f"{without_secrets(url)[:80]!r} is no address: write http://HOST:PORT")


def key(path: str) -> str | None:
    """The first key of a file, or without one the environment's; None where there is neither. Raises WorldError."""
    from ullage.domain.guard import GuardOptions
    from ullage.world.proxy.keys import read_keys

    if not path:
        return os.environ.get(_KEY_VARIABLE, "").strip() or None
    return read_keys(GuardOptions(keys_file=path))[0].decode("latin-1")


def without_secrets(url: str) -> str:
    """Scheme, host and port; a path or a query may be as secret as a password."""
    scheme, mark, rest = url.partition("://")
    host = rest.split("/", 1)[0].split("?", 1)[0].rpartition("@")[2]
    return f"{scheme}{mark}{host}" if mark else url.rpartition("@")[2].split("/", 1)[0].split("?", 1)[0]


def _prepared(url: str, body: bytes | None = None, key: str | None = None) -> request.Request:
    parts = checked(url)
    headers = {"Content-Type": "application/json"} if body is not None else {}
    if parts.username is not None:
        pair = f"{parse.unquote(parts.username)}:{parse.unquote(parts.password or '')}"
        headers["Authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
    elif key is not None:
        headers["Authorization"] = f"Bearer {key}"
    plain = parse.urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
    return request.Request(plain, data=body, headers=headers)  # noqa: S310 - `checked` admits http and https alone


def get(url: str, key: str | None = None) -> Page | None:
    """The page, whatever its status, for who shows the key; None where nobody answers. No proxy stands between. Raises InputError."""
    opener = request.build_opener(request.ProxyHandler({}), _NoRedirect)
    try:
        with opener.open(_prepared(url, key=key), timeout=_PATIENCE_S) as answer:
            return Page(answer.status, answer.read(_LARGEST_BYTES).decode("utf-8", "replace"))
    except error.HTTPError as failed:
        with failed:
            return Page(failed.code, "")
    except (OSError, HTTPException):
        return None


def post(url: str, body: str) -> str | None:
    """Send JSON; what went wrong, in words without the address's secrets, or None. Raises InputError."""
    opener = request.build_opener(_NoRedirect)
    try:
        with opener.open(_prepared(url, body.encode()), timeout=_PATIENCE_S):
            return None
    except error.HTTPError as failed:
        with failed:
            return f"{without_secrets(url)} answered {failed.code}"
    except (OSError, HTTPException) as failed:
        return f"{without_secrets(url)} cannot be reached: {getattr(failed, 'reason', None) or type(failed).__name__}"
