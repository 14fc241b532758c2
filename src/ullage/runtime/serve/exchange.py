"""One request from its body to the last byte of its answer."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from secrets import token_hex
from typing import Any

from aiohttp import web

from ullage import wire
from ullage.errors import InputError
from ullage.frozen import dataclass, replace
from ullage.runtime.request import Finish, Request
from ullage.runtime.sample.settings import check
from ullage.runtime.serve.answer import Answer, Part, Said
from ullage.runtime.serve.asked import Asked, Prompt
from ullage.runtime.serve.constrain import Grammars
from ullage.runtime.serve.fields import WrongFieldError
from ullage.runtime.serve.metrics import Metrics
from ullage.runtime.serve.shapes import Shape, usage
from ullage.runtime.serve.worker import Batch, Worker
from ullage.text.language import Language
from ullage.world.proxy import said

_MOST_ANSWERS = 1024  # of one request


@dataclass(frozen=True, eq=False, kw_only=True)
class Service:
    """What every request is answered with."""

    worker: Worker
    language: Language
    grammars: Grammars
    metrics: Metrics
    model: str
    vocab_size: int
    defaults: Mapping[str, float]  # of requests that do not say how tokens are chosen
    longest_tokens: int  # of a sequence, prompt and answer, that fits alone


class NeverFitsError(InputError):
    """A request that can never run, with its numbers."""

    def __init__(self, message: str, need: int, have: int, unit: str, longest_tokens: int) -> None:
        super().__init__(message)
        self.numbers: dict[str, Any] = {"need": need, "have": have, "unit": unit, "longest_tokens": longest_tokens}


class _FailedError(Exception):
    """The engine could not answer."""


async def requests_of(asked: Asked, service: Service, client: str) -> list[Request]:
    """A request of the engine for each answer. Raises InputError, as NeverFitsError with numbers."""
    _check_sampling(asked, service.vocab_size)
    total = len(asked.prompts) * asked.copies
    if total > _MOST_ANSWERS:
        raise InputError(
            f"n is {asked.copies} for {len(asked.prompts)} prompts, which is {total} answers; at most {_MOST_ANSWERS} are given"
        )
    bare = [_request(prompt, asked, service, client, copy) for prompt in asked.prompts for copy in range(asked.copies)]
    for request in bare:
        _check_fits(request, service)
    if asked.schema is None:
        return bare
    masks = await asyncio.to_thread(service.grammars.masks, asked.schema, total)
    return [replace(request, mask=mask) for request, mask in zip(bare, masks, strict=True)]


def _check_sampling(asked: Asked, vocab_size: int) -> None:
    try:
        check(asked.sampling, vocab_size)
    except InputError as error:
        param, _, why = str(error).partition(" ")
        raise WrongFieldError(param, why) from error


def _request(prompt: Prompt, asked: Asked, service: Service, client: str, copy: int) -> Request:
    seed = asked.sampling.seed
    return Request(
        prompt=prompt.ids,
        max_new_tokens=asked.max_tokens or max(1, service.longest_tokens - len(prompt.ids)),
        sampling=asked.sampling if seed is None or not copy else replace(asked.sampling, seed=seed + copy),
        stop_tokens=frozenset() if asked.ignores_end else service.language.tokenizer.eos_ids,
        min_new_tokens=asked.min_tokens,
        client=client,
    )


def _check_fits(request: Request, service: Service) -> None:
    no = service.worker.engine.refusal(request)
    if no is not None:
        prompt, answer = len(request.prompt), request.max_new_tokens
        raise NeverFitsError(
            f"The request can never run here: a prompt of {prompt:,} and an answer of up to {answer:,} tokens {no}. "
            "Shorten the prompt, lower max_tokens, or start the server with more --cache or a larger --max-len.",
            no.need,
            no.have,
            no.unit,
            no.longest_tokens,
        )


class Exchange:
    """Runs one request."""

    def __init__(self, request: web.Request, asked: Asked, service: Service) -> None:
        self._request, self._asked, self._service = request, asked, service
        language = service.language
        self._prompts = [prompt for prompt in asked.prompts for _ in range(asked.copies)]
        streams = (language.tokenizer.stream(prompt_ids=prompt.ids) for prompt in self._prompts)
        self._answers = [Answer(stream, asked.stops, asked.min_tokens) for stream in streams]
        self._shape = Shape(
            is_chat=asked.is_chat,
            id=f"{'chatcmpl' if asked.is_chat else 'cmpl'}-{token_hex(12)}",
            created=int(time.time()),
            model=service.model,
            tokenizer=language.tokenizer,
            tells_logprobs=asked.sampling.logprobs is not None,
        )
        self._began = time.monotonic()
        self._last: dict[int, float] = {}
        self._ended = "failed"

    async def run(self, requests: Sequence[Request]) -> web.StreamResponse:
        """The answer; whatever happens, nothing of the request is left in the engine afterwards. Raises InputError."""
        batch = self._service.worker.open(requests)
        self._ended = "cancelled"
        try:
            return await (self._stream(batch) if self._asked.stream else self._whole(batch))
        finally:
            batch.close()
            metrics = self._service.metrics
            metrics.ended[self._request.path, self._ended] += 1
            metrics.whole.observe(time.monotonic() - self._began)

    async def _parts(self, batch: Batch) -> AsyncIterator[tuple[int, Part]]:
        """(index, part) as they come."""
        async for index, output in batch.outputs():
            if output.finished in (Finish.ERROR, Finish.REFUSED, Finish.CANCELLED):
                raise _FailedError(f"The answer ended: {output.finished.value}. {output.detail}")
            self._note_time(index)
            part = self._answers[index].push(output)
            if part.finish is not None:
                batch.end(index)
            yield index, part

    def _note_time(self, index: int) -> None:
        now, last = time.monotonic(), self._last.get(index)
        metrics = self._service.metrics
        (metrics.first_token if last is None else metrics.next_token).observe(now - (self._began if last is None else last))
        self._last[index] = now

    async def _whole(self, batch: Batch) -> web.Response:
        texts = [[prompt.text] if self._asked.echo else [] for prompt in self._prompts]
        told: list[list[Said]] = [[] for _ in self._prompts]
        ends: list[str | None] = [None for _ in self._prompts]
        try:
            async for index, part in self._parts(batch):
                texts[index].append(part.text)
                told[index].extend(part.said)
                ends[index] = part.finish
        except _FailedError as error:
            self._ended = "failed"
            return said.error(500, str(error), code="engine_failed")
        self._ended = "answered"
        choices = [self._shape.choice(index, "".join(texts[index]), told[index], end) for index, end in enumerate(ends)]
        return web.json_response(self._shape.whole(choices, self._usage()), dumps=wire.dumps)

    async def _stream(self, batch: Batch) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-cache"})
        await response.prepare(self._request)
        for index, prompt in enumerate(self._prompts):
            if self._asked.is_chat:
                await self._send(response, [self._shape.opening(index)])
            elif self._asked.echo:
                await self._send(response, [self._shape.delta(index, prompt.text, (), None)])
        try:
            async for index, part in self._parts(batch):
                if part.text or part.said or part.finish is not None:
                    await self._send(response, [self._shape.delta(index, *part)])
        except _FailedError as error:
            self._ended = "failed"
            await response.write(said.broken_stream(str(error)))
            return response
        if self._asked.with_usage:
            await self._send(response, [], self._usage())
        await response.write(b"data: [DONE]\n\n")
        self._ended = "answered"
        await response.write_eof()
        return response

    async def _send(self, response: web.StreamResponse, choices: list[dict[str, Any]], use: dict[str, Any] | None = None) -> None:
        piece = self._shape.piece(choices, use, tells_usage=self._asked.with_usage)
        await response.write(b"data: " + wire.dumps(piece).encode() + b"\n\n")

    def _usage(self) -> dict[str, Any]:
        prompts = sum(len(prompt.ids) for prompt in self._asked.prompts)
        answered = sum(answer.tokens for answer in self._answers)
        return usage(prompts, answered, sum(answer.reused_tokens for answer in self._answers))
