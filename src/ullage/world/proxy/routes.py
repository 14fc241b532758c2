"""What is answered at which path: gated, passed on, or told by the guard itself; anything else is not there."""

import asyncio
from typing import Any, Final

import aiohttp
from aiohttp import web

from ullage import wire
from ullage.domain.guard import GuardOptions
from ullage.domain.hyperparameters import Json
from ullage.world.proxy import headers, said
from ullage.world.proxy.asked import GATED
from ullage.world.proxy.counting import PromptCounter
from ullage.world.proxy.exchange import Engine, exchange
from ullage.world.proxy.gate import Gate
from ullage.world.proxy.upstream import Upstream

PASSED: Final = {"/v1/models": "GET", "/version": "GET", "/tokenize": "POST", "/detokenize": "POST"}
_KNOWN = ", ".join((*GATED, *PASSED, "/health", "/metrics"))


def _is_model(path: str) -> bool:
    """``/v1/models/NAME``, with no way out of it."""
    return path.startswith("/v1/models/") and not {".", ".."} & set(path.split("/"))


class Routes:
    """One handler for every path."""

    def __init__(self, options: GuardOptions, keys: tuple[bytes, ...], gate: Gate, upstream: Upstream, counter: PromptCounter) -> None:
        self._options, self._keys, self._gate, self._upstream, self._counter = options, keys, gate, upstream, counter
        self._engine = Engine(send=upstream.send, lost=upstream.lost, is_well=upstream.answers)
        self._tasks: set[asyncio.Task[Any]] = set()

    def keep(self, task: asyncio.Task[Any]) -> None:
        """Hold on to a task until it is done."""
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """The answer to any request."""
        if request.path == "/health":
            return self._health()
        client = headers.client_of(request.headers, request.remote or "", self._keys)
        refused = self._objection(request, is_known=client is not None)
        if refused is not None:
            return refused
        if request.path == "/metrics":
            return await self._metrics()
        body = await self._body(request)
        if isinstance(body, web.Response):
            return body
        if request.path in GATED:
            return await exchange(request, body, client or "", self._gate, self._engine, self._counter)
        return await self._pass(request, body)

    def _objection(self, request: web.Request, *, is_known: bool) -> web.Response | None:
        """What is wrong with a request before its body is read."""
        path, most, size = request.path, self._options.header_bytes, headers.nbytes(request.headers)
        if size > most:
            return said.error(
                431, f"The headers have {size} bytes; at most {most} are read.", code="headers_too_large", need=size, have=most
            )
        if not is_known:
            return said.error(401, "The key is missing or wrong; send it as Authorization: Bearer.", code="invalid_api_key")
        wanted = "POST" if path in GATED else "GET" if _is_model(path) or path == "/metrics" else PASSED.get(path)
        if wanted is None:
            return said.error(404, f"There is nothing at {path[:200]}; the guard passes on {_KNOWN}.", code="not_found")
        if request.method != wanted:
            return said.error(405, f"{path[:200]} takes {wanted}.", code="method_not_allowed")
        return None

    async def _body(self, request: web.Request) -> bytes | web.Response:
        most = self._options.body_bytes
        try:
            if (request.content_length or 0) <= most:
                return await request.read()
        except web.HTTPRequestEntityTooLarge:
            pass
        return said.error(413, f"The body is larger than {most} bytes.", code="body_too_large", need=request.content_length, have=most)

    async def _pass(self, request: web.Request, body: bytes) -> web.Response:
        try:
            async with self._upstream.ask(request, body) as seen:
                return web.Response(status=seen.status, body=await seen.read(), headers=headers.to_client(seen.headers))
        except (TimeoutError, aiohttp.ClientError, OSError):
            return said.error(503, "The engine does not answer.", code="unavailable", retry_after_s=self._gate.state.limits.retry_s)

    def _health(self) -> web.Response:
        state = self._gate.state
        seen: dict[str, Json] = {
            "status": "ok" if state.up else "waiting for the engine",
            "in_flight": len(state.in_flight),
            "waiting": len(state.waiting),
        }
        return web.Response(status=200 if state.up else 503, body=wire.dumps(seen).encode(), content_type="application/json")

    async def _metrics(self) -> web.Response:
        """The guard's page, and the engine's own after it."""
        page = self._gate.records.page(self._gate.state) + (await self._upstream.page() if self._gate.state.up else "")
        return web.Response(body=page.encode(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})
