"""The load generator: streams of completions from an OpenAI-compatible server, timed by token, in rounds of the same requests.

Prompts are token numbers, so that their length is exact and no two share a prefix that a cache could keep; a server that refuses numbers
is sent words instead. Answers are asked not to end early, and are counted by the server's own usage.
"""

import asyncio
import random
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ullage import wire
from ullage.domain.load import Answered, Asked, IsEnough, Load, Round
from ullage.errors import UllageError, WorldError

if TYPE_CHECKING:
    from aiohttp import ClientSession

_OK, _REFUSED = 200, frozenset({400, 415, 422})
_WORD = "the "
_LONGEST_ERROR = 200
_EDGE = 16  # the part of a vocabulary at either end that is left out, as special tokens lie there


async def rounds(url: str, key: str | None, load: Load, is_enough: IsEnough, report: Callable[[Round], None]) -> str:
    """Load the server until it is enough, told of each round; returns what went wrong, or nothing. Raises WorldError without aiohttp."""
    try:
        import aiohttp
    except ImportError as error:
        raise WorldError("the load generator needs aiohttp, which is not installed: pip install 'ullage[serve]'") from error
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    wait = aiohttp.ClientTimeout(total=load.patience_s)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(url, headers=headers, timeout=wait, connector=connector, read_bufsize=1 << 20) as session:
        caller = _Caller(session, load)
        problem = await caller.warm_up()
        begun, found = time.monotonic(), list[Round]()
        while not problem:
            found.append(await caller.round(len(found) + 1))
            report(found[-1])
            problem = next((one.why for one in found[-1].answered if one.why), "")
            if is_enough(tuple(found), time.monotonic() - begun):
                break
        return problem


class _Caller:
    """Requests to one server."""

    def __init__(self, session: "ClientSession", load: Load) -> None:
        self._session, self._load = session, load
        self._model, self._takes_numbers = "default", True

    async def warm_up(self) -> str:
        """A few requests that count for nothing; what went wrong, or nothing."""
        self._model = await self._find_model()
        first, *others = (self._load.requests * self._load.warm_up)[: max(1, self._load.warm_up)]
        tried = await self._ask(first, random.Random(0))  # noqa: S311 - the same prompts for every trial
        if tried.why and self._takes_numbers:
            self._takes_numbers = False
            tried = await self._ask(first, random.Random(0))  # noqa: S311 - as above
        rest = await asyncio.gather(*(self._ask(one, random.Random(-number)) for number, one in enumerate(others, 1)))  # noqa: S311 - as above
        return next((one.why for one in (tried, *rest) if one.why), "")

    async def round(self, number: int) -> Round:
        """Every request once; prompts differ from those of other rounds and not from those of other trials."""
        begun = time.monotonic()
        send = self._closed if self._load.clients is not None else self._open
        answered = await send(number, begun)
        return Round(seconds=time.monotonic() - begun, answered=answered)

    async def _open(self, number: int, begun: float) -> tuple[Answered, ...]:
        async def later(at: int, one: Asked) -> Answered:
            await asyncio.sleep(max(0.0, begun + one.at_s - time.monotonic()))
            return await self._ask(one, _seeded(number, at))

        return tuple(await asyncio.gather(*(later(at, one) for at, one in enumerate(self._load.requests))))

    async def _closed(self, number: int, _begun: float) -> tuple[Answered, ...]:
        waiting = list(enumerate(self._load.requests))[::-1]
        answered: list[Answered] = []

        async def client() -> None:
            while waiting:
                at, one = waiting.pop()
                answered.append(await self._ask(one, _seeded(number, at)))

        await asyncio.gather(*(client() for _ in range(self._load.clients or 1)))
        return tuple(answered)

    async def _find_model(self) -> str:
        try:
            async with self._session.get("/v1/models") as answer:
                said = wire.loads(await answer.read()) if answer.status == _OK else None
        except (OSError, UllageError, _errors()):
            return "default"
        rows = said.get("data") if isinstance(said, dict) else None
        first = rows[0] if isinstance(rows, list) and rows else None
        return str(first["id"]) if isinstance(first, dict) and "id" in first else "default"

    def _prompt(self, tokens: int, numbers: random.Random) -> Any:
        tokens = max(1, tokens)
        if not self._takes_numbers:
            return _WORD * tokens
        edge = max(1, self._load.vocabulary // _EDGE)
        return [numbers.randrange(edge, max(edge + 1, self._load.vocabulary - edge)) for _ in range(tokens)]

    async def _ask(self, one: Asked, numbers: random.Random) -> Answered:
        body = {
            "model": self._model,
            "prompt": self._prompt(one.prompt_tokens, numbers),
            "max_tokens": max(1, one.output_tokens),
            "temperature": 0,
            "ignore_eos": True,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        sent = time.monotonic()
        try:
            async with self._session.post("/v1/completions", json=body) as answer:
                if answer.status != _OK:
                    said = " ".join((await answer.text())[:_LONGEST_ERROR].split())
                    return _failed(sent, f"HTTP {answer.status}: {said}")
                return await _read(answer.content, sent)
        except (OSError, TimeoutError, _errors()) as error:
            return _failed(sent, f"a request was not answered: {error or type(error).__name__}")


async def _read(lines: Any, sent: float) -> Answered:
    """The events of a stream: when the first and the last token came, and how many there were."""
    first = last = 0.0
    pieces, counted = 0, 0
    async for line in lines:
        if not line.startswith(b"data:") or line[5:].strip() == b"[DONE]":
            continue
        now = time.monotonic()
        event = wire.loads(line[5:].strip())
        if not isinstance(event, dict):
            continue
        if event.get("error"):
            return _failed(sent, str(event["error"])[:_LONGEST_ERROR])
        usage = event.get("usage")
        if isinstance(usage, dict) and isinstance(usage.get("completion_tokens"), int):
            counted = int(str(usage["completion_tokens"]))
        if event.get("choices"):
            first, last, pieces = first or now, now, pieces + 1
    if not pieces:
        return _failed(sent, "the answer had no token")
    return Answered(first_s=first - sent, last_s=last - sent, tokens=counted or pieces)


def _failed(sent: float, why: str) -> Answered:
    seconds = time.monotonic() - sent
    return Answered(first_s=seconds, last_s=seconds, tokens=0, why=why)


def _seeded(number: int, at: int) -> random.Random:
    return random.Random(number << 20 | at)  # noqa: S311 - a prompt, no secret


def _errors() -> type[Exception]:
    from aiohttp import ClientError

    return ClientError
