"""The host's memory, or what the container of this process may use of it."""

from pathlib import Path

from ullage.domain.machine import HOST, Device
from ullage.domain.reading import HostReading, Pressure
from ullage.errors import WorldError
from ullage.world.drivers import _control_group, _processes
from ullage.world.drivers._sysfs import sizes, text

# Control groups of version 2 and of version 1; a container sees its own at the root.
_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
_PERCENT = 100.0


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


def multiplies_tiles(root: Path = Path("/")) -> bool | None:
    """Whether the processor has AMX; None where the system does not list what it has."""
    flags = next((line for line in text(root / "proc/cpuinfo").splitlines() if line.startswith(("flags", "Features"))), None)
    return None if flags is None else "amx_tile" in flags.split()


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
        multiplies_tiles=multiplies_tiles(),
    )


def read_live(at: float, pid: int | None = None, root: Path = Path("/"), page_bytes: int | None = None) -> HostReading:
    """The host now; with a process, the processes from it down and its control group, and this program's group otherwise."""
    memory = sizes(root / "proc/meminfo")
    if not memory:
        return _elsewhere(at, pid)
    total, available = memory.get("MemTotal"), memory.get("MemAvailable")
    swap, unused = memory.get("SwapTotal"), memory.get("SwapFree")
    size = page_bytes if page_bytes is not None else _page_bytes()
    counts = dict(line.split(" ", 1) for line in text(root / "proc/vmstat").splitlines() if " " in line)
    group, own = _control_group.read(root, pid, total)
    return HostReading(
        at=at,
        total_bytes=total,
        available_bytes=available,
        swap_used_bytes=None if swap is None or unused is None else swap - unused,
        swapped_in_bytes=_pages(counts, "pswpin", size),
        swapped_out_bytes=_pages(counts, "pswpout", size),
        pressure=pressure(own) or pressure(text(root / "proc/pressure/memory")),
        group=group,
        processes=None if pid is None else _processes.tree(root / "proc", pid),
    )


def _page_bytes() -> int:
    import os

    return os.sysconf("SC_PAGE_SIZE")


def _pages(counts: dict[str, str], name: str, size: int) -> int | None:
    word = counts.get(name, "").strip()
    return int(word) * size if word.isdigit() else None


def pressure(told: str) -> Pressure | None:
    """Two lines of pressure stall information, ``some avg10=0.00 ...`` and ``full avg10=0.00 ...``."""
    found: dict[str, float] = {}
    for line in told.splitlines():
        kind, *pairs = line.split()
        for pair in pairs:
            name, _, value = pair.partition("=")
            if name == "avg10" and value.replace(".", "", 1).isdigit():
                found[kind] = float(value) / _PERCENT
    return Pressure(some=found.get("some"), full=found.get("full")) if found else None


def _elsewhere(at: float, pid: int | None) -> HostReading:
    """A system without ``/proc``: what psutil tells there."""
    import psutil

    memory, swap = psutil.virtual_memory(), psutil.swap_memory()
    return HostReading(
        at=at,
        total_bytes=int(memory.total),
        available_bytes=int(memory.available),
        swap_used_bytes=int(swap.used),
        processes=None if pid is None else _processes.tree_elsewhere(pid),
    )
