"""Memory that is refused, said in one line with what it was for, which ``engines.runtime`` reads."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from ullage.errors import WorldError

_ALLOCATOR = "DefaultCPUAllocator"
_LINKER = ("failed to map segment", "cannot allocate memory")
_THREAD = "can't start new thread"  # whose stack there is no room for


class OutOfMemoryError(WorldError):
    """An allocation failed (exit 4)."""


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
    return isinstance(error, MemoryError) or _ALLOCATOR in str(error) or _THREAD in str(error) or type(error).__name__ == "OutOfMemoryError"


def in_a_step(error: BaseException, *, rows: int, sequences: int, longest: int) -> OutOfMemoryError:
    """The same of a step that computed ``rows`` rows of so many sequences, the longest with that many tokens."""
    if sequences > 1:
        where = f"under load, {sequences} sequences in the batch, the longest of {longest} tokens"
    else:
        where = f"{'a long prompt' if rows > 1 else 'generation'} of {longest} tokens alone in the batch"
    return OutOfMemoryError(f"error: out of memory in a step of {rows} rows: {_in_words(error)}; {where}")


def _in_words(error: BaseException) -> str:
    """One line."""
    text = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
