"""What is passed on of a request's and an answer's headers, and whether a client may ask at all."""

import hashlib
import hmac
from collections.abc import Iterable, Mapping, MutableMapping

from aiohttp import web
from multidict import CIMultiDict, CIMultiDictProxy

# What a connection says for itself (RFC 9110, 7.6.1) and what each side writes anew.
_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
_OWN = frozenset({"host", "content-length", "content-encoding", "expect"})
# What the engine runs on, what it would have a caller keep, and where it would send one past the guard.
_NOT_TOLD = frozenset({"content-length", "server", "set-cookie", "location"})
Headers = CIMultiDictProxy[str]


class SignedRequest(web.BaseRequest):
    """A request whose answer says who gives it, also where aiohttp answers of itself what is no request."""

    async def _prepare_hook(self, response: web.StreamResponse) -> None:
        sign(response.headers)


def sign(answered: MutableMapping[str, str]) -> None:
    """Say who answers, and not on what that runs."""
    answered["Server"] = "ullage"


def _named(headers: Headers) -> frozenset[str]:
    return frozenset(word.strip().lower() for line in headers.getall("Connection", ()) for word in line.split(","))


def to_engine(headers: Headers, engine_key: str | None, *, drops_key: bool) -> CIMultiDict[str]:
    """A client's headers as the engine gets them; the guard's own key is not shown to it, its own key is put in place."""
    left_out = _HOP | _OWN | _named(headers) | ({"authorization", "x-api-key", "api-key"} if drops_key else set())
    passed = CIMultiDict((name, value) for name, value in headers.items() if name.lower() not in left_out)
    if engine_key:
        passed["Authorization"] = f"Bearer {engine_key}"
    return passed


def to_client(headers: Headers) -> CIMultiDict[str]:
    """An engine's headers as the client gets them; the body keeps the coding it has."""
    left_out = _HOP | _NOT_TOLD | _named(headers)
    passed = CIMultiDict((name, value) for name, value in headers.items() if name.lower() not in left_out)
    sign(passed)
    return passed


def nbytes(headers: Mapping[str, str]) -> int:
    """Bytes of all header lines."""
    return sum(len(name) + len(value) + 4 for name, value in headers.items())


def bearer(headers: Mapping[str, str]) -> str:
    """The key a client shows; empty where it shows none."""
    scheme, _, word = headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return word.strip()
    return headers.get("X-Api-Key", "") or headers.get("Api-Key", "")


def client_of(headers: Mapping[str, str], peer: str, keys: Iterable[bytes]) -> str | None:
    """Who asks, for fairness: the number of its key, a digest of what it shows where no key is needed, or its address; None: no right key.

    All keys are compared, each in a time that does not depend on where they differ.
    """
    shown, known = bearer(headers).encode(errors="surrogateescape"), tuple(keys)
    if not known:
        return f"key {hashlib.sha256(shown).hexdigest()[:12]}" if shown else f"address {peer}"
    found = None
    for number, key in enumerate(known):
        if hmac.compare_digest(key, shown):
            found = f"key {number}"
    return found
