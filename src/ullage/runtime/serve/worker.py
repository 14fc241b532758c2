"""The engine in a thread of its own, and the way its tokens take to the event loop."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from threading import Event, Thread

from ullage.runtime.engine import Engine
from ullage.runtime.request import Finish, Output, Request
from ullage.runtime.serve.voice import say
from ullage.runtime.shortage import OutOfMemoryError


class Worker:
    """Everything but the thread itself is called in the loop's thread, so that no output comes before its request is known."""

    def __init__(self, engine: Engine, loop: asyncio.AbstractEventLoop, failed: Callable[[BaseException], None]) -> None:
        self.engine = engine
        self._loop, self._failed = loop, failed
        self._waiting: dict[int, Batch] = {}
        self._wake, self._stopping = Event(), False
        engine.crowded = _tell_load
        self._thread = Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()

    def open(self, requests: Sequence[Request]) -> "Batch":
        """Take requests in together. Raises InputError where one of them is none; then none was taken."""
        batch = Batch(self)
        try:
            for index, request in enumerate(requests):
                number = self.engine.submit(request)
                batch.indices[number] = index
                self._waiting[number] = batch
        except Exception:
            batch.close()
            raise
        self._wake.set()
        return batch

    def cancel(self, number: int) -> None:
        """End a request that nobody listens to any more."""
        if self._waiting.pop(number, None) is not None:
            self.engine.cancel(number)
            self._wake.set()

    def stop(self) -> None:
        """End every request and the thread."""
        for number in tuple(self._waiting):
            self.cancel(number)
        self._stopping = True
        self._wake.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping:
            if not self._wake.wait(self.engine.settings.keep_idle_s):
                self.engine.idle()  # no prompt came again
            self._wake.clear()
            while self.engine.has_work:
                try:
                    outputs = self.engine.step()
                except BaseException as error:  # noqa: BLE001 - whatever it is, those who wait have to hear of it
                    self._tell(partial(self._die, error))
                    return
                if outputs:
                    self._tell(partial(self._deliver, outputs))

    def _tell(self, act: Callable[[], None]) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(act)

    def _deliver(self, outputs: Sequence[Output]) -> None:
        for output in outputs:
            batch = self._waiting.get(output.id)
            if batch is not None:
                batch.put(output)
                if output.finished is not None:
                    del self._waiting[output.id]

    def _die(self, error: BaseException) -> None:
        """Whoever waits is told; not of a want of memory, after which their connections break: who keeps us starts anew and asks again."""
        if isinstance(error, OutOfMemoryError):
            self._waiting.clear()
        for number, batch in self._waiting.items():
            batch.put(Output(number, None, None, Finish.ERROR, f"the engine failed: {type(error).__name__}"))
        self._waiting.clear()
        self._failed(error)


def _tell_load(running: int) -> None:
    """So that a log tells what load there was."""
    say(f"running: {running} sequences at once")


class Batch:
    """The outputs of requests that were taken in together."""

    def __init__(self, worker: Worker) -> None:
        self.indices: dict[int, int] = {}  # of the requests, by the engine's numbers
        self._worker = worker
        self._outputs: asyncio.Queue[Output] = asyncio.Queue()

    def put(self, output: Output) -> None:
        """One more output."""
        self._outputs.put_nowait(output)

    async def outputs(self) -> AsyncIterator[tuple[int, Output]]:
        """(index of the request, output) as they come, until every request ended."""
        while self.indices:
            output = await self._outputs.get()
            index = self.indices.get(output.id)
            if index is None:
                continue  # it was ended from here
            if output.finished is not None:
                del self.indices[output.id]
            yield index, output

    def end(self, index: int) -> None:
        """Nothing more of this request is wanted."""
        for number in [number for number, own in self.indices.items() if own == index]:
            del self.indices[number]
            self._worker.cancel(number)

    def close(self) -> None:
        """Nothing more is wanted."""
        for number in tuple(self.indices):
            self._worker.cancel(number)
        self.indices.clear()
