"""A guard: a thread of its own with one event loop, in which everything here happens but the calls of others."""

import asyncio
import gc
import logging
import threading
import time
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from functools import partial
from typing import Any

from aiohttp import web

from ullage.domain.admission import CostModel, EngineGone, EngineReady, Event, Started, State
from ullage.domain.guard import GuardOptions, GuardRecord, Step
from ullage.errors import UllageError, WorldError
from ullage.frozen import replace
from ullage.world.proxy import headers
from ullage.world.proxy.connections import Entrance, most_connections, settle
from ullage.world.proxy.counting import PromptCounter, counter_of
from ullage.world.proxy.gate import Gate
from ullage.world.proxy.journal import Journal
from ullage.world.proxy.keys import read_keys
from ullage.world.proxy.records import Records
from ullage.world.proxy.routes import Routes
from ullage.world.proxy.upstream import Upstream

_SILENT = logging.getLogger("ullage.guard")  # what aiohttp notes of a broken request shows its headers, and with them keys
_SILENT.disabled = True


def open_guard(
    options: GuardOptions, state: State, step: Step, documents: Mapping[str, bytes], metadata: Mapping[str, object]
) -> "RealGuard":
    """A guard that is not started yet. Raises WorldError where its keys cannot be read or its records not written."""
    return RealGuard(options, state, step, counter_of(documents, metadata, state.cost.item_tokens))


class RealGuard:
    """As the port says."""

    def __init__(self, options: GuardOptions, state: State, step: Step, counter: PromptCounter) -> None:
        keys = read_keys(options)
        self._options = options
        self._journal = Journal(options.journal, options.journal_bytes) if options.journal else None
        self._gate = Gate(state, step, Records(options.records, self._journal))
        self._engine = Upstream(self._gate, options, drops_key=bool(keys))
        self._routes = Routes(options, keys, self._gate, self._engine, counter)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="guard", daemon=True)
        self._listening = threading.Event()
        self._stopping = asyncio.Event()
        self._failure: Exception | None = None
        self._port = options.port
        self._told_dead = False

    @property
    def url(self) -> str:
        """As the port says."""
        host = self._options.host
        return f"http://[{host}]:{self._port}" if ":" in host else f"http://{host}:{self._port}"

    def start(self) -> None:
        """As the port says."""
        self._thread.start()
        self._listening.wait()
        if self._failure is not None:
            self._thread.join()
            where, why = f"{self._options.host}:{self._options.port}", getattr(self._failure, "strerror", None) or self._failure
            raise WorldError(f"the guard cannot listen on {where}: {why}; give another --port or --host") from self._failure

    def stop(self) -> None:
        """As the port says."""
        if self._thread.is_alive():
            self._tell(self._stopping.set)
            self._thread.join()

    def engine_ready(self, url: str, cost: CostModel | None = None) -> None:
        """As the port says."""
        self._tell(lambda: self._start_task(self._ready(url, cost)))

    def engine_died(self) -> None:
        """As the port says."""
        self._tell(lambda: self._start_task(self._died()))

    def engine_gone(self) -> None:
        """As the port says."""
        self._tell(lambda: self._start_task(self._gone()))

    def drain(self) -> bool:
        """As the port says."""
        self._tell(self._routes.drain)
        state = self._gate.state
        return bool(state.in_flight or state.waiting or state.replays)

    def observe(self, event: Event) -> None:
        """As the port says; others' clocks are not asked."""
        now = event if isinstance(event, Started) else replace(event, at=time.monotonic())
        self._tell(lambda: self._gate.dispatch(now))

    def state(self) -> State:
        """As the port says."""
        return self._gate.state

    def records(self) -> tuple[GuardRecord, ...]:
        """As the port says."""
        return tuple(self._gate.records.ring)

    def _tell(self, act: Callable[[], object]) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody is there to be told
            self._loop.call_soon_threadsafe(act)

    def _start_task(self, work: Coroutine[Any, Any, None]) -> None:
        self._routes.keep(self._loop.create_task(work))

    async def _ready(self, url: str, cost: CostModel | None = None) -> None:
        self._told_dead = False
        await self._engine.move(url)
        self._gate.dispatch(EngineReady(at=time.monotonic(), cost=cost))

    async def _died(self) -> None:
        self._told_dead = True
        self._gate.died()
        await self._engine.close()

    async def _gone(self) -> None:
        self._told_dead = True
        self._gate.dispatch(EngineGone(at=time.monotonic()))
        await self._engine.close()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._live())
        except Exception as error:  # noqa: BLE001 - told to who waits for it to listen
            self._failure = error
        finally:
            self._listening.set()
            self._loop.close()
            if self._journal is not None:
                self._journal.close()

    async def _live(self) -> None:
        server = web.Server(
            self._routes.answer,
            request_factory=partial(headers.SignedRequest, loop=self._loop),
            access_log=None,
            logger=_SILENT,
            auto_decompress=False,
            handler_cancellation=True,
            keepalive_timeout=self._options.idle_s,
            lingering_time=2.0,  # for the rest of a body that was refused
            max_field_size=self._options.header_bytes,
            max_line_size=self._options.header_bytes,
        )
        runner = web.ServerRunner(server, shutdown_timeout=0.2)
        await runner.setup()
        listening: asyncio.Server | None = None
        try:
            most = most_connections()
            listening = await self._loop.create_server(
                lambda: Entrance(server, lambda: len(server.connections), most),
                self._options.host,
                self._options.port,
                backlog=min(256, max(1, most // 4)),  # so many are accepted at once
            )
            settle(listening, self._options.stall_s)
            self._port = listening.sockets[0].getsockname()[1]
            gc.freeze()  # what the program is made of need not be looked through again, which would hold up every stream
            self._listening.set()
            await self._watch()
        finally:
            if listening is not None:
                listening.close()
            gc.unfreeze()
            await self._engine.close()
            await runner.cleanup()

    async def _watch(self) -> None:
        """Until it is to stop: time for the step, and a look whether an engine that did not answer does so again."""
        if self._options.engine_url:
            await self._engine.move(self._options.engine_url)
        while not self._stopping.is_set():
            self._gate.tick()
            if not self._gate.state.up and not self._told_dead and self._engine.url and await self._engine.answers():
                with suppress(UllageError):
                    await self._ready(self._engine.url)
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), self._options.poll_s)
