"""What applications write into a log beside their engine: lines of which none is like another, and of which none is news of the engine."""

import base64
import json
from collections.abc import Callable, Iterator
from pydoc_data.topics import topics
from random import Random
from uuid import UUID

WORDS = sorted({word for text in topics.values() for word in text.split() if word.isalpha()})
CHARACTERS = [chr(code) for code in range(0x4E00, 0x5200)]


def _said(random: Random, most: int) -> str:
    return " ".join(random.choice(WORDS) for _ in range(random.randrange(4, most)))


def json_lines(random: Random) -> Iterator[str]:
    """Events of a shop, each with an id of its own."""
    while True:
        row = {"level": random.choice(("info", "warn")), "trace": f"{random.getrandbits(128):032x}", "status": random.choice((200, 404))}
        yield json.dumps({**row, "message": _said(random, 20), "took_ms": random.random() * 100})


def access(random: Random) -> Iterator[str]:
    """Requests as nginx writes them."""
    while True:
        place = f"{random.randrange(256)}.{random.randrange(256)}.0.{random.randrange(256)}"
        asked = f"{random.choice(('GET', 'POST'))} /api/v1/items/{UUID(int=random.getrandbits(128))}?q={random.choice(WORDS)} HTTP/1.1"
        yield f'{place} - - [21/Nov/2026:08:00:{random.randrange(60):02d} +0000] "{asked}" 200 {random.randrange(99999)} "-" "Mozilla/5.0"'


def chinese(random: Random) -> Iterator[str]:
    """Chats in Chinese characters."""
    while True:
        yield random.choice(("user: ", "assistant: ")) + "".join(random.choices(CHARACTERS, k=random.randrange(10, 120)))


def chats(random: Random) -> Iterator[str]:
    """Chats in English words."""
    while True:
        yield random.choice(("user: ", "assistant: ")) + _said(random, 60)


def ids(random: Random) -> Iterator[str]:
    """Nothing but ids."""
    while True:
        yield str(UUID(int=random.getrandbits(128)))


def encoded(random: Random) -> Iterator[str]:
    """Bytes as base64."""
    while True:
        yield base64.b64encode(random.randbytes(57)).decode()


def bars(random: Random) -> Iterator[str]:
    """Progress bars that are drawn over themselves."""
    while True:
        count = random.randrange(50, 300)
        yield "\r".join(
            f"{at * 100 // count:3d}%|{'█' * (at * 10 // count):<10}| {at}/{count} [{random.random() * 30:.2f}it/s]" for at in range(count)
        )


def java(random: Random) -> Iterator[str]:
    """Traces of exceptions that are none of an engine's."""
    while True:
        yield f"java.lang.IllegalStateException: no {random.choice(WORDS)} for {random.choice(WORDS)}-{random.getrandbits(32):x}"
        for _ in range(random.randrange(5, 30)):
            yield f"\tat com.example.{random.choice(WORDS)}.{random.choice(WORDS)}({random.choice(WORDS)}.java:{random.randrange(900)})"


NOISE: dict[str, Callable[[Random], Iterator[str]]] = {
    "JSON lines": json_lines,
    "nginx": access,
    "chats in Chinese": chinese,
    "chats in English": chats,
    "ids": ids,
    "base64": encoded,
    "progress bars": bars,
    "Java": java,
}
