"""A request that is written while it is made, not one turn of the event loop later.

From Python 3.12 on aiohttp starts the task that writes a body at once; before that it waits for its turn behind every stream.
"""

import sys
from collections.abc import Callable, Coroutine, Generator
from typing import Any

import aiohttp
from aiohttp.client_reqrep import ClientRequest

_ENDED = object()


def _stepped(step: Callable[[Any], Any], word: Any) -> Any:
    """What it waits for next; ``_ENDED`` where there is nothing more."""
    try:
        return step(word)
    except StopIteration:
        return _ENDED


class Rest:
    """A coroutine that has run up to its first wait, to be awaited for what is left of it."""

    def __init__(self, begun: Coroutine[Any, Any, None], waits_for: Any) -> None:
        self._begun, self._waits_for = begun, waits_for

    def __await__(self) -> Generator[Any, Any, None]:
        waits_for = self._waits_for
        while True:
            try:
                said = yield waits_for
            except BaseException as error:  # noqa: BLE001 - a cancellation is the coroutine's own to take
                waits_for = _stepped(self._begun.throw, error)
            else:
                waits_for = _stepped(self._begun.send, said)
            if waits_for is _ENDED:
                return


async def _nothing() -> None:
    """All is written."""


async def left(rest: Rest) -> None:
    """What is left of it, as a task needs it."""
    await rest


class EagerRequest(ClientRequest):
    """Writes its body at once where the connection takes it, which it does for all but large ones."""

    def write_bytes(self, *words: Any, **named: Any) -> Coroutine[Any, Any, None]:
        """As the base class does, begun before it is awaited."""
        begun = super().write_bytes(*words, **named)
        try:
            waits_for = begun.send(None)
        except StopIteration:
            return _nothing()
        return left(Rest(begun, waits_for))


def request_class() -> type[aiohttp.ClientRequest]:
    """What a session makes its requests of."""
    return ClientRequest if sys.version_info >= (3, 12) else EagerRequest
