"""Callers who mean no good, or whose programs are broken: what the guard takes of them, and what it does not."""

import asyncio
import gzip
import logging
import socket
import time
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from tests.world.engines_on_loopback import LoopbackEngine, ask, loopback_engine, on_a_loop
from tests.world.test_guard import COST, HELLO, error_of, guarded, until

from ullage import wire
from ullage.domain.guard import GuardOptions
from ullage.errors import WorldError
from ullage.planning.admit import begin, step
from ullage.world.proxy.counting import PromptCounter
from ullage.world.proxy.foreign import why_foreign
from ullage.world.proxy.guard import RealGuard
from ullage.world.proxy.headers import SignedRequest

BODY = wire.dumps({"messages": HELLO}).encode()  # type: ignore[dict-item]


async def raw(url: str, sent: bytes, seconds: float = 5.0) -> bytes:
    """What comes back for these bytes until the other side closes; ``OPEN`` at the end where it does not."""
    port = int(url.rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(sent)
    try:
        return await asyncio.wait_for(reader.read(), seconds)
    except TimeoutError:
        return b"OPEN"
    finally:
        writer.close()


def request(body: bytes = BODY, path: str = "/v1/chat/completions", *more: str, method: str = "POST") -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", "Connection: close", f"Content-Length: {len(body)}", *more]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


@on_a_loop
async def test_who_never_ends_a_head_or_a_body_is_not_waited_for() -> None:
    async with loopback_engine() as engine, guarded(engine, idle_s=0.4, body_s=0.4) as guard:
        begun = time.monotonic()
        ends = await asyncio.gather(
            raw(guard.url, b""),
            raw(guard.url, b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nX-Mine: "),
            raw(guard.url, request()[:-3]),
        )
        assert time.monotonic() - begun < 4
        assert ends[:2] == [b"", b""]
        assert b"408" in ends[2].split(b"\r\n")[0]
        assert engine.asked == []


@on_a_loop
async def test_who_waits_to_be_asked_for_a_body_is_asked_once_the_request_may_be_answered() -> None:
    async with loopback_engine() as engine, guarded(engine) as guard:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(guard.url.rpartition(":")[2]))
        writer.write(request(BODY, "/v1/chat/completions", "Expect: 100-continue").removesuffix(BODY))
        assert await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5) == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(BODY)
        assert (await asyncio.wait_for(reader.read(), 5)).startswith(b"HTTP/1.1 200")
        writer.close()
        for path, expected, status in (("/v1/chat/completions", "tea", b"417"), ("/nowhere", "100-continue", b"404")):
            answer = await raw(guard.url, request(BODY, path, f"Expect: {expected}").removesuffix(BODY))
            assert answer.split()[1] == status
        assert [body for _, body, _ in engine.asked] == [BODY]


