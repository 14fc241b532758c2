"""What is answered at which path: gated, passed on, or told by the guard itself; anything else is not there."""

import asyncio
import sys
import traceback
from pathlib import Path
from typing import Any, Final

import aiohttp
from aiohttp import web

from ullage import wire
from ullage.domain.guard import GuardOptions
from ullage.domain.hyperparameters import Json
from ullage.world.proxy import headers, said
from ullage.world.proxy.asked import GATED
from ullage.world.proxy.bodies import Bodies, RefusedError
from ullage.world.proxy.counting import PromptCounter
from ullage.world.proxy.exchange import BrokenOffError, Engine, exchange
from ullage.world.proxy.foreign import why_foreign
from ullage.world.proxy.gate import Gate
from ullage.world.proxy.upstream import Upstream

PASSED: Final = {"/v1/models": "GET", "/version": "GET", "/tokenize": "POST", "/detokenize": "POST"}
_KNOWN = ", ".join((*GATED, *PASSED, "/health", "/metrics"))


def _is_model(path: str) -> bool:
    """``/v1/models/NAME``, with no way out of it."""
    return path.startswith("/v1/models/") and not {".", ".."} & set(path.split("/"))


def _place(error: BaseException) -> str:
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{Path(frame.filename).name}:{frame.lineno}"


class Routes:
    """One handler for every path."""

    def __init__(self, options: GuardOptions, keys: tuple[bytes, ...], gate: Gate, upstream: Upstream, counter: PromptCounter) -> None:
        self._options, self._keys, self._gate, self._upstream, self._counter = options, keys, gate, upstream, counter
        self._engine = Engine(send=upstream.send, lost=upstream.lost, is_well=upstream.answers, silent_s=options.silent_s)
        self._bodies = Bodies(options)
        self._told: set[str] = set()
        self._leaving = False
        self._tasks: set[asyncio.Task[Any]] = set()

    def keep(self, task: asyncio.Task[Any]) -> None:
        """Hold on to a task until it is done."""
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def drain(self) -> None:
        """Take no new requests."""
        self._leaving = True

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """The answer to any request. What goes wrong here is said without anything of the request."""
        answer = await self._answered_or_failed(request)
        if not answer.prepared:
            headers.sign(answer.headers)
        return answer

    async def _answered_or_failed(self, request: web.BaseRequest) -> web.StreamResponse:
        try:
            return await self._answered(request)
        except Exception as error:
            cause = error.__cause__ or error if isinstance(error, BrokenOffError) else error
            told = f"{type(cause).__name__} at {_place(cause)}"
            if told not in self._told:
                self._told.add(told)
                sys.stderr.write(f"ullage: the guard failed at a request: {told}\n")
            if isinstance(error, BrokenOffError):
                raise
            return said.error(500, f"The guard failed at this request: {told}.", code="guard_failed")

    async def _answered(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.path == "/health":
            return self._health()
        client = headers.client_of(request.headers, request.remote or "", self._keys)
        refused = self._objection(request, is_known=client is not None) or self._refusal(request)
        if refused is not None:
            return refused
        if request.path == "/metrics":
            return await self._metrics()
        with self._bodies.one() as body:
            try:
                words = await body.read(request)
            except RefusedError as refusal:
                return refusal.answer
            if request.path in GATED:
                return await exchange(request, words, client or "", self._gate, self._engine, self._counter)
            return await self._pass(request, words)

    def _objection(self, request: web.BaseRequest, *, is_known: bool) -> web.Response | None:
        """What is wrong with a request before its body is read."""
        path, most, size = request.path, self._options.header_bytes, headers.nbytes(request.headers)
        if size > most:
            return said.error(
                431, f"The headers have {size} bytes; at most {most} are read.", code="headers_too_large", need=size, have=most
            )
        foreign = "" if self._keys else why_foreign(request.headers, self._options.host)
        if foreign:
            why = f"{foreign}: where no key is asked for, no page of another site is answered; give the guard a --keys-file."
            return said.error(403, why, code="foreign_page")
        if not is_known:
            return said.error(401, "The key is missing or wrong; send it as Authorization: Bearer.", code="invalid_api_key")
        wanted = "POST" if path in GATED else "GET" if _is_model(path) or path == "/metrics" else PASSED.get(path)
        if wanted is None:
            return said.error(404, f"There is nothing at {path[:200]}; the guard passes on {_KNOWN}.", code="not_found")
        if request.method != wanted:
            return said.error(405, f"{path[:200]} takes {wanted}.", code="method_not_allowed")
        return None

    def _refusal(self, request: web.BaseRequest) -> web.Response | None:
        """Why a request that is as it should be is not taken any more."""
        if not self._leaving or request.path not in GATED:
            return None
        return said.error(503, "The server is stopping.", code="unavailable", retry_after_s=self._gate.state.limits.retry_s)

    async def _pass(self, request: web.BaseRequest, body: bytes) -> web.Response:
        try:
            async with self._upstream.ask(request, body) as seen:
                return web.Response(status=seen.status, body=await seen.read(), headers=headers.to_client(seen.headers))
        except (TimeoutError, aiohttp.ClientError, OSError):
            return said.error(503, "The engine does not answer.", code="unavailable", retry_after_s=self._gate.state.limits.retry_s)

    def _health(self) -> web.Response:
        state = self._gate.state
        seen: dict[str, Json] = {
            "status": "stopping" if self._leaving else "ok" if state.up else "waiting for the engine",
            "in_flight": len(state.in_flight),
            "waiting": len(state.waiting) + len(state.replays),  # those held for a restart too
        }
        is_well = state.up and not self._leaving
        return web.Response(status=200 if is_well else 503, body=wire.dumps(seen).encode(), content_type="application/json")

    async def _metrics(self) -> web.Response:
        """The guard's page, and the engine's own after it."""
        page = self._gate.records.page(self._gate.state) + (await self._upstream.page() if self._gate.state.up else "")
        return web.Response(body=page.encode(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})
