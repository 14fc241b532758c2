"""Processes: an engine behind its keeper, its output read line by line, its end told as an event."""

import os
import signal as signals
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from threading import Event as Happened
from threading import Lock, Thread
from typing import IO

from ullage.domain.facts import Fact
from ullage.domain.supervision import CouldNotStart, Event, Exited, Line, Started
from ullage.world.drivers._kills import Kills
from ullage.world.keeper import sweep

_KEEPER = Path(__file__).with_name("keeper.py")
_LONGEST_LINE = 64 << 10
_LOG_LINES, _LOG_WIDTH = 200, 2000
_JOIN_SECONDS = 5.0
_LOOK_SECONDS = 0.25
_MOST_ROUNDS, _ROUND_SECONDS = 200, 0.02
_MARK = "ULLAGE_KEPT"

Report = Callable[[Event], None]
ReadLine = Callable[[str], Fact | None]


class Process:
    """One engine from its start to its end. Everything it starts ends with it, and with this process."""

    def __init__(
        self,
        argv: tuple[str, ...],
        environment: Mapping[str, str],
        report: Report,
        read_line: ReadLine,
        echo: Callable[[bytes], None],
        *,
        folder: str | None = None,
    ) -> None:
        self._report, self._read_line, self._echo = report, read_line, echo
        self._log: deque[str] = deque(maxlen=_LOG_LINES)
        self._kills, self._ended = Kills(), Happened()
        self._pid: int | None = None
        self._lock = Lock()
        self._mark = f"{os.getpid()}.{time.monotonic_ns()}"
        orders, self._control = os.pipe()
        status, told = os.pipe()
        try:
            self._keeper = subprocess.Popen(  # noqa: S603 - the engine's own command, told to the keeper word by word
                [sys.executable, "-I", "-S", str(_KEEPER), str(orders), str(told), *argv],
                env={**os.environ, "PYTHONUNBUFFERED": "1", **environment, _MARK: self._mark},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=(orders, told),
                cwd=folder,
                start_new_session=True,
            )
        finally:
            os.close(orders)
            os.close(told)
        self._reader = Thread(target=self._read_output, args=(self._keeper.stdout,), daemon=True)
        self._reader.start()
        Thread(target=self._read_status, args=(status,), daemon=True).start()
        self._looker = Thread(target=self._look, daemon=True)
        self._looker.start()

    @property
    def keeper(self) -> int:
        """The keeper's process id."""
        return self._keeper.pid

    def send(self, number: int) -> None:
        """A signal for the engine itself, which tells its workers as it is made to."""
        self._order(b"S" + bytes((number,)))

    def kill(self) -> None:
        """End it and all it started."""
        self._order(b"K\0")

    def close(self) -> None:
        """No more orders: what still lives is killed. Returns when it is gone."""
        with self._lock:
            if self._control >= 0:
                os.close(self._control)
                self._control = -1
        with suppress(subprocess.TimeoutExpired):
            self._keeper.wait(timeout=30)

    def _order(self, order: bytes) -> None:
        with self._lock, suppress(OSError):  # its keeper has gone already
            if self._control >= 0:
                os.write(self._control, order)

    def _read_output(self, output: IO[bytes]) -> None:
        """Pass everything through, and read it line by line; a longer line is cut."""
        rest = b""
        while chunk := os.read(output.fileno(), _LONGEST_LINE):
            self._echo(chunk)
            *lines, rest = (rest + chunk).replace(b"\r", b"\n").split(b"\n")
            for line in lines:
                self._line(line)
            rest = rest[:_LONGEST_LINE]
        self._line(rest)
        output.close()

    def _line(self, line: bytes) -> None:
        text = line[:_LONGEST_LINE].decode(errors="replace")
        if not text.strip():
            return
        self._log.append(text[:_LOG_WIDTH])
        fact = self._read_line(text)
        if fact is not None:
            self._report(Line(at=time.monotonic(), fact=fact))

    def _read_status(self, status: int) -> None:
        """What the keeper tells; a keeper that ends without a word was killed, and what it kept is ended here."""
        ended, held = False, set[str]()
        with os.fdopen(status, "rb") as lines:
            for line in lines:
                word, _, rest = line.decode(errors="replace").strip().partition(" ")
                match word:
                    case "started":
                        self._pid = int(rest)
                        self._report(Started(at=time.monotonic(), pid=self._pid))
                    case "failed":
                        ended = True
                        self._ended.set()
                        self._report(CouldNotStart(at=time.monotonic(), reason=f"it cannot be started: {rest}"))
                    case "holds":
                        held.add(rest)
                    case "exited":
                        ended = True
                        self._exited(int(rest))
        self._keeper.wait()
        if not ended:
            _kill_marked(f"{_MARK}={self._mark}")
            sweep(held)
            self._exited(-signals.SIGKILL)

    def _look(self) -> None:
        """Until it has ended, so that a kill of long ago is none of its own."""
        while not self._ended.wait(_LOOK_SECONDS):
            self._kills.look(self._pid)

    def _exited(self, code: int) -> None:
        self._ended.set()
        self._looker.join()
        self._kills.look()
        self._reader.join(timeout=_JOIN_SECONDS)
        self._report(
            Exited(
                at=time.monotonic(),
                code=code if code >= 0 else None,
                signal=-code if code < 0 else None,
                log=tuple(self._log),
                killed_for_memory=self._kills.were_for_memory(),
            )
        )


def _kill_marked(mark: str) -> None:
    """End every process that was started under a mark, whoever it belongs to by now."""
    for _ in range(_MOST_ROUNDS if Path("/proc/self/environ").exists() else 0):
        found = [int(name) for name in os.listdir("/proc") if name.isdigit() and _is_marked(name, mark.encode())]  # noqa: PTH208 - names alone
        for pid in found:
            with suppress(OSError):
                os.kill(pid, signals.SIGKILL)
        if not found:
            return
        time.sleep(_ROUND_SECONDS)


def _is_marked(name: str, mark: bytes) -> bool:
    try:
        return mark in Path("/proc", name, "environ").read_bytes().split(b"\0")
    except OSError:
        return False