@on_a_loop
async def test_what_is_no_request_is_answered_without_a_word_on_what_answers() -> None:
    async with loopback_engine() as engine, guarded(engine) as guard:
        for sent in (b"GET /health HTTP/1.1\r\nno header\r\n\r\n", b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"):
            answer = await raw(guard.url, sent)
            assert answer.split()[1] in {b"400", b"404"}
            assert b"Server: ullage" in answer
            assert b"aiohttp" not in answer


@on_a_loop
async def test_a_packed_body_is_unpacked_to_no_more_than_may_be_read_and_nobody_waits_meanwhile() -> None:
    async with loopback_engine() as engine, guarded(engine, body_bytes=1 << 20) as guard, aiohttp.ClientSession() as session:
        assert b"200" in (await raw(guard.url, request(gzip.compress(BODY), "/v1/chat/completions", "Content-Encoding: gzip")))[:15]
        assert engine.asked[0][1] == BODY
        assert "Content-Encoding" not in engine.asked[0][2]
        bomb = gzip.compress(b" " * (256 << 20), 1)
        for packed, coding, status in (
            (bomb[: 1 << 19], "gzip", 413),
            (b"no", "gzip", 400),
            (BODY, "br", 415),
            (gzip.compress(BODY)[:-9], "gzip", 400),
        ):
            longest, asked = (
                0.0,
                asyncio.create_task(raw(guard.url, request(packed, "/v1/chat/completions", f"Content-Encoding: {coding}"))),
            )
            while not asked.done():
                begun = time.monotonic()
                async with session.get(guard.url + "/health") as seen:
                    assert seen.status == 200
                longest = max(longest, time.monotonic() - begun)
            assert str(status).encode() in (await asked)[:15], coding
            assert longest < 1
        assert len(engine.asked) == 1


@on_a_loop
async def test_all_bodies_together_take_no_more_than_is_set_aside_and_room_comes_back() -> None:
    async with loopback_engine() as engine, guarded(engine, held_bytes=1000) as guard, aiohttp.ClientSession() as session:
        engine.first_wait = 0.4
        long = {"prompt": "x" * 600, "max_tokens": 1}
        first = asyncio.create_task(ask(session, guard.url, "/v1/completions", **long))
        await until(lambda: len(engine.asked) == 1)
        status, body = await ask(session, guard.url, "/v1/completions", **long)
        assert (status, error_of(body)["code"]) == (429, "bodies_full")
        assert (await first)[0] == 200
        assert (await ask(session, guard.url, "/v1/completions", **long))[0] == 200


@on_a_loop
async def test_no_request_may_have_more_sequences_than_any_engine_runs_at_once() -> None:
    async with loopback_engine() as engine, guarded(engine) as guard, aiohttp.ClientSession() as session:
        for said in ({"n": 10**12}, {"n": 9000}, {"prompt": ["a"] * 5000, "n": 2}, {"prompt": ["a"] * 1_000_000, "best_of": 8000}):
            begun = time.monotonic()
            status, body = await ask(session, guard.url, "/v1/completions", **{"prompt": "a", **said})
            assert (status, "sequences" in error_of(body)["message"]) == (400, True)
            assert time.monotonic() - begun < 5
        status, body = await ask(session, guard.url, "/v1/completions", prompt="a", odd=[[]] * 1_100_000)
        assert (status, "brackets" in error_of(body)["message"]) == (400, True)
        assert engine.asked == []


@on_a_loop
async def test_numbers_count_as_engines_take_them_however_they_are_written() -> None:
    async with loopback_engine() as engine, guarded(engine) as guard, aiohttp.ClientSession() as session:
        for number, said in enumerate(
            ({"n": "3"}, {"n": 3.0}, {"n": " +3 "}, {"n": 1, "best_of": 3}, {"n": True}, {"n": 3.5}, {"n": "x"}), 1
        ):
            await ask(session, guard.url, "/v1/completions", prompt="a", max_tokens=1, **said)
            await until(lambda: len(guard.records()) == number)  # noqa: B023 - asked before the next one
        assert [record.sequences for record in guard.records()] == [3, 3, 3, 3, 1, 1, 1]
        for said, need in (
            ({"max_tokens": 9, "max_completion_tokens": 600}, 601),
            ({"max_tokens": "600"}, 601),
            ({"max_tokens": 600.0}, 601),
        ):
            status, body = await ask(session, guard.url, "/v1/completions", prompt="a", **said)
            assert (status, error_of(body)["need"]) == (400, need)
        assert (await ask(session, guard.url, "/v1/completions", prompt="a", max_tokens=600, n_predict=-1))[0] == 200  # as long as may be


@on_a_loop
async def test_an_absolute_address_is_passed_as_its_path_and_leads_nowhere_else() -> None:
    async with loopback_engine() as engine, guarded(engine) as guard:
        for path in ("http://other.example/v1/models", "http://u@other.example/v1/models", "/v1/models"):
            assert b'"path": "/v1/models"' in await raw(guard.url, request(b"", path, method="GET")), path
        assert {headers["Host"] for _, _, headers in engine.asked} == {f"127.0.0.1:{engine.port}"}


@on_a_loop
async def test_a_page_of_another_site_is_not_answered_where_no_key_is_asked_for(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text("one\n")
    async with loopback_engine() as engine, guarded(engine) as guard, aiohttp.ClientSession() as session:
        for headers, status in (
            ({"Origin": "https://site.example"}, 403),
            ({"Origin": "null"}, 403),
            ({"Host": "site.example:80"}, 403),
            ({"Origin": "http://localhost:3000"}, 200),
            ({"Host": "host.docker.internal"}, 200),
        ):
            async with session.post(guard.url + "/v1/chat/completions", data=BODY, headers=headers) as seen:
                assert seen.status == status, headers
        assert len(engine.asked) == 2
        async with guarded(engine, keys_file=str(keys)) as kept:
            shown = {"Origin": "https://site.example", "Authorization": "Bearer one"}
            async with session.post(kept.url + "/v1/chat/completions", data=BODY, headers=shown) as seen:
                assert seen.status == 200


@pytest.mark.parametrize(
    ("host", "origin", "asked", "is_foreign"),
    [
        ("127.0.0.1", "", "127.0.0.1:8000", False),
        ("127.0.0.1", "", "[::1]:8000", False),
        ("localhost", "", "mybox:8000", False),
        ("::1", "", "pages.example", True),
        ("0.0.0.0", "", "llm.company.example", False),  # noqa: S104 - nothing is bound
        ("0.0.0.0", "http://llm.company.example", "llm.company.example:80", False),  # noqa: S104 - as above
        ("0.0.0.0", "http://pages.example", "llm.company.example", True),  # noqa: S104 - as above
        ("127.0.0.1", "app://notes", "127.0.0.1", False),
        ("127.0.0.1", "http://127.0.0.1.pages.example", "127.0.0.1", True),
        ("127.0.0.1", "http://localhost.pages.example", "localhost", True),
        ("127.0.0.1", "http://[", "127.0.0.1", True),
        ("127.0.0.1", "http://127.0.0.1:1@pages.example", "127.0.0.1", True),
    ],
)
def test_who_is_foreign(host: str, origin: str, asked: str, is_foreign: object) -> None:
    assert bool(why_foreign({"Origin": origin, "Host": asked}, host)) == is_foreign


@on_a_loop
async def test_a_broken_request_leaves_no_key_in_any_log(capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    async with loopback_engine() as engine, guarded(engine) as guard:
        with caplog.at_level(logging.DEBUG):
            for line in (
                "Authorization : Bearer surelysecret",
                "Authorization: Bearer surely\x01secret",
                "Authorization: Bearer secret" + "x" * 40000,
            ):
                assert b"400" in (await raw(guard.url, request(BODY, "/v1/chat/completions", line)))[:15]
    assert "secret" not in "".join([*capfd.readouterr(), caplog.text])


@on_a_loop
async def test_what_goes_wrong_in_the_guard_is_answered_in_the_usual_form_and_said_once(capfd: pytest.CaptureFixture[str]) -> None:
    class Broken(PromptCounter):
        def count(self, asked: Any, _longest: Any = None) -> Any:
            raise KeyError(asked)

    async with loopback_engine() as engine, guarded(engine, counter=Broken()) as guard, aiohttp.ClientSession() as session:
        for _ in range(2):
            status, body = await ask(session, guard.url, messages=[{"role": "user", "content": "surelysecret"}])
            assert (status, error_of(body)["code"]) == (500, "guard_failed")
    said = capfd.readouterr().err
    assert said.count("the guard failed at a request: KeyError at test_guard_hostile.py") == 1
    assert "surelysecret" not in said


@on_a_loop
async def test_words_for_a_template_that_mean_something_else_here_do_no_harm() -> None:
    async with loopback_engine() as engine, guarded(engine) as guard, aiohttp.ClientSession() as session:
        for words in ({"now": 5}, {"messages": []}, {"template": "x"}, {"tools": 5}, {"self": 1}, {"": 1}):
            assert (await ask(session, guard.url, messages=HELLO, chat_template_kwargs=words))[0] == 200, words


@on_a_loop
async def test_what_the_engine_runs_on_and_would_have_callers_keep_is_not_passed_on() -> None:
    class Talkative(LoopbackEngine):
        async def _made(self, *_: object) -> web.StreamResponse:
            return web.Response(
                text="{}", headers={"Server": "surely 1.0", "Set-Cookie": "a=b", "Connection": "X-One", "X-One": "1", "X-Two": "2"}
            )

    engine = Talkative()
    await engine.start()
    async with guarded(engine) as guard, aiohttp.ClientSession() as session:
        async with session.post(guard.url + "/v1/chat/completions", data=BODY) as seen:
            assert not {"Set-Cookie", "X-One"} & set(seen.headers)
            assert (seen.headers["X-Two"], seen.headers["Server"]) == ("2", "ullage")
        twice = request(BODY, "/v1/chat/completions", "Connection: X-Three", "X-Three: 3")
        await raw(guard.url, twice)
        assert "X-Three" not in engine.asked[-1][2]
    await engine.die()


@on_a_loop
async def test_every_answer_of_the_guard_says_so_where_aiohttp_offers_no_hook(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(SignedRequest, "_prepare_hook")
    async with loopback_engine() as engine, guarded(engine) as guard, aiohttp.ClientSession() as session:
        for path in ("/health", "/metrics", "/nowhere", "/v1/models"):
            async with session.get(guard.url + path) as seen:
                assert seen.headers["Server"] == "ullage", path
        for asked in ({"stream": True}, {"stream": False}, {"max_tokens": -1}):
            async with session.post(guard.url + "/v1/chat/completions", json={"messages": HELLO, **asked}) as seen:
                assert seen.headers["Server"] == "ullage", asked


@on_a_loop
async def test_an_engine_with_a_key_of_its_own_is_shown_it_by_a_guard_with_keys(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text("one\n")
    async with loopback_engine() as engine, guarded(engine, keys_file=str(keys), engine_key="inner") as guard:
        async with aiohttp.ClientSession(headers={"Authorization": "Bearer one"}) as session:
            assert (await ask(session, guard.url, messages=HELLO))[0] == 200
        assert engine.asked[0][2]["Authorization"] == "Bearer inner"


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="this system cannot tell that a caller takes nothing")
@on_a_loop
async def test_a_caller_who_takes_nothing_of_its_stream_gives_its_place_back() -> None:
    async with loopback_engine(chunks=(b"data: " + b"x" * 65000 + b"\n\n",) * 2000) as engine, guarded(engine, stall_s=0.5) as guard:
        port = int(guard.url.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port)) as caller:
            caller.sendall(request(wire.dumps({"messages": HELLO, "stream": True}).encode()))  # type: ignore[dict-item]
            await until(lambda: len(guard.state().in_flight) == 1)
            end = time.monotonic() + 15
            while guard.state().in_flight:
                assert time.monotonic() < end
                await asyncio.sleep(0.05)
        await until(lambda: engine.cancelled == 1)


@on_a_loop
async def test_more_callers_than_there_are_handles_for_are_told_so_and_the_engine_stays_reachable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ullage.world.proxy.guard.most_connections", lambda: 5)
    async with loopback_engine() as engine, guarded(engine) as guard, aiohttp.ClientSession() as session:
        port = int(guard.url.rpartition(":")[2])
        idle = await asyncio.gather(*(asyncio.open_connection("127.0.0.1", port) for _ in range(40)))  # all at once
        await asyncio.sleep(0.5)
        told = [reader for reader, _ in idle if reader.at_eof() or reader._buffer]  # type: ignore[attr-defined]
        assert len(told) == 35
        idle = [(reader, writer) for reader, writer in idle if reader not in told]
        assert b"503 Service Unavailable" in await raw(guard.url, b"")
        idle.pop()[1].close()
        await asyncio.sleep(0.1)
        assert (await ask(session, guard.url, messages=HELLO))[0] == 200
        for _, writer in idle:
            writer.close()


def test_a_guard_that_cannot_listen_at_all_says_so() -> None:
    guard = RealGuard(GuardOptions(host="a" * 70 + ".example"), begin(COST), step, PromptCounter())
    with pytest.raises(WorldError, match="cannot listen"):
        guard.start()
