"""One tuning of a study at a time: a file beside the store that is locked for as long as its process lives.

The lock is the kernel's, so it ends with its holder however that ends; what the file says is only for whoever is kept out.
"""

import fcntl
import os
from contextlib import suppress
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

from ullage.errors import WorldError
from ullage.world._state_path import store_path

_held: dict[Path, int] = {}
_MOST = 200  # bytes of what a holder says of itself


def hold_study(study: str) -> None:
    """Keep every other process from this study until this one ends. Raises WorldError naming the holder where there is one."""
    path = store_path().parent / "studies" / f"{sha256(study.encode()).hexdigest()[:16]}.lock"
    if path in _held:
        return
    handle: int | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        refusal = _refusal(study, path, handle, error)
        if handle is not None:
            os.close(handle)
        raise refusal from error
    with suppress(OSError):  # it is held, whether there is room to say by whom or not
        os.ftruncate(handle, 0)
        os.write(handle, f"process {os.getpid()} since {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC".encode())
    _held[path] = handle


def _refusal(study: str, path: Path, handle: int | None, error: OSError) -> WorldError:
    if handle is None or not isinstance(error, BlockingIOError):
        return WorldError(f"the study {study} cannot be held: {path}: {error.strerror}; make it writable, or set XDG_STATE_HOME")
    holder = os.read(handle, _MOST).decode(errors="replace").strip() or "another process"
    return WorldError(f"the study {study} is being tuned by {holder}: wait for it, end it, or give --study another name")
