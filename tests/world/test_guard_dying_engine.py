"""An engine whose worker died answers with errors of its own for a while: what it did not do is asked again of the next one."""

import asyncio

import aiohttp
from aiohttp import web
from tests.world.engines_on_loopback import LoopbackEngine, ask, on_a_loop
from tests.world.test_guard import HELLO, guarded, until


class HalfDead(LoopbackEngine):
    """Answers every request with 500 while it has no worker, and says whether it is well."""

    has_worker = False
    is_honest = True

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        if self.has_worker or (request.path == "/health" and not self.is_honest):
            return await super()._answer(request)
        if request.path == "/health":
            return web.Response(status=503)
        self.asked.append((request.path, b"", {}))
        return web.json_response({"error": {"message": "the worker is gone"}}, status=500)


@on_a_loop
async def test_what_a_dying_engine_answers_with_an_error_is_sent_again_when_it_is_back() -> None:
    engine = HalfDead()
    await engine.start()
    async with guarded(engine) as guard, aiohttp.ClientSession() as session:
        sent = [asyncio.create_task(ask(session, guard.url, messages=HELLO, stream=streams)) for streams in (True, False)]
        await until(lambda: len(guard.state().replays) == 2)
        engine.has_worker = True
        guard.engine_ready(engine.url)
        answers = await asyncio.wait_for(asyncio.gather(*sent), 5)
        assert [status for status, _ in answers] == [200, 200]
        await until(lambda: len(guard.records()) == 2)
        assert [record.replays for record in guard.records()] == [1, 1]
    await engine.die()


@on_a_loop
async def test_an_error_of_an_engine_that_is_well_is_an_answer() -> None:
    engine = HalfDead()
    engine.is_honest = False
    await engine.start()
    async with guarded(engine) as guard, aiohttp.ClientSession() as session:
        status, body = await ask(session, guard.url, messages=HELLO)
        assert (status, b"the worker is gone" in body) == (500, True)
        assert len(engine.asked) == 1
    await engine.die()
