"""Tuning real processes: what wins, what is written down, and what is left when a tuning is killed."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from ullage import wire
from ullage.domain.load import Asked, Load, Round
from ullage.world.bench import Loader
from ullage.world.installed import free_port

SERVER = Path(__file__).with_name("tuned_server.py")
PATIENCE = 60.0
MODEL = ("Qwen3-0.6B", "--quant", "q8_0", "--gpu", "cpu", "--host-memory", "16GiB", "--engine", "llama_cpp")
KNOBS = ("--knob", "ubatch_size=128,256,512", "--knob", "n_parallel=1,2,4")
LOADED = ("--workload", "64:8", "--concurrency", "4", "--requests", "8", "--trial", "2s")

pytestmark = pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="processes are looked at through /proc")


class Tuning:
    """``ullage tune`` as a process."""

    def __init__(self, folder: Path, *words: str, server: str = "") -> None:
        program = f"{sys.executable} {SERVER} {server}"
        self.errors = folder / "errors"
        self.environment = {**os.environ, "XDG_STATE_HOME": str(folder)}
        with self.errors.open("a") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "ullage", "tune", *MODEL, "--program", program, *LOADED, "--json", *words],
                stdout=subprocess.PIPE,
                stderr=errors,
                env=self.environment,
            )

    def answer(self) -> Any:
        said, _ = self.process.communicate(timeout=PATIENCE * 3)
        assert said, self.errors.read_text()
        return wire.loads(said)

    def until(self, asked: Callable[[str], object]) -> None:
        end = time.monotonic() + PATIENCE
        while not asked(self.errors.read_text()):
            assert time.monotonic() < end, self.errors.read_text()
            assert self.process.poll() is None, self.errors.read_text()
            time.sleep(0.05)


def states(answer: Any) -> list[str]:
    return [trial["state"] for trial in answer["trials"]]


def children_of(mark: str) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().decode(errors="replace")
        except OSError:
            continue
        if str(SERVER) in words and mark in words:
            found.append(words)
    return found


@pytest.mark.slow
def test_a_killed_tuning_goes_on_where_it_was_and_repeats_no_trial(tmp_path: Path) -> None:
    first = Tuning(tmp_path, *KNOBS, server="--mark killed-in-the-middle")
    first.until(lambda said: said.count("trial ") >= 3)
    time.sleep(0.5)
    first.process.kill()
    first.process.wait()
    end = time.monotonic() + 10
    while children_of("killed-in-the-middle"):
        assert time.monotonic() < end, "an engine outlived its tuning"
        time.sleep(0.1)
    (tmp_path / "errors").write_text("")
    answer = Tuning(tmp_path, *KNOBS, server="--mark killed-in-the-middle").answer()
    assert answer["taken"] == 2
    assert [trial["number"] for trial in answer["trials"]] == list(range(1, len(answer["trials"]) + 1))
    points = [(trial["settings"]["ubatch_size"], trial["settings"]["n_parallel"]) for trial in answer["trials"]]
    assert len(set(points)) == len(points)
    said = (tmp_path / "errors").read_text()
    assert "trial 1 " not in said
    assert "trial 2 " not in said
    assert "trial 3 " in said
    assert answer["settings"]["n_parallel"] == 4
    assert "started" not in states(answer)
    replayed = Tuning(tmp_path, *KNOBS, "--replay", server="--mark killed-in-the-middle").answer()
    assert replayed["taken"] == len(answer["trials"])
    assert [trial["because"] for trial in replayed["trials"]] == [trial["because"] for trial in answer["trials"]]
    assert replayed["best"] == answer["best"]


@pytest.mark.slow
def test_a_value_that_ends_the_engine_is_rolled_back_and_a_step_says_what_it_brought(tmp_path: Path) -> None:
    plot = tmp_path / "plot.svg"
    words = ("--knob", "n_parallel=1,2", "--knob", "ubatch_size=128,256,512", "--plot", str(plot))
    answer = Tuning(tmp_path, *words, server="--fails-at 512").answer()
    failed = [trial for trial in answer["trials"] if trial["state"] == "failed"]
    assert failed
    assert all("failed, rolled back" in trial["because"] for trial in failed)
    assert answer["settings"]["n_parallel"] == 2
    assert answer["settings"]["ubatch_size"] in {128, 256}
    step = next(trial["because"] for trial in answer["trials"] if trial["because"].startswith("n_parallel 1 -> 2"))
    assert "% throughput (" in step
    assert "peak, kept" in step
    assert plot.read_text().startswith("<svg")
    done = [trial for trial in answer["trials"] if trial["state"] == "done"]
    listed = subprocess.run(
        [sys.executable, "-m", "ullage", "baselines", "list", "--json"],
        capture_output=True,
        check=False,
        env={**os.environ, "XDG_STATE_HOME": str(tmp_path)},
    )
    for trial in done:
        assert trial["run"].encode() in listed.stdout
    assert failed[0]["settings"]["ubatch_size"] == 512


@pytest.mark.slow
def test_two_tunings_of_one_study_do_not_both_write_and_a_killed_one_holds_nobody_up(tmp_path: Path) -> None:
    words = ("--knob", "n_parallel=1,2", "--study", "one at a time")
    first = Tuning(tmp_path, *words)
    first.until(lambda said: "trial 1 " in said)
    second = subprocess.run(first.process.args, capture_output=True, env=first.environment, check=False, timeout=PATIENCE)
    assert second.returncode == 4
    assert f"the study one at a time is being tuned by process {first.process.pid} since".encode() in second.stderr
    replayed = Tuning(tmp_path, *words, "--replay")
    assert replayed.answer()["study"] == "one at a time", "whoever only looks is let in"
    first.process.kill()
    first.process.wait()
    assert Tuning(tmp_path, *words).answer()["settings"]["n_parallel"] == 2


@pytest.mark.slow
def test_an_interrupted_tuning_says_what_it_knows_and_leaves_nothing_running(tmp_path: Path) -> None:
    one = Tuning(tmp_path, *KNOBS, server="--mark interrupted")
    one.until(lambda said: said.count("trial ") >= 2)
    time.sleep(0.5)
    one.process.send_signal(signal.SIGINT)
    answer = one.answer()
    assert "the same command goes on" in answer["reason"]
    assert answer["best"] == 1
    assert not children_of("interrupted")


class Served:
    """The stand-in server by itself."""

    def __init__(self, *words: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.process = subprocess.Popen([sys.executable, str(SERVER), "--port", str(self.port), *words])
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            try:
                connection = HTTPConnection("127.0.0.1", self.port, timeout=1)
                connection.request("GET", "/health")
                connection.getresponse().read()
            except OSError:
                time.sleep(0.05)
            else:
                return

    def load(self, load: Load, rounds: int = 2) -> tuple[tuple[Round, ...], str]:
        try:
            loading = Loader(self.url, None, load, lambda found, _: len(found) >= rounds)
            loading.wait(PATIENCE)
            assert loading.is_over
            return loading.rounds, loading.problem
        finally:
            self.process.kill()
            self.process.wait()


def test_waiting_clients_never_have_more_requests_in_flight_than_they_are() -> None:
    load = Load(requests=(Asked(0.0, 16, 5),) * 6, clients=2, vocabulary=1000)
    rounds, problem = Served("--parallel", "2", "--ubatch-size", "512").load(load)
    assert not problem
    for one in rounds:
        assert [answered.tokens for answered in one.answered] == [5] * 6
        assert one.seconds >= 3 * (0.030 + 5 * 0.012)  # three turns of two clients, as slow as the server is made to be
        assert all(answered.first_s >= 0.030 for answered in one.answered)
        assert all((answered.between_s or 0) >= 0.009 for answered in one.answered)


def test_an_open_loop_sends_at_its_times_whether_answers_came_or_not() -> None:
    load = Load(requests=tuple(Asked(at / 50, 16, 10) for at in range(8)), clients=None, vocabulary=1000)
    rounds, problem = Served("--parallel", "1").load(load, rounds=1)
    assert not problem
    waits = sorted(one.first_s for one in rounds[0].answered)
    assert waits[-1] > waits[0] + 0.3  # one place: who comes while others run waits for them


def test_a_server_that_takes_no_token_numbers_is_sent_words() -> None:
    load = Load(requests=(Asked(0.0, 16, 3),) * 2, clients=1, vocabulary=1000)
    rounds, problem = Served("--words-only").load(load)
    assert not problem
    assert rounds[0].tokens_per_s > 0


def test_a_server_that_is_gone_is_a_problem_and_no_measurement() -> None:
    loading = Loader(f"http://127.0.0.1:{free_port()}", None, Load(requests=(Asked(0.0, 4, 1),), clients=1, vocabulary=99), lambda *_: True)
    loading.wait(PATIENCE)
    assert loading.is_over
    assert "not answered" in loading.problem
    assert not loading.rounds
