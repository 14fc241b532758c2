"""The host's memory, or what the container of this process may use of it."""

from pathlib import Path

from ullage.domain.machine import HOST, Device
from ullage.errors import WorldError

# Control groups of version 2 and of version 1; a container sees its own at the root.
_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


def limit_bytes(paths: tuple[Path, ...] = _LIMITS) -> int | None:
    """The container's limit; None when there is none."""
    for path in paths:
        try:
            text = path.read_text().strip()
        except OSError:
            continue
        if text.isdigit():
            return int(text)
    return None


def read() -> Device:
    """Total memory, and what is in use now as reserved. Raises WorldError."""
    import psutil

    try:
        memory = psutil.virtual_memory()
    except OSError as error:
        raise WorldError(f"the host's memory cannot be read: {error}. Say it: --host-memory 64GiB") from error
    limit = limit_bytes()
    total = min(memory.total, limit) if limit else memory.total
    return Device(
        id=HOST,
        kind="cpu",
        name="host memory" if total == memory.total else "host memory (container limit)",
        total_bytes=total,
        reserved_bytes=min(total, memory.total - memory.available),
    )
