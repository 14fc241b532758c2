"""Connections: no more than there are file handles for, and none to somebody who takes nothing of what is sent."""

import asyncio
import resource
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from ullage.world.proxy import said

_WANTED_HANDLES = 65536
_SPARE_HANDLES, _USUAL_HANDLES = 16, 48  # for files that are opened now and then; for what is open where nobody tells
_RETRY_S = 5
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


def let_in(make: Callable[[], asyncio.Protocol], connected: Callable[[], int], most: int) -> Callable[[], asyncio.Protocol]:
    """Makes the protocol of a new connection: that of the server, or one that says that there is no room."""
    return lambda: make() if connected() < most else _Full()


def drop_the_stalled(listening: socket.socket, seconds: float) -> None:
    """Connections that are taken from here on end when nothing of what is sent is taken for so long; nothing where the system cannot."""
    with suppress(OSError, AttributeError):
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, max(1, int(seconds * 1000)))


class _Full(asyncio.Protocol):
    """One answer, whatever is asked."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        body = said.error_body(503, "Too many are connected; come again.", code="too_many_connections")
        if isinstance(transport, asyncio.Transport):
            transport.write(_HEAD.format(len(body), _RETRY_S).encode() + body)
        transport.close()
