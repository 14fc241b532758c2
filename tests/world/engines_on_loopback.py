"""A small engine that streams, on loopback: what it is asked stands in ``asked``, and it can be slow, die, and come back."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import wraps
from typing import Any

import aiohttp
from aiohttp import web

from ullage import wire

ODD_CHUNKS = (b'data: {"choices":[{"delta":{"content":"\xc3', b'\xa4"}}]}\n\ndata: {"x":1}\n', b"\n: note\n\n", b"data: [DONE]\n\n")


class LoopbackEngine:
    """Answers chats with ``chunks`` a while apart, and everything else in one piece."""

    def __init__(self, chunks: tuple[bytes, ...] = ODD_CHUNKS, gap_s: float = 0.0) -> None:
        self.chunks, self.gap_s = chunks, gap_s
        self.asked: list[tuple[str, bytes, dict[str, str]]] = []
        self.first_wait = 0.0  # before the first chunk
        self.cancelled = 0
        self.running = self.most_running = 0
        self.port = 0
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=0.05)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()
        self.port = self._runner.addresses[0][1]

    async def die(self) -> None:
        """Every connection is cut."""
        if self._runner is not None and self._runner.server is not None:
            for connection in list(self._runner.server.connections):  # type: ignore[attr-defined]
                if connection.transport is not None:
                    connection.transport.abort()
            await self._runner.cleanup()
            self._runner = None

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        if request.path == "/health":
            return web.Response(text="ok")
        body = await request.read()
        self.asked.append((request.path, body, dict(request.headers)))
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            return await self._made(request, body)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.running -= 1

    async def _made(self, request: web.Request, body: bytes) -> web.StreamResponse:
        if not (body and wire.loads(body).get("stream")):  # type: ignore[union-attr]
            await asyncio.sleep(self.first_wait)
            usage = {"output_tokens" if request.path == "/v1/responses" else "completion_tokens": 7}
            said = {"path": request.path, "usage": usage}
            return web.Response(body=wire.dumps(said).encode(), content_type="application/json", headers={"X-Engine": "yes"})  # type: ignore[arg-type]
        await asyncio.sleep(self.first_wait)
        answer = web.StreamResponse(headers={"Content-Type": "text/event-stream", "X-Engine": "yes", "Cache-Control": "no-cache"})
        await answer.prepare(request)
        for chunk in self.chunks:
            await answer.write(chunk)
            await asyncio.sleep(self.gap_s)
        await answer.write_eof()
        return answer


@asynccontextmanager
async def loopback_engine(**said: object) -> AsyncIterator[LoopbackEngine]:
    engine = LoopbackEngine(**said)  # type: ignore[arg-type]
    await engine.start()
    try:
        yield engine
    finally:
        await engine.die()


async def ask(session: aiohttp.ClientSession, url: str, path: str = "/v1/chat/completions", **body: object) -> tuple[int, bytes]:
    """Status and body of one POST."""
    async with session.post(url + path, data=wire.dumps(body).encode(), headers={"Content-Type": "application/json"}) as seen:  # type: ignore[arg-type]
        return seen.status, await seen.read()


def on_a_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """A test that is a coroutine, run on a loop of its own."""

    @wraps(test)
    def run(*args: Any, **said: Any) -> None:
        asyncio.run(test(*args, **said))

    return run


@asynccontextmanager
async def engine_of_bytes(*pieces: bytes) -> AsyncIterator[LoopbackEngine]:
    """An engine that is well, and answers every request with these bytes and closes, whatever they are."""
    engine = LoopbackEngine()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        if b"/health" in head:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        else:
            _, _, length = head.partition(b"content-length: ")
            body = await reader.readexactly(int(length.split(b"\r\n")[0]))
            engine.asked.append(("", body, {}))
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0.1)  # each arrives by itself
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    engine.port = server.sockets[0].getsockname()[1]
    try:
        yield engine
    finally:
        server.close()
