"""What a whole process costs: wall time, processor time, peak memory.

Standard library only: Linux never shows a child's peak as smaller than its parent was, so the parent stays small.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

MIB = 1 << 20
TIMEOUT_S = 60.0
_NOT_FOR_CHILDREN = ("PYTHONDONTWRITEBYTECODE", "PYTHONPROFILEIMPORTTIME", "PYTHONUNBUFFERED")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Of one process, or the medians of several (the peak is the highest)."""

    wall_s: float
    processor_s: float
    peak_bytes: int


def surroundings(cache: str, **more: str) -> dict[str, str]:
    """The environment of children: compiled modules are kept in the directory ``cache``, so only a first run compiles."""
    kept = {name: value for name, value in os.environ.items() if name not in _NOT_FOR_CHILDREN}
    return {**kept, "PYTHONPYCACHEPREFIX": cache, **more}


def cost(command: Sequence[str], environment: Mapping[str, str]) -> Cost:
    """Run a process to its end. Raises SystemExit with what it said when it fails."""
    with tempfile.TemporaryFile() as said:
        start = time.perf_counter()
        process = subprocess.Popen(command, env=dict(environment), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=said)
        timer = threading.Timer(TIMEOUT_S, process.kill)
        timer.start()
        _, status, usage = os.wait4(process.pid, 0)
        wall_s = time.perf_counter() - start
        timer.cancel()
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            said.seek(0)
            sys.exit(f"{' '.join(command)} ended with {process.returncode}: {said.read().decode(errors='replace')[-600:]}")
    return Cost(wall_s=wall_s, processor_s=usage.ru_utime + usage.ru_stime, peak_bytes=usage.ru_maxrss * 1024)


def medians(commands: Mapping[str, tuple[Sequence[str], Mapping[str, str]]], runs: int) -> dict[str, Cost]:
    """Each command once unmeasured, then all of them in turn ``runs`` times, so that a busy moment falls on every one alike."""
    for command, environment in commands.values():
        cost(command, environment)
    seen: dict[str, list[Cost]] = {name: [] for name in commands}
    for _ in range(runs):
        for name, (command, environment) in commands.items():
            seen[name].append(cost(command, environment))
    return {
        name: Cost(
            wall_s=statistics.median(one.wall_s for one in costs),
            processor_s=statistics.median(one.processor_s for one in costs),
            peak_bytes=max(one.peak_bytes for one in costs),
        )
        for name, costs in seen.items()
    }


def conditions() -> str:
    """The load, the processors and the Python of this run."""
    return f"load average {os.getloadavg()[0]:.2f}, {os.cpu_count()} processors, Python {sys.version.split()[0]}"
