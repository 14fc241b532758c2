"""The few ways a question can be broken. "It does not fit" is an answer and never an exception.

Every message says what was needed, what there was, and the next step.
"""

import errno

_SHORT = {
    errno.ENOMEM: "free memory, or raise the limit on it (ulimit -v, the container's), as there is too little",
    errno.EMFILE: "raise the limit on open files (ulimit -n)",
    errno.ENFILE: "close files, as the machine has as many open as it may",
    errno.EIO: "look at the disk, which fails there",
    errno.ENOSPC: "free space on the disk, which is full",
    errno.EDQUOT: "free space, or have the quota of it raised",
}


def step_after(error: Exception, otherwise: str = "check the path and its permissions") -> str:
    """The next step where a file could not be used; a machine that is short of something is not mended by another path."""
    return _SHORT.get(getattr(error, "errno", None) or 0, otherwise)


class UllageError(Exception):
    """Root of the tree; ``exit_code`` is what the command line returns."""

    exit_code = 4


class InputError(UllageError):
    """The request is wrong (exit 2); names the nearest valid words."""

    exit_code = 2


class UnsupportedModelError(UllageError):
    """The model, or a key of its configuration, is outside what is known (exit 3); names the key and the value."""

    exit_code = 3


class MalformedFileError(UllageError):
    """A file is not what its name says (exit 3); names the offset or the key."""

    exit_code = 3


class WorldError(UllageError):
    """A file, driver, network or process failed (exit 4); carries the cause."""

    exit_code = 4
