"""Engines that are well and send nothing: the caller hears of it, the engine that nobody waits, and the memory is free again."""

import asyncio
from collections.abc import Callable
from typing import Any

import aiohttp
import pytest
from tests.world.engines_on_loopback import LoopbackEngine, ask, loopback_engine, on_a_loop
from tests.world.test_guard import HELLO, error_of, guarded, until

from ullage.world.proxy.guard import RealGuard

SILENT_S = 0.3
EVENT = b'data: {"x":1}\n\n'


async def is_free(guard: RealGuard, engine: LoopbackEngine) -> None:
    await until(lambda: [(record.ended, record.status) for record in guard.records()] == [("late", 504)])
    state = guard.state()
    assert (state.reserved_bytes, state.sequences, state.served, state.up) == (0, 0, {}, True)
    await until(lambda: engine.cancelled == 1)


@pytest.mark.parametrize("stream", [True, False])
def test_an_answer_that_never_begins_is_said_to_be_late_and_not_asked_for_again(*, stream: bool) -> None:
    @on_a_loop
    async def asked() -> None:
        async with loopback_engine() as engine, guarded(engine, silent_s=SILENT_S) as guard, aiohttp.ClientSession() as session:
            engine.first_wait = 60
            status, body = await asyncio.wait_for(ask(session, guard.url, messages=HELLO, stream=stream), 5)
            assert (status, error_of(body)["code"], len(engine.asked)) == (504, "timeout", 1)
            assert "nothing of this answer for 0.3 s" in error_of(body)["message"]
            await is_free(guard, engine)
            engine.first_wait = 0
            assert (await ask(session, guard.url, messages=HELLO, stream=stream))[0] == 200

    asked()


@on_a_loop
async def test_a_stream_that_goes_on_no_more_ends_with_an_error_event() -> None:
    async with (
        loopback_engine(chunks=(EVENT, EVENT), gap_s=60) as engine,
        guarded(engine, silent_s=SILENT_S) as guard,
        aiohttp.ClientSession() as session,
    ):
        status, body = await asyncio.wait_for(ask(session, guard.url, messages=HELLO, stream=True), 5)
        first, last = body.strip().split(b"\n\n")[0], body.strip().split(b"\n\n")[-1]
        assert (status, first + b"\n\n") == (200, EVENT)
        assert error_of(last.removeprefix(b"data: "))["code"] == "timeout"
        assert b"[DONE]" not in body
        await is_free(guard, engine)


@on_a_loop
async def test_a_long_stream_that_goes_on_is_not_late() -> None:
    async with (
        loopback_engine(chunks=(EVENT,) * 8, gap_s=SILENT_S / 3) as engine,
        guarded(engine, silent_s=SILENT_S) as guard,
        aiohttp.ClientSession() as session,
    ):
        assert await ask(session, guard.url, messages=HELLO, stream=True) == (200, EVENT * 8)
        await until(lambda: [record.ended for record in guard.records()] == ["finished"])


@on_a_loop
async def test_a_caller_who_reads_slowly_does_not_make_the_engine_late() -> None:
    async with (
        loopback_engine(chunks=(b"data: " + b"x" * (1 << 20) + b"\n\n",) * 16) as engine,
        guarded(engine, silent_s=SILENT_S) as guard,
        aiohttp.ClientSession(read_bufsize=1 << 12) as session,
        session.post(guard.url + "/v1/chat/completions", json={"messages": HELLO, "stream": True}) as seen,
    ):
        await asyncio.sleep(SILENT_S * 3)
        assert len(await seen.read()) == 16 * ((1 << 20) + 8)
        await until(lambda: [record.ended for record in guard.records()] == ["finished"])


@on_a_loop
async def test_a_stream_sets_one_timer_and_not_one_for_each_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    timers: list[float] = []
    call_later = asyncio.BaseEventLoop.call_later

    def noted(loop: asyncio.BaseEventLoop, after: float, act: Callable[..., object], *words: object, **more: Any) -> asyncio.TimerHandle:
        timers.append(after)
        return call_later(loop, after, act, *words, **more)

    monkeypatch.setattr(asyncio.BaseEventLoop, "call_later", noted)
    async with (
        loopback_engine(chunks=(EVENT,) * 20, gap_s=0.002) as engine,
        guarded(engine, silent_s=12.5) as guard,
        aiohttp.ClientSession() as session,
    ):
        assert await ask(session, guard.url, messages=HELLO, stream=True) == (200, EVENT * 20)
    assert sum(after == 12.5 for after in timers) == 1
