"""The loop that keeps an engine: one queue of events, one pure decision, and hands for what it decides."""

import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from types import FrameType
from typing import Any, assert_never

from ullage.domain.plan import Command
from ullage.domain.supervision import (
    Action,
    AnsweredARequest,
    ApplyRemedy,
    Close,
    CouldNotStart,
    Drained,
    Event,
    GiveUp,
    Healthy,
    Kill,
    Launch,
    Leave,
    Open,
    ProbeHealth,
    ProbeRequest,
    RecordRun,
    Say,
    Start,
    State,
    Stop,
    StopAsked,
    Tick,
    Unhealthy,
)
from ullage.errors import WorldError
from ullage.ports import Care
from ullage.world import probes
from ullage.world.processes import Process

_TICK_SECONDS = 0.2
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def keep(launch: Launch, care: Care) -> State:
    """Run until the state is an end; returns it. Nothing that was started is left when this returns, nor when this process is killed."""
    return _Loop(care).run(launch)


class _Loop:
    def __init__(self, care: Care) -> None:
        self._care = care
        self._events: SimpleQueue[Event] = SimpleQueue()
        self._process: Process | None = None
        self._said: set[str] = set()
        self._folder = Path(tempfile.mkdtemp(prefix="ullage-"))

    def run(self, launch: Launch) -> State:
        before = self._listen_to_signals()
        try:
            self._care.door.start()
            state, actions = self._care.begin(launch, time.monotonic())
            self._perform(actions)
            while not state.phase.is_end:
                state, actions = self._care.decide(state, self._next())
                self._perform(actions)
                if not state.phase.is_end:
                    state, actions = self._care.decide(state, self._now(state))
                    self._perform(actions)
            return state
        finally:
            if self._process is not None:
                self._process.close()
            self._care.door.stop()
            for number, handler in before.items():
                signal.signal(number, handler)
            shutil.rmtree(self._folder, ignore_errors=True)

    def _listen_to_signals(self) -> dict[signal.Signals, Any]:
        """A signal becomes an event; only the main thread can be told of one."""
        if threading.current_thread() is not threading.main_thread():
            return {}

        def asked(number: int, _frame: FrameType | None) -> None:
            self._events.put(StopAsked(at=time.monotonic(), signal=number))

        taken = [one for one in _SIGNALS if one is not signal.SIGHUP or signal.getsignal(one) is not signal.SIG_IGN]  # else: nohup
        return {number: signal.signal(number, asked) for number in taken}

    def _next(self) -> Event:
        try:
            return self._events.get(timeout=_TICK_SECONDS)
        except Empty:
            return Tick(at=time.monotonic())

    def _now(self, state: State) -> Event:
        """What is so by itself: that time passes, or that the last request has ended."""
        if state.drain_until is not None and not self._care.door.drain():
            return Drained(at=time.monotonic())
        return Tick(at=time.monotonic())

    def _perform(self, actions: tuple[Action, ...]) -> None:
        for action in actions:
            self._act(action)

    def _act(self, action: Action) -> None:  # noqa: C901, PLR0912 - one branch for each action
        match action:
            case Start():
                self._start(action.launch.command)
            case Stop():
                if self._process is not None:
                    self._process.send(action.signal)
            case Kill():
                if self._process is not None:
                    self._process.kill()
            case ProbeHealth():
                self._ask(partial(self._health, action.seconds))
            case ProbeRequest():
                self._ask(self._request)
            case Open():
                self._care.door.engine_ready(f"http://{self._care.host}:{self._care.port}", action.launch)
            case Close():
                self._care.door.engine_died()
            case Say():
                say(action.text)
            case RecordRun():
                if told := self._care.record(action.run):
                    say(told)
            case GiveUp() | Leave():
                self._care.door.engine_gone()
            case ApplyRemedy():
                pass  # the launch that follows holds the change
            case _ as never:
                assert_never(never)

    def _start(self, command: Command) -> None:
        if self._process is not None:
            self._process.close()
        try:
            argv = write_files(command, self._folder)
            self._process = Process(
                argv, dict(command.environment), self._events.put, self._care.read_line, self._echo, folder=self._care.folder
            )
        except (OSError, WorldError) as error:
            self._events.put(CouldNotStart(at=time.monotonic(), reason=f"it cannot be started: {error}"))

    def _echo(self, chunk: bytes) -> None:
        if self._care.is_silent:
            return
        with suppress(OSError, ValueError):  # nobody reads our output any more; the engine goes on
            stream = sys.stderr.buffer if self._care.is_quiet else sys.stdout.buffer
            stream.write(chunk)
            stream.flush()

    def _ask(self, question: Callable[[], Event]) -> None:
        """In a thread, as an answer may take long; one that comes after the process has been replaced says nothing of the new one."""
        process = self._process

        def ask() -> None:
            try:
                answer = question()
            except Exception as error:  # noqa: BLE001 - a question without an answer would be the last
                answer = Unhealthy(at=time.monotonic(), reason=f"it could not be asked: {type(error).__name__}: {error}")
            if process is self._process:
                self._events.put(answer)

        threading.Thread(target=ask, daemon=True).start()

    def _health(self, seconds: float) -> Event:
        told = probes.ask_health(self._care.host, self._care.port, self._care.server.health, seconds)
        if told:
            return Unhealthy(at=time.monotonic(), reason=told)
        page = probes.ask_page(self._care.host, self._care.port, "/metrics", self._care.key)
        try:
            self._care.door.pulse(time.monotonic(), page)
        except Exception as error:  # noqa: BLE001 - what cannot be read of a page does not make the engine unwell
            self._say_once(f"the engine's counters cannot be read: {type(error).__name__}: {error}")
        return Healthy(at=time.monotonic())

    def _say_once(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            say(text)

    def _request(self) -> Event:
        told = probes.ask_request(self._care.host, self._care.port, self._care.key)
        return Unhealthy(at=time.monotonic(), reason=told) if told else AnsweredARequest(at=time.monotonic())


def say(text: str) -> None:
    """One line of ours on standard error, apart from the engine's output."""
    with suppress(OSError, ValueError):
        sys.stderr.write(f"ullage: {' '.join(text.split())}\n")
        sys.stderr.flush()


def write_files(command: Command, folder: Path) -> tuple[str, ...]:
    """The command's words with the files it needs written into a private folder and named there. Raises WorldError."""
    places = {}
    for name, text in command.files:
        path = folder / Path(name).name
        try:
            path.write_text(text, encoding="utf-8")
        except OSError as error:
            raise WorldError(f"{path} cannot be written: {error.strerror or error}") from error
        places[name] = str(path)
    return tuple(places.get(word, word) for word in command.argv)
