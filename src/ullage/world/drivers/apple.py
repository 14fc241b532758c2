"""Apple chips: the GPU has the host's memory, of which Metal lets one process keep a share resident."""

import re
import sys

from ullage.domain.machine import HOST, Device
from ullage.domain.reading import DeviceReading
from ullage.units import GiB, MiB
from ullage.world.drivers._program import Runner, output

_SMALL_MACHINE = 36 * GiB  # up to here two thirds, above three quarters
_IN_USE = re.compile(r'"In use system memory"\s*=\s*(\d{1,18})')
_BUSY = re.compile(r'"Device Utilization %"\s*=\s*(\d{1,3})')
_PERCENT = 100.0


def read() -> tuple[Device, ...]:
    """One device on an Apple chip, none elsewhere."""
    memory = _chip_memory()
    if memory is None:
        return ()
    return (Device(id="gpu0", kind="mps", name="Apple GPU", total_bytes=_share(memory), shares_memory_with=HOST),)


def _chip_memory() -> int | None:
    """The memory of the machine where it is an Apple chip's; None elsewhere."""
    if sys.platform != "darwin":
        return None
    import platform

    import psutil

    return int(psutil.virtual_memory().total) if platform.machine() == "arm64" else None


def _share(memory: int) -> int:
    return memory * 2 // 3 if memory <= _SMALL_MACHINE else memory * 3 // 4


def read_live(at: float) -> tuple[DeviceReading, ...]:
    """A reading of the GPU on an Apple chip, none elsewhere."""
    memory = _chip_memory()
    return () if memory is None else (from_programs(at, memory, output),)


def from_programs(at: float, memory: int, run: Runner) -> DeviceReading:
    """What the accelerator's registry entry says is in use, and the limit that was set for it or else Metal's own share.

    How much is free is not told: it depends on what the host's processes take of the same memory.
    """
    entry = run(("ioreg", "-r", "-d", "1", "-w", "0", "-c", "IOAccelerator")) or ""
    limit = (run(("sysctl", "-n", "iogpu.wired_limit_mb")) or "").strip()
    used, busy = _IN_USE.search(entry), _BUSY.search(entry)
    return DeviceReading(
        device="gpu0",
        kind="mps",
        name="Apple GPU",
        at=at,
        total_bytes=int(limit) * MiB if limit.isdigit() and int(limit) else _share(memory),
        used_bytes=int(used[1]) if used is not None else None,
        utilisation=int(busy[1]) / _PERCENT if busy is not None else None,
        shares_memory_with=HOST,
    )
