"""One request from the client to the engine and the answer back, chunk by chunk, as often as the gate has it sent."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from http import HTTPStatus
from typing import NamedTuple

import aiohttp
from aiohttp import web

from ullage.domain.admission import Fail, Refuse, Reject
from ullage.errors import InputError
from ullage.world.proxy import asked as requests
from ullage.world.proxy import headers, said
from ullage.world.proxy.asked import Asked
from ullage.world.proxy.counting import Count, PromptCounter
from ullage.world.proxy.gate import Gate, Slot, end_of
from ullage.world.proxy.silence import Silence
from ullage.world.proxy.upstream import told_of_its_end

INLINE_BYTES = 16 << 10  # a larger body is read and counted in a thread
_COMPLETION = re.compile(rb'"(?:completion_tokens|output_tokens|predicted_n)"\s*:\s*(\d{1,9})')
LARGEST_WHOLE = 32 << 20  # a longer answer in one piece is not held back until all of it is there
_ITS_FAULT = 500  # the line HTTP draws
_GONE = (aiohttp.ClientError, asyncio.TimeoutError, OSError)


class BrokenOffError(Exception):
    """Part of the answer is out, so that no other can be given."""


class _ClientGoneError(Exception):
    """The client does not read any more."""


class _EngineDyingError(Exception):
    """The engine answered with an error of its own and is not well: its worker died before its front did."""


class _Stream(web.StreamResponse):
    """Its head goes out together with its first chunk: one call of the system less before that chunk, for both ends."""

    _send_headers_immediately = False  # as aiohttp has it for an answer in one piece; a release that does not know it sends both


class Engine(NamedTuple):
    """Where requests go. ``lost`` is told that a sending broke off; it finds out whether the engine is still there."""

    send: "Callable[[str, bytes, web.BaseRequest], aiohttp.client._RequestContextManager]"
    lost: Callable[[Slot, int], Awaitable[None]]
    is_well: Callable[[], Awaitable[bool]]
    silent_s: float  # how long it may send nothing of an answer


async def read(path: str, body: bytes, counter: PromptCounter, longest: int) -> tuple[Asked, Count]:
    """What it asks for, and its tokens; large ones do not hold up the others. Raises InputError."""

    def both() -> tuple[Asked, Count]:
        found = requests.read(path, body)
        return found, counter.count(found, longest)

    return both() if len(body) <= INLINE_BYTES else await asyncio.get_running_loop().run_in_executor(None, both)


async def exchange(
    request: web.BaseRequest, body: bytes, client: str, gate: Gate, engine: Engine, counter: PromptCounter
) -> web.StreamResponse:
    """The answer to one gated request."""
    path = request.path
    try:
        asked, count = await read(path, body, counter, gate.state.cost.longest_tokens)
    except InputError as error:
        return said.error(400, str(error), code="invalid_body")
    slot = gate.enter(client, path, count, asked.answer_tokens)
    try:
        return await _serve(request, body, asked, slot, gate, engine)
    except _ClientGoneError:
        return web.Response(status=slot.status)
    except Exception as error:
        if slot.is_streamed:
            raise BrokenOffError from error
        raise
    finally:
        gate.leave(slot)


async def _serve(request: web.BaseRequest, body: bytes, asked: Asked, slot: Slot, gate: Gate, engine: Engine) -> web.StreamResponse:
    answer = _Stream()
    while True:
        decision = await slot.decided()
        if isinstance(decision, Fail):
            end_of(slot, decision)
            return await _break_off(answer, said.broken_stream(decision.why))
        if isinstance(decision, Refuse | Reject):
            end_of(slot, decision)
            return said.refusal(decision) if isinstance(decision, Refuse) else said.rejection(decision)
        turn = slot.turn
        sent = body if slot.max_tokens is None else requests.with_length(asked, slot.max_tokens)
        silence = Silence(engine.silent_s)
        try:
            async with silence, engine.send(request.path, sent, request) as upstream:
                silence.heard()
                with told_of_its_end(upstream):
                    await _check(upstream, engine)
                    begun, pieces = b"", silence.pieces(upstream)
                    if upstream.content_type != "text/event-stream":
                        begun = await _first_of(pieces)
                        if len(begun) <= LARGEST_WHOLE:
                            return _whole(upstream, begun, slot)
                    answer = _Stream(status=upstream.status, headers=headers.to_client(upstream.headers))
                    await _stream(request, pieces, answer, slot, gate, begun)
                    return answer
        except (*_GONE, _EngineDyingError):
            if silence.is_too_long():
                return await _late(answer, slot, engine)
            await engine.lost(slot, turn)


async def _check(upstream: aiohttp.ClientResponse, engine: Engine) -> None:
    """Raises _EngineDyingError for an error that is the end of the engine and no answer, and for what no HTTP server answers."""
    if upstream.status < HTTPStatus.OK:
        raise _EngineDyingError
    if upstream.status >= _ITS_FAULT and not await engine.is_well():
        raise _EngineDyingError


async def _first_of(pieces: AsyncIterator[bytes]) -> bytes:
    """An answer in one piece goes out when all of it is there, so that until then it can be asked for again; all of it, if not too long."""
    begun, size = [], 0
    async for piece in pieces:
        begun.append(piece)
        size += len(piece)
        if size > LARGEST_WHOLE:
            break
    return b"".join(begun)


def _whole(upstream: aiohttp.ClientResponse, body: bytes, slot: Slot) -> web.Response:
    made = _COMPLETION.findall(body)
    slot.generated = int(made[-1]) if made else 0
    slot.ended, slot.status = "finished", upstream.status
    return web.Response(status=upstream.status, body=body, headers=headers.to_client(upstream.headers))


async def _stream(
    request: web.BaseRequest, pieces: AsyncIterator[bytes], answer: web.StreamResponse, slot: Slot, gate: Gate, begun: bytes
) -> None:
    """Chunks as they come, after what has ``begun``; the first one ends the time in which the request could be sent again."""
    if begun:
        gate.started(slot)
        await _to_client(answer.prepare(request))
        await _to_client(answer.write(begun))
    async for chunk in pieces:
        if not slot.is_streamed:
            gate.started(slot)
            await _to_client(answer.prepare(request))
        slot.generated += chunk.count(b"data:")
        try:
            await answer.write(chunk)
        except OSError as error:  # as below, written out, as this is done for every chunk
            raise _ClientGoneError from error
    slot.ended, slot.status = "finished", answer.status
    if not answer.prepared:
        await _to_client(answer.prepare(request))
    await _to_client(answer.write_eof())


async def _to_client(writing: Awaitable[object]) -> None:
    """What fails here is the client's connection, not the engine's."""
    try:
        await writing
    except OSError as error:
        raise _ClientGoneError from error


async def _late(answer: web.StreamResponse, slot: Slot, engine: Engine) -> web.StreamResponse:
    """What is said of an answer of which nothing came for too long; its memory is free again, as the engine is told that nobody waits."""
    slot.ended, slot.status = "late", HTTPStatus.GATEWAY_TIMEOUT
    why = f"The engine sent nothing of this answer for {engine.silent_s:g} s."
    if slot.is_streamed:
        return await _break_off(answer, said.broken_stream(why, slot.status, "timeout"))
    return said.error(slot.status, f"{why} It is not asked again; ullage serve --request-timeout changes how long.", code="timeout")


async def _break_off(answer: web.StreamResponse, last: bytes) -> web.StreamResponse:
    await _to_client(answer.write(last))
    await _to_client(answer.write_eof())
    return answer
