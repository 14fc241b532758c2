"""The server: what is answered at which path, and its life from listening to the last request."""

import asyncio
import gc
import signal
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

from aiohttp import web

from ullage import wire
from ullage.domain.guard import GuardOptions
from ullage.domain.hyperparameters import Json
from ullage.errors import UllageError, WorldError
from ullage.runtime.memory import Memory
from ullage.runtime.serve import asked
from ullage.runtime.serve.address import refusal_of
from ullage.runtime.serve.exchange import Exchange, NeverFitsError, Service, requests_of
from ullage.runtime.serve.fields import Fields, WrongFieldError
from ullage.world.proxy import headers, said
from ullage.world.proxy.keys import read_keys

BODY_BYTES, HEADER_BYTES = 32 << 20, 32 << 10
MOST_WAITING = 4096
_RETRY_S = 5
_CLIENT_CLOSED = 499  # as proxies write down a client that went away
_GRACE_S = 20.0  # for requests that are here when it is told to end
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class App:
    """One handler for every path."""

    def __init__(self, service: Service, memory: Memory, keys: tuple[bytes, ...]) -> None:
        self._service, self._memory, self._keys = service, memory, keys
        self._created = int(time.time())
        self._here = 0
        self._empty, self._leaving = asyncio.Event(), False
        self._routes: dict[str, tuple[str, Handler]] = {
            "/v1/chat/completions": ("POST", self._generate),
            "/v1/completions": ("POST", self._generate),
            "/v1/models": ("GET", self._models),
            "/tokenize": ("POST", self._tokenize),
            "/detokenize": ("POST", self._detokenize),
            "/metrics": ("GET", self._metrics),
        }

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """The answer to any request. Bodies are never logged."""
        if request.path == "/health":
            return self._health()
        refused = self._objection(request)
        if refused is not None:
            return refused
        self._here += 1
        try:
            return await self._routes[self._path(request)][1](request)
        except web.HTTPRequestEntityTooLarge:
            return said.error(413, f"The body is larger than {BODY_BYTES:,} bytes.", code="body_too_large", have=BODY_BYTES)
        except UllageError as error:
            return _wrong(error)
        except ConnectionError:  # who asked is gone, and nobody reads what is answered
            return web.Response(status=_CLIENT_CLOSED)
        finally:
            self._here -= 1
            if not self._here:
                self._empty.set()

    async def drained(self, seconds: float) -> None:
        """Take no new requests, and wait so long for those that are here."""
        self._leaving = True
        if self._here:
            self._empty.clear()
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._empty.wait(), seconds)

    def _objection(self, request: web.Request) -> web.Response | None:
        """What is wrong with a request before its body is read."""
        if headers.client_of(request.headers, request.remote or "", self._keys) is None:
            return said.error(401, "The key is missing or wrong; send it as Authorization: Bearer.", code="invalid_api_key")
        path = self._path(request)
        if path.startswith("/v1/models/"):
            return self._unknown_model(path.removeprefix("/v1/models/"))
        if path not in self._routes:
            known = ", ".join((*self._routes, "/health"))
            return said.error(404, f"There is nothing at {path[:200]}; there are {known}.", code="not_found")
        method = self._routes[path][0]
        if request.method != method:
            return said.error(405, f"{path} takes {method}.", code="method_not_allowed")
        return said.error(503, "The server is stopping.", code="unavailable", retry_after_s=_RETRY_S) if self._leaving else None

    def _path(self, request: web.Request) -> str:
        return "/v1/models" if request.path == f"/v1/models/{self._service.model}" else request.path

    async def _generate(self, request: web.Request) -> web.StreamResponse:
        document = asked.document_of(await request.read())
        named = document.get("model")
        if named is not None and named != self._service.model:
            return self._unknown_model(str(named))
        if self._service.worker.engine.stats().waiting >= MOST_WAITING:
            return said.error(429, f"{MOST_WAITING} sequences are waiting already.", code="queue_full", retry_after_s=_RETRY_S)
        read = asked.chat if request.path.startswith("/v1/chat/") else asked.completion
        stated = {name: value for name, value in document.items() if value is not None}
        wanted = read({**self._service.defaults, **stated}, self._service.language)
        client = headers.client_of(request.headers, request.remote or "", self._keys) or ""
        return await Exchange(request, wanted, self._service).run(await requests_of(wanted, self._service, client))

    async def _tokenize(self, request: web.Request) -> web.Response:
        """vLLM's: a prompt, or the messages of a chat."""
        document = asked.document_of(await request.read())
        fields, language = Fields(document), self._service.language
        if fields.raw("messages") is not None:
            ids = list(asked.chat_prompt(fields, language))
        else:
            text = fields.raw("prompt")
            if not isinstance(text, str):
                raise WrongFieldError("prompt", "is missing or no text", "missing_value")
            whole = fields.raw("add_special_tokens") is None or fields.flag("add_special_tokens")
            ids = language.tokenizer.encode(text, special=True, add_special=whole)
        return _json({"count": len(ids), "max_model_len": self._service.longest_tokens, "tokens": list(ids)})

    async def _detokenize(self, request: web.Request) -> web.Response:
        """vLLM's: the text of ids."""
        (prompt,) = asked.prompts_of([asked.document_of(await request.read()).get("tokens")], self._service.language, "tokens")
        return _json({"prompt": prompt.text})

    async def _models(self, request: web.Request) -> web.Response:
        name = self._service.model
        card: dict[str, Json] = {"id": name, "object": "model", "created": self._created, "owned_by": "ullage"}
        card["max_model_len"] = self._service.longest_tokens
        single = request.path != "/v1/models"
        return _json(card if single else {"object": "list", "data": [card]})

    async def _metrics(self, _request: web.Request) -> web.Response:
        stats = self._service.worker.engine.stats()
        page = self._service.metrics.page(stats, promised=self._memory.promised, seen=self._memory.seen(stats))
        return web.Response(body=page.encode(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})

    def _health(self) -> web.Response:
        stats = self._service.worker.engine.stats()
        return _json({"status": "ok", "running": stats.running, "waiting": stats.waiting})

    def _unknown_model(self, name: str) -> web.Response:
        return said.error(404, f"There is no model {name[:200]!r} here; {self._service.model!r} is.", code="model_not_found", param="model")


