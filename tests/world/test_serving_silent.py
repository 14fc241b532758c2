"""Engines that ``ullage serve`` keeps and that say nothing: to one request, or to nobody."""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.engines_live.front import Front, lives

SERVER = Path(__file__).with_name("small_server.py")
MODEL = ("Qwen3-0.6B", "--quant", "q8_0", "--gpu", "cpu", "--host-memory", "16GiB", "--context", "4096", "--engine", "llama_cpp")

pytestmark = pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="processes are looked at through /proc")


@pytest.fixture
def front(tmp_path: Path) -> Iterator[Callable[..., Front]]:
    started: list[Front] = []

    def start(*words: str, server: str = "") -> Front:
        started.append(Front(tmp_path, "--program", f"{sys.executable} {SERVER} {server}", *words, *MODEL, patience=30.0))
        started[-1].until_ready()
        return started[-1]

    yield start
    for one in started:
        one.close()


def test_a_request_that_is_never_answered_ends_and_gives_back_its_memory_while_others_are_answered(front: Callable[..., Front]) -> None:
    one = front("--request-timeout", "1", server="--mute secret")
    begun = time.monotonic()
    late = one.ask("/v1/completions", {"prompt": "a secret", "max_tokens": 8})
    assert (late.status, late.body["error"]["code"]) == (504, "timeout")
    assert time.monotonic() - begun < 5
    assert one.ask("/v1/completions", {"prompt": "hello", "max_tokens": 8}).status == 200
    page = one.metrics()
    assert page["ullage_guard_reserved_bytes"] == page["ullage_guard_in_flight_requests"] == 0
    assert page['ullage_guard_requests_total{end="late"}'] == page['ullage_guard_requests_total{end="finished"}'] == 1
    assert one.says("ready: it answered")
    assert not one.says("ready: it answered", 2)


def test_a_frozen_engine_is_started_again_after_as_long_as_was_said(front: Callable[..., Front]) -> None:
    one = front("--unhealthy-seconds", "2", "--grace-seconds", "1")
    begun, engine = time.monotonic(), one.engine("small_server")
    os.kill(engine, signal.SIGSTOP)
    one.until_ready(2)
    assert time.monotonic() - begun < 15
    assert one.says("it has not answered well for 2 s: /health is not answered: timed out; it is stopped")
    assert not lives(engine)
    assert one.ask("/v1/completions", {"prompt": "hello", "max_tokens": 8}).status == 200
