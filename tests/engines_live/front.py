"""``ullage serve`` in front of a real engine: a process of its own, its output in a file, and callers of its guard."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any, NamedTuple

from ullage.world.installed import free_port
from ullage.world.keeper import descendants

PATIENCE = 240.0


class Said(NamedTuple):
    """How a request ended: its status, and its body or the events of its stream."""

    status: int
    body: Any
    is_whole: bool = True


class Front:
    """One front process. ``folder`` holds its state and output."""

    def __init__(self, folder: Path, *words: str, patience: float = PATIENCE, **environment: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.port, self.output, self.patience = free_port(), folder / "output", patience
        self.environment = {**os.environ, "XDG_STATE_HOME": str(folder), "OMP_WAIT_POLICY": "passive", **environment}
        with self.output.open("w") as output:
            command = [sys.executable, "-m", "ullage", "serve", "--offline", "--port", str(self.port), *words]
            self.process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=self.environment)

    def text(self) -> str:
        """All that it and its engine said."""
        return self.output.read_text(errors="replace")

    def until(self, asked: Callable[[], object], *, may_end: bool = False) -> None:
        """Wait until it is so; an end of the front before that is a failure."""
        deadline = time.monotonic() + self.patience
        while not asked():
            assert time.monotonic() < deadline, self.text()[-4000:]
            assert may_end or self.process.poll() is None or asked(), self.text()[-4000:]
            time.sleep(0.1)

    def says(self, pattern: str, times: int = 1) -> bool:
        """Whether its output has that so often."""
        return len(re.findall(pattern, self.text())) >= times

    def until_ready(self, times: int = 1) -> None:
        """Wait until its engine has answered."""
        self.until(lambda: self.says("ready: it answered", times))

    def below(self) -> list[int]:
        """Every process that it keeps."""
        return descendants(self.process.pid)

    def engine(self, word: str) -> int:
        """The engine's own process: the one whose words hold that, without its keeper."""
        found = [pid for pid in self.below() if word in (said := words_of(pid)) and "keeper.py" not in said]
        return found[0]

    def ask(self, path: str, body: object = None, *, timeout: float = PATIENCE) -> Said:
        """One request, answered whole."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request("GET" if body is None else "POST", path, None if body is None else json.dumps(body), _JSON)
            response = connection.getresponse()
            text = response.read().decode()
            return Said(response.status, json.loads(text) if text.startswith("{") else text)
        finally:
            connection.close()

    def stream(self, path: str, body: dict[str, object], *, leave_after: int | None = None) -> Said:
        """One request as a stream, left after so many events where that is said."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        events: list[str] = []
        try:
            connection.request("POST", path, json.dumps({**body, "stream": True}), _JSON)
            response = connection.getresponse()
            if response.status != 200:
                return Said(response.status, json.loads(response.read()))
            for line in response:
                if line.startswith(b"data: "):
                    events.append(line[6:].decode().strip())
                if leave_after is not None and len(events) >= leave_after:
                    return Said(response.status, events, is_whole=False)
        except (HTTPException, OSError):
            return Said(0, events, is_whole=False)
        finally:
            connection.close()
        return Said(200, events, is_whole=events[-1:] == ["[DONE]"])

    def metrics(self) -> dict[str, float]:
        """The guard's page, which holds the engine's too."""
        lines = [line.rpartition(" ") for line in str(self.ask("/metrics").body).splitlines() if line and not line.startswith("#")]
        return {name: float(value) for name, _, value in lines}

    def baselines(self, *words: str) -> Any:
        """What the machine remembers, as JSON."""
        return ullage("baselines", *words, environment=self.environment)

    def close(self) -> None:
        """Stop it in order; kill it where it does not."""
        self.process.terminate()
        try:
            self.process.wait(40)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def ullage(*words: str, code: int = 0, environment: Mapping[str, str] | None = None) -> Any:
    """What one of our verbs says, as JSON; it has to end with that code."""
    done = subprocess.run([sys.executable, "-m", "ullage", *words, "--json"], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return json.loads(done.stdout)


_JSON = {"Content-Type": "application/json"}


def words_of(pid: int) -> str:
    """A process's command line; empty where it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def lives(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def status_bytes(pid: int, name: str) -> int:
    """A figure of /proc/PID/status, such as VmHWM."""
    text = Path(f"/proc/{pid}/status").read_text()
    found = re.search(rf"^{name}:\s+(\d+) kB", text, re.MULTILINE)
    assert found is not None
    return int(found[1]) * 1024