def _wrong(error: UllageError) -> web.Response:
    match error:
        case NeverFitsError():
            return said.error(400, str(error), code="context_length_exceeded", **error.numbers)
        case WrongFieldError():
            return said.error(400, str(error), code=error.code, param=error.param)
        case WorldError():
            return said.error(500, str(error), code="unavailable")
        case _:
            return said.error(400, str(error), code="invalid_value")


def _json(value: Json, status: int = 200) -> web.Response:
    return web.Response(status=status, body=wire.dumps(value).encode(), content_type="application/json")


def keys_of(key_file: str, variable: str) -> tuple[bytes, ...]:
    """The keys of a file, or of the environment where that has one. Raises WorldError for a file that holds none."""
    with suppress(WorldError):
        return read_keys(GuardOptions(keys_file=key_file, keys_variable=variable))
    return read_keys(GuardOptions(keys_file=key_file))


async def _drained(app: App) -> None:
    """Requests come to their end, unless it is told once more."""
    again = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, again.set)
    ends = [asyncio.ensure_future(one) for one in (again.wait(), app.drained(_GRACE_S))]
    await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    for one in ends:
        one.cancel()


async def serve(
    app: App, host: str, port: int, stopping: asyncio.Event, listening: Callable[[str], None], is_broken: Callable[[], bool]
) -> None:
    """Answer until ``stopping``, and then who has asked already, unless it is broken. Raises WorldError where it cannot listen."""
    inner = web.Application(client_max_size=BODY_BYTES)
    inner.router.add_route("*", "/{path:.*}", app.answer)
    runner = web.AppRunner(
        inner, access_log=None, handler_cancellation=True, shutdown_timeout=1.0, max_field_size=HEADER_BYTES, max_line_size=HEADER_BYTES
    )
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port, backlog=2048).start()
        for name in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(name, stopping.set)
        gc.freeze()  # what the program is made of need not be looked through again
        at = f"[{host}]" if ":" in host else host
        listening(f"http://{at}:{runner.addresses[0][1]}")
        await stopping.wait()
        if not is_broken():
            await _drained(app)
    except OSError as error:
        raise refusal_of(host, port, error) from error
    finally:
        await runner.cleanup()
