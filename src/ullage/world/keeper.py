"""The keeper of one engine: a small process that ends everything the engine started when the engine, or whoever wanted it, is gone.

It is run as a file of its own by a bare interpreter and imports nothing of this package: ``keeper.py CONTROL STATUS COMMAND...``.
CONTROL is a pipe of orders, two bytes each: ``S`` and the number of a signal for the engine, ``K`` and anything to kill all; when it
closes, whoever gave the orders is gone, and all is killed. On STATUS it writes a line ``started PID``, ``failed TEXT``,
``exited CODE`` (minus the number of a signal) and ``holds NAME`` for shared memory.

Everything the engine starts stays below this process, whatever session it opens: on Linux orphans come to the nearest ancestor that asked
for them. Shared memory is removed when one of these processes had it mapped and no living process has.
"""

import os
import re
import select
import signal
import sys
from contextlib import suppress
from pathlib import Path

_SET_PARENT_DEATH_SIGNAL, _SET_CHILD_SUBREAPER = 1, 36
_TICK_SECONDS = 0.25
_GRACE_SECONDS = 2.0  # for workers to leave after the engine itself did
_SHARED = Path("/dev/shm")  # noqa: S108 - where shared memory is
_OURS = re.compile(r"psm_|sem\.mp-|vllm_dist_|vllm_|torch_|nccl-|sglang|__KMP_REGISTERED_LIB_")
_MAPPED = re.compile(rb"(\d+)\s+/dev/shm/")  # by its inode, as a semaphore is mapped under another name than it gets


def main(words: list[str]) -> int:
    """Start the command and keep it; returns when nothing of it is left."""
    control, status = int(words[0]), int(words[1])
    for pipe in (control, status):
        os.set_inheritable(pipe, False)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)  # orders come through the pipe
    _prctl(_SET_CHILD_SUBREAPER, 1)
    waker, wakes = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(wakes, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    engine = _start(words[2:], status)
    if engine is None:
        return 1
    return _Watch(engine, control, status, waker).run()


def _start(command: list[str], status: int) -> int | None:
    """The engine in a session of its own, killed by the kernel if this process is."""
    said, says = os.pipe2(os.O_CLOEXEC)
    keeper = os.getpid()
    engine = os.fork()
    if engine == 0:
        try:
            os.setsid()
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGPIPE, signal.SIGCHLD):
                signal.signal(number, signal.SIG_DFL)
            _prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)
            if os.getppid() != keeper:
                os._exit(1)
            os.execvp(command[0], command)  # noqa: S606 - a shell would only be in the way
        except OSError as error:
            os.write(says, str(error.strerror or error).encode())
        finally:
            os._exit(127)
    os.close(says)
    failed = os.read(said, 1000).decode(errors="replace")
    os.close(said)
    if failed:
        os.waitpid(engine, 0)
        _write(status, f"failed {command[0]}: {failed}")
        return None
    _write(status, f"started {engine}")
    return engine


