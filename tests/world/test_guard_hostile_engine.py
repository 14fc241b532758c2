"""Engines that answer what no server should: the request ends in one way all the same, and nothing of it is left."""

import asyncio

import aiohttp
import pytest
from tests.world.engines_on_loopback import ask, engine_of_bytes, on_a_loop
from tests.world.test_guard import HELLO, error_of, guarded, until

OK = b"HTTP/1.1 200 OK\r\n"
STREAM = OK + b"Content-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
FIRST = b"9\r\ndata: x\n\n\r\n"


@pytest.mark.parametrize(
    "pieces",
    [
        (b"",),
        (b"hello\r\n\r\n",),
        (OK + b"Content-Ty",),
        (OK + b"X-Long: " + b"y" * 100_000 + b"\r\n\r\n",),
        (OK + b"Content-Length: 100\r\n\r\n{}",),
        (OK + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",),
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n",),
    ],
    ids=["nothing", "no HTTP", "half a head", "a huge head", "less than it says", "two lengths", "another protocol"],
)
def test_what_is_no_answer_is_asked_for_again_and_then_said_to_be_none(pieces: tuple[bytes, ...]) -> None:
    @on_a_loop
    async def asked() -> None:
        async with engine_of_bytes(*pieces) as engine, guarded(engine) as guard, aiohttp.ClientSession() as session:
            status, body = await asyncio.wait_for(ask(session, guard.url, messages=HELLO), 5)
            assert (status, error_of(body)["code"], len(engine.asked)) == (503, "unavailable", 3)
            await until(lambda: not guard.state().in_flight and len(guard.records()) == 1)

    asked()


@pytest.mark.parametrize("rest", [b"", b"100\r\ndata: y", b"zz\r\n"], ids=["without an end", "in a chunk", "in what is no chunk"])
def test_a_stream_that_breaks_off_ends_with_an_error_event(rest: bytes) -> None:
    @on_a_loop
    async def asked() -> None:
        async with engine_of_bytes(STREAM + FIRST, rest) as engine, guarded(engine) as guard, aiohttp.ClientSession() as session:
            status, body = await asyncio.wait_for(ask(session, guard.url, messages=HELLO, stream=True), 5)
            assert status == 200
            assert error_of(body.strip().split(b"\n\n")[-1].removeprefix(b"data: "))["code"] == "engine_died"
            await until(lambda: [record.ended for record in guard.records()] == ["failed"])

    asked()


@on_a_loop
async def test_an_answer_in_one_piece_that_is_too_long_to_be_held_goes_through_as_it_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ullage.world.proxy.exchange.LARGEST_WHOLE", 1000)
    for size in (999, 300_000):
        async with engine_of_bytes(OK + b"Content-Length: %d\r\n\r\n" % size, b"x" * size) as engine, guarded(engine) as guard:
            async with aiohttp.ClientSession() as session:
                assert await ask(session, guard.url, messages=HELLO) == (200, b"x" * size)
            await until(lambda: [record.ended for record in guard.records()] == ["finished"])


@on_a_loop
async def test_nobody_is_sent_past_the_guard() -> None:
    away = b"HTTP/1.1 307 Temporary Redirect\r\nLocation: http://inner/\r\nContent-Length: 0\r\n\r\n"
    async with (
        engine_of_bytes(away) as engine,
        guarded(engine) as guard,
        aiohttp.ClientSession() as session,
        session.post(guard.url + "/v1/completions", data=b'{"prompt": "a"}', allow_redirects=False) as seen,
    ):
        assert (seen.status, "Location" in seen.headers) == (307, False)
