"""The engine's end: a session to it, whether it answers, and the way back after it did not."""

import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager

import aiohttp
from aiohttp import web
from multidict import CIMultiDict
from yarl import URL

from ullage.domain.guard import GuardOptions
from ullage.world.proxy import headers
from ullage.world.proxy.connections import socket_to
from ullage.world.proxy.eager import request_class
from ullage.world.proxy.gate import Gate, Slot

PROBE_S, CONNECT_S, PASSED_S = 2.0, 10.0, 60.0
_UNWELL = 500


@contextmanager
def told_of_its_end(answer: aiohttp.ClientResponse) -> Iterator[None]:
    """Whoever reads a body hears that its connection is gone, which aiohttp does not say after a chunk that is none."""
    closed = getattr(answer.connection and answer.connection.protocol, "closed", None)  # None where all of it is there

    def ended(future: "asyncio.Future[None]") -> None:
        future.cancelled() or future.exception()
        if not answer.content.is_eof() and answer.content.exception() is None:
            answer.content.set_exception(aiohttp.ClientPayloadError("the connection ended in the middle"))

    if closed is not None:
        closed.add_done_callback(ended)
    try:
        yield
    finally:
        if closed is not None:
            closed.remove_done_callback(ended)


class Upstream:
    """One engine at a time. A new session for every life of the engine, so that nothing of the old one hangs on."""

    def __init__(self, gate: Gate, options: GuardOptions, *, drops_key: bool) -> None:
        self.url = ""
        self._gate, self._drops_key = gate, drops_key
        self._key = options.engine_key or (os.environ.get(options.engine_key_variable) if options.engine_key_variable else None)
        self._session: aiohttp.ClientSession | None = None
        self._probing: asyncio.Task[bool] | None = None

    async def move(self, url: str) -> None:
        """Talk to ``url`` from now on."""
        await self.close()
        self.url = url.rstrip("/")
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=75, socket_factory=socket_to),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S),
            auto_decompress=False,
            request_class=request_class(),
            skip_auto_headers=("Accept", "Accept-Encoding", "User-Agent", "Content-Type"),
        )

    async def close(self) -> None:
        """Break off whatever is under way."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def send(self, path: str, body: bytes, request: web.BaseRequest) -> "aiohttp.client._RequestContextManager":
        """POST to the engine. Raises ClientConnectionError where there is none."""
        return self._open().post(self.url + path, data=body, headers=self._headers(request), allow_redirects=False)

    def ask(self, request: web.BaseRequest, body: bytes) -> "aiohttp.client._RequestContextManager":
        """The request as it came, for what is passed on without a gate and answered soon."""
        url = URL(self.url + request.rel_url.raw_path_qs, encoded=True)  # as it was judged: nothing is resolved in it
        soon = aiohttp.ClientTimeout(total=PASSED_S, sock_connect=CONNECT_S)
        headed = self._headers(request)
        return self._open().request(request.method, url, data=body or None, headers=headed, allow_redirects=False, timeout=soon)

    def _headers(self, request: web.BaseRequest) -> CIMultiDict[str]:
        return headers.to_engine(request.headers, self._key, drops_key=self._drops_key)

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise aiohttp.ClientConnectionError("there is no engine")
        return self._session

    async def answers(self) -> bool:
        """Whether the engine answers now; many who ask at once share one question."""
        if self._probing is None or self._probing.done():
            self._probing = asyncio.get_running_loop().create_task(self._probe())
        return await asyncio.shield(self._probing)

    async def _probe(self) -> bool:
        try:
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=PROBE_S)) as session,
                session.get(self.url + "/health") as seen,
            ):
                return seen.status < _UNWELL
        except (TimeoutError, aiohttp.ClientError, OSError, ValueError):
            return False

    async def lost(self, slot: Slot, turn: int) -> None:
        """A sending broke off: the engine is gone, or it dropped this one only."""
        if not self._gate.is_current(slot, turn):
            return
        alive = await self.answers()
        if not self._gate.is_current(slot, turn):
            return
        if alive:
            self._gate.lost(slot)
        else:
            self._gate.died()

    async def page(self) -> str:
        """The engine's own metrics; nothing where it has none."""
        try:
            async with self._open().get(self.url + "/metrics", timeout=aiohttp.ClientTimeout(total=PROBE_S)) as seen:
                return await seen.text() if seen.ok and seen.content_type.startswith("text/plain") else ""
        except (TimeoutError, aiohttp.ClientError, OSError, ValueError):
            return ""
