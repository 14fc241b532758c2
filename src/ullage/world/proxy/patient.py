"""Connections to an engine that note when they last heard of it, instead of setting a timer anew with every chunk.

aiohttp cancels a timer and makes another for each piece that arrives, a tenth of all that the guard does. A release that calls these
methods something else does so again, and is as right.
"""

import asyncio
from functools import partial

import aiohttp
from aiohttp.client_proto import ResponseHandler

from ullage.world.proxy.connections import socket_to


class PatientHandler(ResponseHandler):
    """One timer for an answer, which looks, when it ends, whether anything came meanwhile."""

    _heard_at = 0.0

    def _reschedule_timeout(self) -> None:
        self._heard_at = self._loop.time()
        if self._read_timeout_handle is None:
            super()._reschedule_timeout()

    def _on_read_timeout(self) -> None:
        self._read_timeout_handle = None
        if self._read_timeout is None:
            return
        left = self._heard_at + self._read_timeout - self._loop.time()
        if left > 0:
            self._read_timeout_handle = self._loop.call_later(left, self._on_read_timeout)
        else:
            super()._on_read_timeout()


def connector() -> aiohttp.TCPConnector:
    """As many of them as are wanted, and kept for the next request."""
    made = aiohttp.TCPConnector(limit=0, keepalive_timeout=75, socket_factory=socket_to)
    made._factory = partial(PatientHandler, loop=asyncio.get_running_loop())  # type: ignore[assignment] # noqa: SLF001 - the one way to give it ours
    return made
