"""How the server ends: with the requests that are here, without new ones, and without a traceback."""

import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.runtime.real_model import smollm2_file
from tests.runtime.served import free_port, runtime

STORY = {"messages": [{"role": "user", "content": "Tell me a story about a fox."}], "temperature": 0, "max_tokens": 150, "min_tokens": 150}


def test_told_to_end_it_answers_who_has_asked_and_nobody_else(tmp_path: Path) -> None:
    with runtime(smollm2_file(), tmp_path, "--max-len", "1024", "--max-seqs", "4") as server, ThreadPoolExecutor() as others:
        first = others.submit(server.ask, "/v1/chat/completions", STORY)
        deadline = time.monotonic() + 30
        while not server.metrics()["ullage_runtime_requests_running"]:
            assert time.monotonic() < deadline
        server.process.send_signal(signal.SIGINT)
        refused = server.ask("/v1/chat/completions", STORY)
        while refused.status == 200 and time.monotonic() < deadline:  # the signal had not come yet
            refused = server.ask("/v1/chat/completions", {**STORY, "max_tokens": 1, "min_tokens": 1})
        assert refused.status == 503
        assert first.result().body["usage"]["completion_tokens"] == 150
        assert server.process.wait(30) == 0
        assert "Traceback" not in server.log.read_text()


def test_interrupted_while_it_loads_it_says_so_in_one_line(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("w") as output:
        words = [sys.executable, "-m", "ullage.runtime", str(smollm2_file()), "--port", str(free_port())]
        process = subprocess.Popen(words, stdout=output, stderr=output)
    try:
        deadline = time.monotonic() + 60
        while "loading:" not in log.read_text():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) in {0, 130}
    finally:
        process.kill()
        process.wait()
    assert "Traceback" not in log.read_text()
