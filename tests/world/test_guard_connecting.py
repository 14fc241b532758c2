"""A connection to an engine on the same machine is made at once, not some turns of the event loop later."""

import asyncio
import socket
import sys
from collections.abc import Coroutine, Iterator
from typing import Any

import pytest
from aiohttp import AddrInfoType
from tests.world.engines_on_loopback import on_a_loop

from ullage.world.proxy.connections import socket_to

only_on_linux = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a second question for a connection is an error")


@pytest.fixture
def listening() -> Iterator[AddrInfoType]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.family, server.type, server.proto, "", server.getsockname()


def waits(work: Coroutine[Any, Any, None]) -> bool:
    """Whether it has to wait for anything."""
    try:
        work.send(None)
    except StopIteration:
        return False
    work.close()
    return True


@only_on_linux
def test_a_connection_on_this_machine_needs_no_turn_of_the_loop(listening: AddrInfoType) -> None:
    @on_a_loop
    async def both() -> None:
        loop = asyncio.get_running_loop()
        with socket_to(listening) as ours, socket.socket() as plain:
            plain.setblocking(False)
            assert waits(loop.sock_connect(plain, listening[4]))
            assert not waits(loop.sock_connect(ours, listening[4]))
            assert ours.getpeername() == listening[4]

    both()


@on_a_loop
async def test_a_connection_that_nobody_takes_is_told_where_it_is_waited_for() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        gone = server.getsockname()
    with socket_to((socket.AF_INET, socket.SOCK_STREAM, 0, "", gone)) as ours, pytest.raises(ConnectionRefusedError):
        await asyncio.wait_for(asyncio.get_running_loop().sock_connect(ours, gone), 5)
