"""What would keep a supervisor from seeing: questions that never end, counters that cannot be read, a hang-up, a store that is full."""

import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any

import pytest
from tests.world.test_serving import Front, front  # noqa: F401 - a fixture

from ullage.domain.supervision import Event, Healthy, Unhealthy
from ullage.world import probes
from ullage.world.supervisor import _Loop


@contextmanager
def dribbling(first: bytes) -> Iterator[int]:
    """The port of a server that answers with ``first``, and then with a byte now and then."""
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        try:
            connection, _ = listening.accept()
            connection.recv(4096)
            connection.sendall(first)
            for _ in range(200):
                connection.sendall(b"x")
                time.sleep(0.05)
        except OSError:
            pass

    thread = Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield listening.getsockname()[1]
    finally:
        listening.close()
        thread.join()


@pytest.mark.parametrize("first", [b"", b"HTTP/1.1 200 OK\r\nX-Long: ", b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"])
def test_an_engine_that_answers_a_byte_at_a_time_has_not_answered_in_time(first: bytes) -> None:
    with dribbling(first) as port:
        begun = time.monotonic()
        assert "timed out" in probes.ask_health("127.0.0.1", port, "/health", 0.4)
        assert time.monotonic() - begun < 4


def looped(pulse: Callable[[float, str], None], monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(probes, "ask_health", lambda *_: "")
    monkeypatch.setattr(probes, "ask_page", lambda *_: "")
    care = SimpleNamespace(host="", port=0, key=None, server=SimpleNamespace(health="/"), door=SimpleNamespace(pulse=pulse))
    return _Loop(care)  # type: ignore[arg-type]


def answer(loop: Any, question: Callable[[], Event]) -> Event:
    loop._ask(question)
    event: Event = loop._events.get(timeout=5)
    return event


def test_counters_that_cannot_be_read_do_not_make_an_engine_unwell(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def pulse(_at: float, _page: str) -> None:
        raise ValueError("no counters")

    loop = looped(pulse, monkeypatch)
    for _ in range(2):
        assert isinstance(answer(loop, lambda: loop._health(1.0)), Healthy)
    assert capsys.readouterr().err.count("counters cannot be read: ValueError: no counters") == 1


def test_a_question_that_fails_is_an_answer_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def question() -> Event:
        raise KeyError("odd")

    told = answer(looped(lambda *_: None, monkeypatch), question)
    assert isinstance(told, Unhealthy)
    assert "KeyError" in told.reason


def test_who_was_told_not_to_mind_a_hang_up_serves_on(front: Callable[..., Front]) -> None:  # noqa: F811 - the fixture
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does it
    try:
        one = front()
    finally:
        signal.signal(signal.SIGHUP, before)
    one.until_ready()
    one.process.send_signal(signal.SIGHUP)
    time.sleep(1)
    assert one.process.poll() is None
    assert not one.says("stopping")
    one.process.send_signal(signal.SIGTERM)
    assert one.process.wait(timeout=30) == 0


def test_a_run_that_cannot_be_remembered_is_said_to_be_not(front: Callable[..., Front], tmp_path: Path) -> None:  # noqa: F811 - the fixture
    tmp_path.joinpath("ullage").write_text("no folder")
    one = front()
    one.until_ready()
    one.process.send_signal(signal.SIGTERM)
    assert one.process.wait(timeout=30) == 0
    assert one.says("this run is not remembered: the store .* cannot be written")
