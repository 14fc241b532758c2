"""The guard against a real engine on loopback: what goes through, what is held up, and what becomes of a request when the engine dies."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from tests.world.engines_on_loopback import ODD_CHUNKS, LoopbackEngine, ask, loopback_engine, on_a_loop
from yarl import URL

from ullage import wire
from ullage.domain.admission import CostModel, EngineDied, EngineReady, Limits, Reject
from ullage.domain.guard import GuardOptions
from ullage.errors import WorldError
from ullage.planning.admit import begin, step
from ullage.world.proxy.counting import Count, PromptCounter
from ullage.world.proxy.eager import Rest, left
from ullage.world.proxy.gate import Gate
from ullage.world.proxy.guard import RealGuard, open_guard
from ullage.world.proxy.records import Records

COST = CostModel(pool_bytes=1000, steps=tuple((at, at) for at in range(10, 1001, 10)), longest_tokens=500, most_sequences=4)
HELLO = [{"role": "user", "content": "hello"}]


class Words:
    """A tokeniser whose tokens are the words."""

    def encode(self, text: str, *, special: bool = True, add_special: bool = False) -> list[int]:  # noqa: ARG002 - a tokeniser's own
        return [1] * len(text.split())


WORDS = PromptCounter(tokenizer=Words(), template="{% for m in messages %}{{ m.content }} {% endfor %}")  # type: ignore[arg-type]


@asynccontextmanager
async def guarded(
    engine: LoopbackEngine | None, limits: Limits | None = None, counter: PromptCounter = WORDS, **said: Any
) -> AsyncIterator[RealGuard]:
    guard = RealGuard(GuardOptions(poll_s=0.02, **said), begin(COST, limits), step, counter)
    guard.start()
    try:
        if engine is not None:
            guard.engine_ready(engine.url)
        yield guard
    finally:
        await asyncio.get_running_loop().run_in_executor(None, guard.stop)


async def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 5
    while not holds():
        assert time.monotonic() < end, "it did not come about"
        await asyncio.sleep(0.005)


def error_of(body: bytes) -> dict[str, Any]:
    return wire.loads(body)["error"]  # type: ignore[index, call-overload, return-value]


@on_a_loop
async def test_a_stream_passes_unchanged_byte_for_byte_and_its_headers_too() -> None:
    async with loopback_engine() as engine, guarded(engine) as guard, aiohttp.ClientSession() as session:
        body = b'{"messages": [{"role":"user","content":"h\\u00e4"}], "stream":true,  "odd": 1.50}'
        async with session.post(
            guard.url + "/v1/chat/completions", data=body, headers={"X-Mine": "1", "Connection": "keep-alive, X-Hop", "X-Hop": "1"}
        ) as seen:
            assert await seen.read() == b"".join(ODD_CHUNKS)
            assert seen.headers["Content-Type"] == "text/event-stream"
            assert seen.headers["X-Engine"] == "yes"
        path, passed, headers = engine.asked[0]
        assert (path, passed, headers["X-Mine"]) == ("/v1/chat/completions", body, "1")
        assert "X-Hop" not in headers
        await until(lambda: bool(guard.records()))
        record = guard.records()[0]
        assert (record.ended, record.status, record.prompt_tokens, record.generated) == ("finished", 200, 1, 3)


@on_a_loop
async def test_chunks_come_as_they_are_made_and_not_at_the_end() -> None:
    async with loopback_engine(gap_s=0.1) as engine, guarded(engine) as guard, aiohttp.ClientSession() as session:
        begun = time.monotonic()
        async with session.post(guard.url + "/v1/chat/completions", data=wire.dumps({"messages": HELLO, "stream": True})) as seen:  # type: ignore[dict-item]
            await seen.content.readany()
            first = time.monotonic() - begun
            await seen.read()
            assert first < (time.monotonic() - begun) / 2


@on_a_loop
async def test_every_known_path_is_passed_and_any_other_is_not_there() -> None:
    async with loopback_engine() as engine, guarded(engine) as guard, aiohttp.ClientSession() as session:
        assert (await ask(session, guard.url, "/v1/completions", prompt="one two"))[0] == 200
        assert (await ask(session, guard.url, "/v1/embeddings", input=["one", "two"]))[0] == 200
        assert (await ask(session, guard.url, "/v1/responses", input="one two"))[0] == 200
        for path, status in (("/v1/models", 200), ("/v1/models/x", 200), ("/health", 200), ("/v1/files", 404), ("/shutdown", 404)):
            async with session.get(guard.url + path) as seen:
                assert seen.status == status, path
        async with session.get(guard.url + "/metrics") as seen:
            page = await seen.text()
        assert 'ullage_guard_requests_total{end="finished"} 3' in page
        assert "ullage_guard_in_flight_requests 0" in page
        assert [record.generated for record in guard.records()] == [7, 7, 7]


@on_a_loop
async def test_a_record_says_whether_an_answer_ended_by_itself_or_at_the_length_it_was_allowed() -> None:
    async with loopback_engine() as engine, guarded(engine) as guard, aiohttp.ClientSession() as session:
        for said in ({}, {"max_tokens": 8}, {"max_tokens": 7}):
            assert (await ask(session, guard.url, "/v1/completions", prompt="one two", **said))[0] == 200
        assert [record.was_cut for record in guard.records()] == [False, False, True]


@on_a_loop
async def test_no_path_leads_out_of_those_that_are_passed() -> None:
    async with loopback_engine() as engine, guarded(engine) as guard, aiohttp.ClientSession() as session:
        for path in ("/v1/models/../../shutdown", "/v1/models/%2e%2e/%2e%2e/shutdown", "/v1/models/..%2f..%2fshutdown", "//shutdown"):
            async with session.get(URL(guard.url + path, encoded=True)) as seen:
                assert seen.status == 404, path
        assert engine.asked == []


@on_a_loop
async def test_a_client_that_goes_away_ends_the_request_at_the_engine() -> None:
    async with loopback_engine(chunks=(b"data: x\n\n",) * 500, gap_s=0.02) as engine, guarded(engine) as guard:
        async with (
            aiohttp.ClientSession() as session,
            session.post(
                guard.url + "/v1/chat/completions",
                data=wire.dumps({"messages": HELLO, "stream": True}),  # type: ignore[dict-item]
            ) as seen,
        ):
            await seen.content.readany()
            seen.close()
        await until(lambda: engine.cancelled == 1)
        await until(lambda: bool(guard.records()))
        assert guard.records()[0].ended == "cancelled"
        assert guard.state().reserved_bytes == 0


@on_a_loop
async def test_an_over_long_request_is_refused_with_the_right_numbers() -> None:
    async with loopback_engine() as engine, guarded(engine) as guard, aiohttp.ClientSession() as session:
        status, body = await ask(session, guard.url, "/v1/completions", prompt="w " * 450, max_tokens=100)
        said = error_of(body)
        assert (status, said["need"], said["have"], said["longest_tokens"]) == (400, 550, 500, 500)
        assert (said["type"], said["code"]) == ("invalid_request_error", "context_length_exceeded")
        assert "at most 50 tokens of answer" in said["message"]
        assert engine.asked == []


@on_a_loop
async def test_an_answer_is_capped_to_what_is_left_when_asked_to() -> None:
    async with loopback_engine() as engine, guarded(engine, Limits(caps_answers=True)) as guard, aiohttp.ClientSession() as session:
        status, _ = await ask(session, guard.url, "/v1/completions", prompt="w " * 450, max_tokens=100, odd="kept")
        assert status == 200
        assert wire.loads(engine.asked[0][1]) == {"prompt": "w " * 450, "max_tokens": 50, "odd": "kept"}


@on_a_loop
async def test_without_a_tokeniser_a_long_text_is_bounded_and_not_refused() -> None:
    async with loopback_engine() as engine, guarded(engine, counter=PromptCounter()) as guard, aiohttp.ClientSession() as session:
        assert (await ask(session, guard.url, "/v1/completions", prompt="word " * 300, max_tokens=10))[0] == 200
        await until(lambda: bool(guard.records()))
        assert (guard.records()[0].is_exact, guard.records()[0].prompt_tokens) == (False, 1501)
        assert (await ask(session, guard.url, "/v1/completions", prompt=[1] * 600))[0] == 400


@on_a_loop
async def test_what_does_not_fit_now_waits_until_it_does_and_a_full_queue_says_when_to_come_again() -> None:
    async with loopback_engine() as engine, guarded(engine, Limits(queue_requests=2)) as guard, aiohttp.ClientSession() as session:
        engine.first_wait = 0.15
        sent = [asyncio.create_task(ask(session, guard.url, "/v1/completions", prompt="w " * 400, max_tokens=90)) for _ in range(4)]
        await until(lambda: len(guard.state().in_flight) == 2 and len(guard.state().waiting) == 2)
        async with session.post(guard.url + "/v1/completions", data=b'{"prompt": "x", "max_tokens": 490}') as seen:
            assert seen.status == 429
            assert int(seen.headers["Retry-After"]) >= 1
        assert [status for status, _ in await asyncio.gather(*sent)] == [200] * 4
        assert engine.most_running == 2
        await until(lambda: len(guard.records()) == 5)
        assert sum(record.queue_s > 0.1 for record in guard.records() if record.ended == "finished") == 2
        assert max(record.reserved_bytes for record in guard.records()) <= COST.pool_bytes


@on_a_loop
async def test_what_waits_too_long_is_sent_away_with_a_time() -> None:
    async with guarded(None, Limits(deadline_s=0.05)) as guard, aiohttp.ClientSession() as session:
        status, body = await ask(session, guard.url, messages=HELLO)
        assert status == 503
        assert error_of(body)["code"] == "unavailable"


@on_a_loop
async def test_requests_not_yet_answered_are_sent_again_when_the_engine_is_back() -> None:
    async with loopback_engine() as engine, guarded(engine) as guard, aiohttp.ClientSession() as session:
        engine.first_wait = 30
        sent = [asyncio.create_task(ask(session, guard.url, messages=HELLO, stream=streams, max_tokens=9)) for streams in (True, False)]
        await until(lambda: len(engine.asked) == 2)
        guard.engine_died()
        await engine.die()
        await until(lambda: len(guard.state().replays) == 2)
        async with session.get(guard.url + "/health") as seen:
            assert (seen.status, (await seen.json())["waiting"]) == (503, 2)
        engine.first_wait = 0
        await engine.start()
        guard.engine_ready(engine.url)
        answers = await asyncio.wait_for(asyncio.gather(*sent), 5)
        assert [status for status, _ in answers] == [200, 200]
        assert answers[0][1] == b"".join(ODD_CHUNKS)
        await until(lambda: len(guard.records()) == 2)
        assert [record.replays for record in guard.records()] == [1, 1]


@on_a_loop
async def test_a_stream_that_had_begun_ends_with_an_error_event_when_the_engine_dies() -> None:
    async with loopback_engine(chunks=(b"data: x\n\n",) * 500, gap_s=0.02) as engine, guarded(engine) as guard:
        async with aiohttp.ClientSession() as session:
            sent = asyncio.create_task(ask(session, guard.url, messages=HELLO, stream=True))
            await until(lambda: any(ticket.streamed for ticket in guard.state().in_flight.values()))
            await engine.die()  # nobody tells the guard
            status, body = await asyncio.wait_for(sent, 5)
        assert status == 200
        *_, last = body.strip().split(b"\n\n")
        assert error_of(last.removeprefix(b"data: "))["code"] == "engine_died"
        await until(lambda: bool(guard.records()))
        assert guard.records()[0].ended == "failed"
        assert not guard.state().up


@on_a_loop
async def test_alone_it_finds_out_for_itself_that_the_engine_is_back() -> None:
    async with loopback_engine() as engine, guarded(None, engine_url=engine.url) as guard, aiohttp.ClientSession() as session:
        assert (await ask(session, guard.url, messages=HELLO))[0] == 200
        await engine.die()
        sent = asyncio.create_task(ask(session, guard.url, messages=HELLO))
        await until(lambda: not guard.state().up)
        await engine.start()
        assert (await asyncio.wait_for(sent, 5))[0] == 200


@on_a_loop
async def test_an_engine_that_does_not_come_back_leaves_nobody_waiting() -> None:
    async with guarded(None) as guard, aiohttp.ClientSession() as session:
        sent = asyncio.create_task(ask(session, guard.url, messages=HELLO))
        await until(lambda: len(guard.state().waiting) == 1)
        guard.engine_gone()
        assert (await sent)[0] == 503


@on_a_loop
async def test_who_is_here_is_answered_and_who_comes_is_sent_away_while_the_engine_is_to_end() -> None:
    async with loopback_engine(gap_s=0.1) as engine, guarded(engine) as guard, aiohttp.ClientSession() as session:
        sent = asyncio.create_task(ask(session, guard.url, messages=HELLO, stream=True))
        await until(lambda: len(guard.state().in_flight) == 1)
        assert guard.drain()
        await asyncio.sleep(0.05)
        status, body = await ask(session, guard.url, messages=HELLO)
        assert (status, error_of(body)["message"]) == (503, "The server is stopping.")
        async with session.get(guard.url + "/health") as seen:
            assert (seen.status, (await seen.json())["status"]) == (503, "stopping")
        status, body = await sent
        assert (status, body.endswith(b"data: [DONE]\n\n")) == (200, True)
        await until(lambda: not guard.drain())


@on_a_loop
async def test_bodies_and_headers_beyond_their_limits_are_not_read() -> None:
    async with (
        loopback_engine() as engine,
        guarded(engine, body_bytes=1000, header_bytes=2000) as guard,
        aiohttp.ClientSession() as session,
    ):
        assert (await ask(session, guard.url, "/v1/completions", prompt="x" * 2000))[0] == 413

        async def endless() -> AsyncIterator[bytes]:
            for _ in range(10):
                yield b"x" * 500

        async with session.post(guard.url + "/v1/completions", data=endless()) as seen:
            assert seen.status == 413
        many = {f"X-{index}": "y" * 100 for index in range(30)}
        async with session.post(guard.url + "/v1/completions", data=b"{}", headers=many) as seen:
            assert seen.status == 431
        assert engine.asked == []


@on_a_loop
async def test_only_who_shows_a_key_is_served_and_the_engine_never_sees_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = tmp_path / "keys"
    keys.write_text("one\ntwo\n")
    monkeypatch.setenv("ENGINE_KEY", "inner")
    async with loopback_engine() as engine, guarded(engine, keys_file=str(keys), engine_key_variable="ENGINE_KEY") as guard:
        for shown, status in (("two", 200), ("three", 401), ("", 401), ("onee", 401)):
            async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {shown}"}) as session:
                assert (await ask(session, guard.url, messages=HELLO))[0] == status
        assert [headers["Authorization"] for _, _, headers in engine.asked] == ["Bearer inner"]
        assert guard.records()[0].client == "key 1"


@on_a_loop
async def test_a_body_that_is_no_request_is_refused_and_what_only_the_engine_can_judge_is_passed() -> None:
    async with loopback_engine() as engine, guarded(engine) as guard, aiohttp.ClientSession() as session:
        for body in (b"", b"{", b"[]", b'{"messages": 3}', b"\xff"):
            async with session.post(guard.url + "/v1/chat/completions", data=body) as seen:
                assert (seen.status, error_of(await seen.read())["code"]) == (400, "invalid_body"), body
        assert (await ask(session, guard.url, messages=HELLO, max_tokens="many", n=0))[0] == 200


@on_a_loop
async def test_sixty_four_mixed_requests_all_end_in_one_way() -> None:
    async with loopback_engine(chunks=(b"data: x\n\n",) * 5, gap_s=0.005) as engine, guarded(engine, Limits(queue_requests=40)) as guard:
        async with aiohttp.ClientSession() as session:

            async def one(index: int) -> int:
                words = "w " * (600 if index % 8 == 1 else 100 + index)
                sent = asyncio.create_task(ask(session, guard.url, "/v1/completions", prompt=words, max_tokens=50, stream=bool(index % 3)))
                if index % 4 == 0:
                    await asyncio.sleep(0.002 * (index % 16))
                    sent.cancel()
                return (await asyncio.gather(sent, return_exceptions=True))[0] is not None

            await asyncio.gather(*(one(index) for index in range(64)))
        await until(lambda: not guard.state().in_flight and not guard.state().waiting)
        ends = [record.ended for record in guard.records()]
        assert len({record.id for record in guard.records()}) == len(ends) <= 64
        assert ends.count("refused") == 8
        assert set(ends) <= {"finished", "cancelled", "refused", "rejected"}
        assert engine.most_running <= 4


def test_a_port_that_is_taken_and_keys_that_are_not_there_are_said(tmp_path: Path) -> None:
    first = open_guard(GuardOptions(), begin(COST), step, {}, {})
    first.start()
    try:
        second = open_guard(GuardOptions(port=int(first.url.rpartition(":")[2])), begin(COST), step, {}, {})
        with pytest.raises(WorldError, match="cannot listen"):
            second.start()
    finally:
        first.stop()
    with pytest.raises(WorldError, match="cannot be read"):
        open_guard(GuardOptions(keys_file=str(tmp_path / "none")), begin(COST), step, {}, {})
    with pytest.raises(WorldError, match="holds no key"):
        open_guard(GuardOptions(keys_variable="SURELY_NOT_SET"), begin(COST), step, {}, {})


@pytest.fixture(autouse=True)
def no_guard_is_left() -> Iterator[None]:
    yield
    assert not [thread for thread in threading.enumerate() if thread.name == "guard"]


@on_a_loop
async def test_of_two_decisions_that_come_at_once_the_later_one_holds() -> None:
    """The engine dies for good between letting a request in and its task looking."""
    gate = Gate(begin(COST), step, Records(4))
    slot = gate.enter("c", "/v1/completions", Count((10,), is_exact=True), 5)
    waiting = asyncio.create_task(slot.decided())
    await asyncio.sleep(0)
    for event in (EngineReady(at=1), EngineDied(at=2), EngineReady(at=3), EngineDied(at=4), EngineReady(at=5), EngineDied(at=6)):
        gate.dispatch(event)
    assert isinstance(await waiting, Reject)
    assert not slot.decision.done()


@on_a_loop
async def test_a_body_that_the_connection_takes_in_parts_is_written_whole() -> None:
    async with loopback_engine() as engine, guarded(engine) as guard, aiohttp.ClientSession() as session:
        body = wire.dumps({"prompt": "one", "odd": "x" * (1000 << 10)}).encode()
        async with session.post(guard.url + "/v1/completions", data=body) as seen:
            assert seen.status == 200
        assert engine.asked[0][1] == body


@on_a_loop
async def test_what_has_begun_is_awaited_to_its_end_and_takes_a_cancellation() -> None:
    seen: list[str] = []

    async def work() -> None:
        try:
            await asyncio.sleep(0.01)
            seen.append("half")
            await asyncio.sleep(60)
        finally:
            seen.append("end")

    begun = work()
    task = asyncio.create_task(left(Rest(begun, begun.send(None))))
    await until(lambda: seen == ["half"])
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert seen == ["half", "end"]
