"""Connections: no more than there are file handles for, and none to somebody who takes nothing of what is sent."""

import asyncio
import resource
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from aiohttp import AddrInfoType

from ullage.world.proxy import said

_WANTED_HANDLES = 65536
_SPARE_HANDLES, _USUAL_HANDLES = 16, 48  # for files that are opened now and then; for what is open where nobody tells
_BACKLOG, _RETRY_S = 2048, 5
_HEAD = (
    "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\n"
    "Content-Length: {}\r\nRetry-After: {}\r\nConnection: close\r\n\r\n"
)


def most_connections() -> int:
    """How many callers may be connected, each with a connection to the engine; as many handles as allowed are asked for first."""
    most, allowed = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _WANTED_HANDLES if allowed == resource.RLIM_INFINITY else min(allowed, _WANTED_HANDLES)
    if most != resource.RLIM_INFINITY and most < wanted:
        with suppress(OSError, ValueError):  # some systems allow less than they say
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, allowed))
            most = wanted
    try:
        used = sum(1 for _ in Path("/proc/self/fd").iterdir())
    except OSError:
        used = _USUAL_HANDLES
    left = (_WANTED_HANDLES if most == resource.RLIM_INFINITY else most) - used - _SPARE_HANDLES
    return max(2, left // 2)


def socket_to(address: AddrInfoType) -> socket.socket:
    """A socket that connects already: on one machine that is done at once, and whoever waits for it need not wait."""
    family, kind, protocol, _, where = address
    made = socket.socket(family, kind, protocol)
    if sys.platform == "linux":  # elsewhere asking again for a connection that is there is an error
        made.setblocking(False)
        made.connect_ex(where)  # what fails here fails again, and is told, where it is waited for
    return made


def settle(listening: asyncio.Server, seconds: float) -> None:
    """Have many wait, though few are accepted at once; and end, where the system can, who takes nothing of what is sent for so long."""
    for one in listening.sockets:
        with socket.fromfd(one.fileno(), one.family, one.type) as same:
            same.listen(_BACKLOG)
            with suppress(OSError, AttributeError):
                same.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, max(1, int(seconds * 1000)))


class Entrance(asyncio.Protocol):
    """A new connection, before the server has it: who comes when all places are taken gets one answer, whatever is asked."""

    def __init__(self, make: Callable[[], asyncio.Protocol], connected: Callable[[], int], most: int) -> None:
        self._make, self._connected, self._most = make, connected, most

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Now, not when it was accepted, is known how many are there: many are accepted at once."""
        if self._connected() < self._most:
            server = self._make()
            transport.set_protocol(server)
            server.connection_made(transport)
            return
        body = said.error_body(503, "Too many are connected; come again.", code="too_many_connections")
        if isinstance(transport, asyncio.Transport):
            transport.write(_HEAD.format(len(body), _RETRY_S).encode() + body)
        transport.close()
