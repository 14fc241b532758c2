"""What this process takes of memory, as the system counts it: now, and at most."""

import ctypes
import resource
from contextlib import suppress
from pathlib import Path

import psutil

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")
_RESET_PEAK = "5"
_KIB = 1024


def resident_bytes() -> int:
    """In memory now, with the pages of files that it has mapped."""
    return _line("VmRSS") or int(psutil.Process().memory_info().rss)


def peak_resident_bytes() -> int:
    """The most there was since the process began or since `reset_peak`; what there is now where the system does not tell."""
    return _line("VmHWM") or resident_bytes()


def reset_peak() -> bool:
    """Count the peak from now on; False where the system cannot."""
    try:
        _CLEAR.write_text(_RESET_PEAK)
    except OSError:
        return False
    return True


def _line(name: str) -> int:
    try:
        text = _STATUS.read_text()
    except OSError:
        return 0
    for line in text.splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * _KIB
    return 0


def address_limit() -> int | None:
    """Bytes that this process may map, whether it touches them or not; None where nobody set a limit."""
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    return None if limit == resource.RLIM_INFINITY else limit


def give_back_freed() -> None:
    """Have the allocator return what it keeps of memory that was freed; nothing where it is not glibc's."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