def _prctl(option: int, value: int) -> None:
    """Nothing where there is no such call."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def _write(status: int, line: str) -> None:
    with suppress(OSError):  # nobody listens any more
        os.write(status, (" ".join(line.split()) + "\n").encode())


class _Watch:
    """The engine while it lives, the rest until it is gone."""

    def __init__(self, engine: int, control: int, status: int, waker: int) -> None:
        self._engine, self._control, self._status, self._waker = engine, control, status, waker
        self._code: int | None = None
        self._given_up = False
        self._shared: set[str] = set()
        self._seen = set(_listed())
        self._unclaimed: dict[str, int] = {}

    def run(self) -> int:
        """Until the engine has ended, then until nothing below is left."""
        while self._code is None:
            self._wait(_TICK_SECONDS)
            self._claim()
            self._reap()
        self._end()
        _write(self._status, f"exited {self._code}")
        return 0

    def _end(self) -> None:
        ticks = 0 if self._given_up else int(_GRACE_SECONDS / _TICK_SECONDS)
        while ticks > 0 and descendants(os.getpid()) and not self._given_up:
            self._wait(_TICK_SECONDS)
            self._claim()
            self._reap()
            ticks -= 1
        while self._kill():
            self._reap()
            select.select([], [], [], 0.02)
        sweep(self._shared)

    def _wait(self, seconds: float) -> None:
        ready, _, _ = select.select([self._waker, *([] if self._given_up else [self._control])], [], [], seconds)
        if self._waker in ready:
            with suppress(BlockingIOError):
                os.read(self._waker, 512)
        if self._control in ready:
            order = os.read(self._control, 2)
            if order[:1] == b"S":
                with suppress(ProcessLookupError):
                    os.kill(self._engine, order[1])
            else:  # K, or nobody is there to give orders
                self._given_up = True
                self._claim(again=True)
                self._kill()

    def _kill(self) -> bool:
        """Kill whatever is below this process; False when nothing is."""
        found = descendants(os.getpid())
        for pid in found:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        return bool(found)

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid == self._engine:
                self._claim(again=True)
                self._code = os.waitstatus_to_exitcode(status)

    def _claim(self, *, again: bool = False) -> None:
        """Note shared memory that appeared and that a process below has mapped; asked a few times, as mapping follows making."""
        there = _listed()
        for name in there.keys() - self._seen:
            self._unclaimed[name] = 40
        self._seen = set(there)
        if not (self._unclaimed or again):
            return
        inodes = {inode for pid in descendants(os.getpid()) for inode in _mapped(pid)}
        mapped = {name for name, inode in there.items() if inode in inodes}
        for name in mapped - self._shared:
            self._shared.add(name)
            _write(self._status, f"holds {name}")
        self._unclaimed = {name: left - 1 for name, left in self._unclaimed.items() if left > 1 and name not in mapped and name in there}


def descendants(ancestor: int) -> list[int]:
    """Every living process below another."""
    children: dict[int, list[int]] = {}
    for pid, parent in _parents():
        children.setdefault(parent, []).append(pid)
    found, left = [], [ancestor]
    while left:
        below = children.get(left.pop(), [])
        found += below
        left += below
    return found


def _parents() -> list[tuple[int, int]]:
    """Process and parent, for all there are."""
    if not Path("/proc/self/stat").exists():
        return _parents_told()
    found = []
    for name in os.listdir("/proc"):  # noqa: PTH208 - a Path for each process is not needed
        if name.isdigit():
            with suppress(OSError, IndexError, ValueError):
                parent = Path(f"/proc/{name}/stat").read_text(errors="replace").rpartition(")")[2].split()[1]
                found.append((int(name), int(parent)))
    return found


def _parents_told() -> list[tuple[int, int]]:
    """As ``ps`` tells, where there is no ``/proc``."""
    import subprocess

    told = subprocess.run(["ps", "-axo", "pid=,ppid="], capture_output=True, text=True, check=False).stdout  # noqa: S607 - the system's own
    rows = [line.split() for line in told.splitlines()]
    return [(int(row[0]), int(row[1])) for row in rows]


def sweep(names: set[str]) -> None:
    """Remove shared memory of these names that no living process has mapped."""
    there = _listed()
    left = {name: inode for name, inode in there.items() if name in names}
    mapped = {inode for pid in os.listdir("/proc") if pid.isdigit() for inode in _mapped(int(pid))} if left else set()  # noqa: PTH208 - names alone
    for name, inode in left.items():
        if inode not in mapped:
            with suppress(OSError):
                (_SHARED / name).unlink()


def _listed() -> dict[str, int]:
    """The shared memory that is there: names and inodes."""
    try:
        return {entry.name: entry.inode() for entry in os.scandir(_SHARED) if _OURS.match(entry.name)}
    except OSError:
        return {}


def _mapped(pid: int) -> set[int]:
    """The inodes of shared memory that a process has mapped."""
    try:
        text = Path(f"/proc/{pid}/maps").read_bytes()
    except OSError:
        return set()
    return {int(inode) for inode in _MAPPED.findall(text)}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
