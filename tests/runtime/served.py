"""The runtime's server as a process of its own, and what its clients do."""

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, NamedTuple

_START_S = 120
SAMPLE = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(\{[^}]*\})? ([0-9.e+-]+|\+Inf)")


class Answered(NamedTuple):
    status: int
    body: Any


class Server(NamedTuple):
    port: int
    process: subprocess.Popen[bytes]
    log: Path

    def ask(self, path: str, body: object = None, headers: dict[str, str] | None = None) -> Answered:
        """One request; the body of the answer read as JSON where it is some."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=120)
        try:
            data = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
            connection.request("GET" if data is None else "POST", path, data, headers or {})
            response = connection.getresponse()
            text = response.read().decode()
            return Answered(response.status, json.loads(text) if "json" in response.headers["Content-Type"] else text)
        finally:
            connection.close()

    def stream(self, path: str, body: dict[str, Any]) -> list[dict[str, Any]]:
        """The events of a stream, which has to end as OpenAI's do."""
        *events, last, rest = self.ask(path, {**body, "stream": True}).body.split("\n\n")
        assert (last, rest) == ("data: [DONE]", "")
        return [json.loads(event.removeprefix("data: ")) for event in events]

    def metrics(self) -> dict[str, float]:
        """Every sample of the metrics page by its name and labels; each line has to be one Prometheus reads."""
        lines = [line for line in self.ask("/metrics").body.splitlines() if not line.startswith("# ")]
        found = [SAMPLE.fullmatch(line) for line in lines]
        assert all(found), lines
        return {f"{match[1]}{match[2] or ''}": float(match[3]) for match in found if match}

    def settle(self) -> dict[str, float]:
        """The metrics when nothing runs or waits any more."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            seen = self.metrics()
            if not seen["ullage_runtime_requests_running"] + seen["ullage_runtime_requests_waiting"]:
                return seen
            time.sleep(0.05)
        raise AssertionError("requests are still running")

    def resident_bytes(self) -> int:
        return int(self.metrics()['ullage_runtime_seen_bytes{purpose="process"}'])


@contextmanager
def runtime(model: Path | str, folder: Path, *flags: str, program: Sequence[str] = (), **environment: str) -> Iterator[Server]:
    """The server, until the block is left; ``program`` are the words that start Python where it is not this one."""
    port, log = free_port(), folder / "server.log"
    words = [*(program or (sys.executable,)), "-m", "ullage.runtime", str(model), "--port", str(port), *flags]
    with log.open("wb") as output:
        process = subprocess.Popen(words, stdout=output, stderr=output, env={**os.environ, **environment})
    try:
        deadline = time.monotonic() + _START_S
        while "listening on" not in log.read_text():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        yield Server(port, process, log)
    finally:
        process.terminate()
        process.wait(30)


def free_port() -> int:
    """A port of this machine that nobody listens at."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port
