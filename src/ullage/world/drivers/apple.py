"""Apple chips: the GPU has the host's memory, of which Metal lets one process keep a share resident."""

import sys

from ullage.domain.machine import HOST, Device
from ullage.units import GiB

_SMALL_MACHINE = 36 * GiB  # up to here two thirds, above three quarters


def read() -> tuple[Device, ...]:
    """One device on an Apple chip, none elsewhere."""
    if sys.platform != "darwin":
        return ()
    import platform

    import psutil

    if platform.machine() != "arm64":
        return ()
    memory = int(psutil.virtual_memory().total)
    share = memory * 2 // 3 if memory <= _SMALL_MACHINE else memory * 3 // 4
    return (Device(id="gpu0", kind="mps", name="Apple GPU", total_bytes=share, shares_memory_with=HOST),)
