"""Bodies of requests: read within a time, unpacked within a size, and all that are here together within a size."""

import asyncio
import zlib
from typing import Final, Self

from aiohttp import HttpVersion11, web
from aiohttp.http_exceptions import HttpProcessingError

from ullage.domain.guard import GuardOptions
from ullage.world.proxy import said

_PACKED: Final = {"gzip": 31, "x-gzip": 31, "deflate": 15}  # and the word that zlib has for each
_BROKEN = (web.RequestPayloadError, HttpProcessingError, OSError)
_RETRY_S = 5


class RefusedError(Exception):
    """A body that is not taken, and the answer that says why."""

    def __init__(self, answer: web.Response) -> None:
        super().__init__(answer.reason)
        self.answer = answer


class Bodies:
    """Counts what all requests hold that are here."""

    def __init__(self, options: GuardOptions) -> None:
        self.options, self.held_bytes = options, 0

    def one(self) -> "Body":
        """Room for one more, given back when its context ends."""
        return Body(self)


class Body:
    """The body of one request."""

    def __init__(self, all_here: Bodies) -> None:
        self._all, self._options = all_here, all_here.options
        self._nbytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._all.held_bytes -= self._nbytes

    async def read(self, request: web.BaseRequest) -> bytes:
        """All of it, unpacked. Raises RefusedError."""
        if (request.content_length or 0) > self._options.body_bytes:
            raise self._too_large(request.content_length)
        try:
            if request.content.is_eof():  # it came with its head
                body = self._counted(request.content.read_nowait())
            else:
                await _invite(request)
                async with asyncio.timeout(self._options.body_s):
                    body = b"".join([self._counted(piece) async for piece in request.content.iter_any()])
        except TimeoutError as error:
            raise _refused(408, f"The body was not here within {self._options.body_s:g} s.", "timeout") from error
        except _BROKEN as error:
            raise _refused(400, "The body breaks off, or is not framed as its headers say.", "invalid_body") from error
        coding = request.headers.get("Content-Encoding", "identity").strip().lower()
        return body if coding in {"", "identity"} else await asyncio.to_thread(self._unpacked, body, coding)

    def _counted(self, piece: bytes) -> bytes:
        self._nbytes += len(piece)
        self._all.held_bytes += len(piece)
        if self._nbytes > self._options.body_bytes:
            raise self._too_large(None)
        if self._all.held_bytes > self._options.held_bytes:
            most = self._options.held_bytes
            raise _refused(429, f"The bodies of all requests that are here have more than {most} bytes.", "bodies_full", _RETRY_S)
        return piece

    def _unpacked(self, body: bytes, coding: str) -> bytes:
        """What a packed body holds; no more of it is made than may be read."""
        if coding not in _PACKED:
            raise _refused(
                415, f"The body's coding {coding[:40]!r} is not read here; send it plain, or as gzip or deflate.", "invalid_body"
            )
        most = self._options.body_bytes
        unpacking = zlib.decompressobj(_PACKED[coding])
        try:
            plain = unpacking.decompress(body, most + 1)
        except zlib.error as error:
            raise _refused(400, f"The body is not the {coding} that its headers say.", "invalid_body") from error
        if len(plain) > most:
            raise self._too_large(None)
        if not unpacking.eof:
            raise _refused(400, f"The body's {coding} breaks off.", "invalid_body")
        return plain

    def _too_large(self, nbytes: int | None) -> RefusedError:
        most = self._options.body_bytes
        return RefusedError(said.error(413, f"The body is larger than {most} bytes.", code="body_too_large", need=nbytes, have=most))


async def _invite(request: web.BaseRequest) -> None:
    """Tell who sends a body only when asked for it that it may come."""
    expected = request.headers.get("Expect")
    if expected is None or request.version < HttpVersion11:
        return
    if expected.lower() != "100-continue":
        raise _refused(417, f"Nothing is known here of Expect: {expected[:40]}.", "invalid_body")
    await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    request.writer.output_size = 0  # the answer is still to come


def _refused(status: int, message: str, code: str, retry_after_s: int | None = None) -> RefusedError:
    answer = said.error(status, message, code=code, retry_after_s=retry_after_s)
    answer.force_close()
    return RefusedError(answer)
