"""How long an engine may send nothing of an answer, kept by one timer for the answer and not by one for each of its chunks."""

import asyncio
from collections.abc import AsyncIterator
from math import inf
from types import TracebackType
from typing import Self

import aiohttp


class Silence:
    """A time in which an answer is waited for; it ends with TimeoutError where nothing is heard for ``silent_s``."""

    def __init__(self, silent_s: float) -> None:
        self._loop, self._silent_s = asyncio.get_running_loop(), silent_s
        self._limit = asyncio.timeout(None)
        self._since = self._loop.time()

    async def __aenter__(self) -> Self:
        await self._limit.__aenter__()
        self._timer = self._loop.call_later(self._silent_s, self._look)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._timer.cancel()
        await self._limit.__aexit__(kind, error, trace)

    def is_too_long(self) -> bool:
        """Whether that is what it ended with."""
        return self._limit.expired()

    async def pieces(self, answer: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
        """The answer as it comes; the time that each piece takes to be passed on is not the engine's."""
        async for piece in answer.content.iter_any():
            self._since = inf
            yield piece
            self._since = self._loop.time()

    def heard(self) -> None:
        """Something came that is no piece."""
        self._since = self._loop.time()

    def _look(self) -> None:
        left = min(self._since + self._silent_s - self._loop.time(), self._silent_s)
        if left > 0:
            self._timer = self._loop.call_later(left, self._look)
        else:
            self._limit.reschedule(self._loop.time())
