"""Memory that is refused, said in one line with what it was for, which ``engines.runtime`` reads."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from ullage.errors import WorldError

_ALLOCATOR = "DefaultCPUAllocator"
_LINKER = ("failed to map segment", "cannot allocate memory")


class OutOfMemoryError(WorldError):
    """An allocation failed before the server could begin (exit 4)."""


@contextmanager
def while_doing(what: str) -> Iterator[None]:
    """Turn a failed allocation inside into one sentence. Raises OutOfMemoryError."""
    try:
        yield
    except (MemoryError, OSError, RuntimeError, ImportError, WorldError) as error:
        if not is_shortage(error):
            raise
        raise OutOfMemoryError(f"error: out of memory while {what}: {_in_words(error)}") from error


def is_shortage(error: BaseException) -> bool:
    """Whether this says that there was no memory."""
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    if isinstance(error, ImportError | WorldError):
        return any(text in str(error).lower() for text in _LINKER)
    return isinstance(error, MemoryError) or _ALLOCATOR in str(error) or type(error).__name__ == "OutOfMemoryError"


def _in_words(error: BaseException) -> str:
    """One line."""
    text = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
