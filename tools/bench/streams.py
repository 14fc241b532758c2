"""Streams for the guard's benchmark: an engine that writes the time into every chunk, and a client that reads how old it is.

Both write HTTP by hand, so that what is measured is what stands between them. Times are of one clock on one machine.
"""

import asyncio
import re
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

MADE = re.compile(rb"T(\d{10,20})")
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
PLAIN = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
IDLE = b"idle-for-ever"
FIRST_CHUNK = (
    'data: {{"id":"c","object":"chat.completion.chunk","created":1,"model":"m",'
    '"choices":[{{"index":0,"delta":{{"role":"assistant","content":"T{} "}},"finish_reason":null}}]}}\n\n'
)


def _chunk(text: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(text), text)


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, chunks: int, gap_s: float) -> None:
    """Requests of one connection, each answered with chunks a while apart."""
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"content-length: *(\d+)", head, re.IGNORECASE)
            body = await reader.readexactly(int(length[1])) if length else b""
            if not head.startswith(b"POST"):
                writer.write(PLAIN)
                continue
            writer.write(HEAD)
            for index in range(chunks):
                writer.write(_chunk(FIRST_CHUNK.format(time.monotonic_ns()).encode()))
                await asyncio.sleep(86_400 if IDLE in body else gap_s if index + 1 < chunks else 0)
            writer.write(_chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


async def serve(port: int, chunks: int, gap_s: float) -> None:
    """The engine, until it is ended."""
    server = await asyncio.start_server(lambda reader, writer: _answer(reader, writer, chunks, gap_s), "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


@dataclass
class Ages:
    """Milliseconds from writing to reading: of the first chunk from the request on, and of each chunk; and what went wrong."""

    first: list[float] = field(default_factory=list)
    each: list[float] = field(default_factory=list)
    failed: int = 0

    def quantile(self, of: Sequence[float], part: float) -> float:
        """The value below which ``part`` of the values lie."""
        values = sorted(of)
        return values[min(len(values) - 1, int(part * len(values)))] if values else float("nan")


def request(port: int, words: str) -> bytes:
    """A chat that asks for a stream."""
    body = b'{"model":"m","stream":true,"max_tokens":64,"messages":[{"role":"user","content":"%s"}]}' % words.encode()
    return b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (
        port,
        len(body),
        body,
    )


async def stream(port: int, ages: Ages, words: str, rounds: int) -> None:
    """``rounds`` requests one after the other on one connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for _ in range(rounds):
            begun, is_first = time.monotonic_ns(), True
            writer.write(request(port, words))
            while True:
                data = await reader.read(65_536)
                now = time.monotonic_ns()
                for made in MADE.findall(data):
                    ages.each.append((now - int(made)) / 1e6)
                    if is_first:
                        ages.first.append((now - begun) / 1e6)
                        is_first = False
                if not data:
                    raise ConnectionError  # noqa: TRY301 - counted below with the others
                if b"\r\n0\r\n\r\n" in data or data.startswith(b"0\r\n\r\n"):
                    break
    except ConnectionError:
        ages.failed += 1
    finally:
        writer.close()


async def load(port: int, streams: int, rounds: int, words: str, spread_s: float = 0.2) -> Ages:
    """All streams at once, their beginnings spread evenly over a while."""
    ages = Ages()

    async def one(index: int) -> None:
        await asyncio.sleep(spread_s * index / streams)
        await stream(port, ages, words, rounds)

    await asyncio.gather(*(one(index) for index in range(streams)))
    return ages


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))
