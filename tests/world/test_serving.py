"""Engines kept running, as real processes: what is killed, what is left, what is tried again."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from pathlib import Path

import pytest
from tests.runtime.real_model import smollm2_file

from ullage.errors import WorldError
from ullage.world import installed
from ullage.world.installed import free_port

SERVER = Path(__file__).with_name("small_server.py")
PATIENCE = 30.0

pytestmark = pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="processes are looked at through /proc")


class Front:
    """``ullage serve`` as a process, its output in a file."""

    def __init__(self, folder: Path, *words: str, server: str = "", engine: tuple[str, ...] = ()) -> None:
        self.port = free_port()
        self.output = folder / "output"
        model = engine or ("Qwen3-0.6B", "--quant", "q8_0", "--gpu", "cpu", "--host-memory", "16GiB", "--context", "4096")
        program = f"{sys.executable} {SERVER} {server}"
        with self.output.open("w") as output:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "ullage", "serve", "--port", str(self.port), "--no-guard", "--engine", "llama_cpp"),
                    *("--program", program, *words, *model),
                ],
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, "XDG_STATE_HOME": str(folder)},
            )

        self.was_killed = False

    def kill(self) -> None:
        self.was_killed = True
        self.process.kill()

    def text(self) -> str:
        return self.output.read_text()

    def until(self, asked: Callable[[], object]) -> None:
        end = time.monotonic() + PATIENCE
        while not asked():
            ended = self.process.poll() is not None and not self.was_killed
            assert (time.monotonic() < end and not ended) or asked(), self.text()
            time.sleep(0.05)

    def says(self, pattern: str, times: int = 1) -> bool:
        return len(re.findall(pattern, self.text())) >= times

    def until_ready(self, times: int = 1) -> None:
        self.until(lambda: self.says("ready: it answered", times))

    def engine(self) -> int:
        """The process that answers."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=5)
        connection.request("GET", "/health")
        return int(re.findall(rb'"pid": (\d+)', connection.getresponse().read())[0])

    def workers(self) -> list[tuple[int, str]]:
        """Each worker's process with its shared memory, and again with its semaphore."""
        return [(int(pid), name) for pid, name in re.findall(r"worker (\d+) (\S+)", self.text())]


@pytest.fixture
def front(tmp_path: Path) -> Iterator[Callable[..., Front]]:
    started: list[Front] = []

    def start(*words: str, **how: object) -> Front:
        started.append(Front(tmp_path, *words, **how))  # type: ignore[arg-type]
        return started[-1]

    yield start
    for one in started:
        one.process.kill()
        one.process.wait()


def lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def shared(name: str) -> bool:
    return Path("/dev/shm", name).exists()  # noqa: S108 - where shared memory is


def keeper_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def test_killing_the_front_process_leaves_no_process_and_no_shared_memory(front: Callable[..., Front]) -> None:
    one = front(server="--workers 2")
    one.until_ready()
    one.until(lambda: len(one.workers()) == 4)
    engine = one.engine()
    keeper, workers = keeper_of(engine), one.workers()
    time.sleep(0.6)  # a keeper looks every quarter of a second which memory is whose
    one.kill()
    one.until(lambda: not any(lives(pid) for pid in (engine, keeper, *(pid for pid, _ in workers))))
    assert not any(shared(name) for _, name in workers)


def test_a_killed_engine_takes_its_workers_with_it_and_is_started_again(front: Callable[..., Front]) -> None:
    one = front(server="--workers 2")
    one.until_ready()
    one.until(lambda: len(one.workers()) == 4)
    engine, workers = one.engine(), one.workers()
    time.sleep(0.6)
    os.kill(engine, signal.SIGKILL)
    one.until_ready(2)
    assert not any(lives(pid) or shared(name) for pid, name in workers)
    assert one.engine() != engine


def test_a_killed_keeper_leaves_nothing_and_the_engine_is_started_again(front: Callable[..., Front]) -> None:
    one = front(server="--workers 1")
    one.until_ready()
    one.until(lambda: len(one.workers()) == 2)
    engine, workers = one.engine(), one.workers()
    time.sleep(0.6)
    os.kill(keeper_of(engine), signal.SIGKILL)
    one.until_ready(2)
    assert not lives(engine)
    assert not any(lives(pid) or shared(name) for pid, name in workers)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_the_engine_in_order_and_nothing_starts_again(front: Callable[..., Front], number: signal.Signals) -> None:
    one = front(server="--workers 1")
    one.until_ready()
    engine = one.engine()
    one.until(lambda: len(one.workers()) == 2)
    one.process.send_signal(number)
    assert one.process.wait(timeout=PATIENCE) == 0
    assert not lives(engine)
    assert not any(lives(pid) for pid, _ in one.workers())
    assert one.says("STOPPED")


def test_a_second_signal_kills_what_does_not_end(front: Callable[..., Front]) -> None:
    one = front(server="--deaf")
    one.until_ready()
    engine = one.engine()
    one.process.send_signal(signal.SIGTERM)
    one.until(lambda: one.says("stopping"))
    assert lives(engine)
    one.process.send_signal(signal.SIGTERM)
    assert one.process.wait(timeout=PATIENCE) == 0
    assert not lives(engine)


def test_out_of_memory_under_an_address_limit_leads_to_one_step_down_that_serves(front: Callable[..., Front]) -> None:
    """4,096 tokens of 64 KiB are 256 MiB, which 280 MiB of addresses do not hold beside the server; half of them do."""
    limit = 280 << 20
    one = front(server=f"--token-bytes 65536 --limit-bytes {limit}")
    one.until_ready()
    assert one.text().count("One setting is stepped down: cache_type to q8_0") == 1
    assert one.text().count("out of memory") == 1
    assert one.says(r"llama_kv_cache: size = 136\.00 MiB")


@pytest.mark.parametrize(
    ("line", "code", "reason"),
    [
        ("error: unrecognized arguments: --max-modle-len", 2, "does not know a flag"),
        ("OSError: [Errno 98] Address already in use", 1, "port is in use"),
        ("gguf_init_from_file: failed to open GGUF file 'x.gguf' (No such file or directory)", 1, "model is not there"),
        ("starting", -4, "built for another processor"),
    ],
)
def test_what_cannot_succeed_is_given_up_at_once(front: Callable[..., Front], line: str, code: int, reason: str) -> None:
    plain = line.replace("'", "")
    one = front(server=f'--fail-with "{plain}" --code={code}')
    assert one.process.wait(timeout=PATIENCE) == 1
    assert reason in " ".join(one.text().split())
    assert not one.says("starts again")


def test_the_same_failure_before_it_was_ready_is_tried_once_more_and_no_oftener(front: Callable[..., Front]) -> None:
    one = front(server='--fail-with "RuntimeError: something 17" --code=1')
    assert one.process.wait(timeout=PATIENCE) == 1
    assert one.text().count("It starts again") == 1
    assert one.says("failed twice in the same way")


def test_a_failure_that_passes_is_followed_by_a_start_that_serves(front: Callable[..., Front], tmp_path: Path) -> None:
    one = front(server=f'--fail-with "RuntimeError: something" --once {tmp_path / "once"}')
    one.until_ready()
    assert one.says("It starts again in 1 s")


def test_an_engine_that_is_not_installed_is_named_with_what_to_install() -> None:
    words = (sys.executable, "-m", "ullage", "serve", "Qwen3-0.6B", "--engine", "sglang", "--gpu", "24GiB", "--program", "no-such-program")
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 4
    assert "pip install" in done.stderr


def test_keys_without_a_guard_that_asks_for_them_are_refused(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text("one\n")
    words = ("serve", "Qwen3-0.6B", "--quant", "q8_0", "--engine", "llama_cpp", "--program", f"{sys.executable} {SERVER}", "--gpu", "cpu")
    guard = ("--host-memory", "16GiB", "--no-guard", "--keys-file", str(keys))
    done = subprocess.run((sys.executable, "-m", "ullage", *words, *guard), capture_output=True, text=True, check=False, timeout=PATIENCE)
    assert (done.returncode, "there is no guard" in done.stderr) == (2, True), done.stderr


def test_a_command_that_does_not_fit_is_started_with_a_word_before(tmp_path: Path) -> None:
    model = smollm2_file()
    options = ("serve", "--no-guard", "--gpu", "cpu", "--host-memory", "100MiB", "--offline")
    program = tmp_path / "llama-server"
    program.write_text("#!/bin/sh\necho started; exit 2\n")
    program.chmod(0o755)
    theirs = ("--engine-dir", str(tmp_path), "--", "llama-server", "-m", str(model), "-c", "1024")
    words = (sys.executable, "-m", "ullage", *options, *theirs)
    done = subprocess.run(
        words, capture_output=True, text=True, check=False, timeout=PATIENCE, env={**os.environ, "XDG_STATE_HOME": str(tmp_path)}
    )
    assert "started" in done.stdout
    before, _, _ = done.stderr.partition("given up")
    assert re.search(r"DOES NOT FIT: .* too much", before)
    assert "it is started all the same, as asked" in before


def test_callers_show_the_guards_key_and_the_guard_the_engines(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("outer\n")
    program = tmp_path / "llama-server"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} {SERVER} "$@"\n')
    program.chmod(0o755)
    (tmp_path / "output").touch()
    port, inner, model = free_port(), free_port(), smollm2_file()
    ours = ("serve", "--port", str(port), "--keys-file", str(tmp_path / "keys"), "--gpu", "cpu", "--engine-dir", str(tmp_path))
    theirs = ("llama-server", "-m", str(model), "-c", "1024", "--port", str(inner), "--api-key", "surelyinner")
    with (tmp_path / "output").open("w") as output:
        words = (sys.executable, "-m", "ullage", *ours, "--host-memory", "16GiB", "--", *theirs)
        process = subprocess.Popen(words, stdout=output, stderr=subprocess.STDOUT, env={**os.environ, "XDG_STATE_HOME": str(tmp_path)})
    try:
        end = time.monotonic() + PATIENCE
        while "ready: it answered" not in (said := (tmp_path / "output").read_text()):
            assert time.monotonic() < end, said
            time.sleep(0.05)
        for key, status in (("outer", 200), ("surelyinner", 401)):
            connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
            connection.request("POST", "/v1/completions", b'{"prompt": "a", "max_tokens": 1}', {"Authorization": f"Bearer {key}"})
            assert connection.getresponse().status == status
        process.terminate()
        assert process.wait(timeout=PATIENCE) == 0
    finally:
        process.kill()
        process.wait()
    for path in (tmp_path / "output", *(tmp_path / "ullage").iterdir()):
        assert b"surelyinner" not in path.read_bytes(), path


def test_a_link_keeps_its_name_and_an_engine_is_not_looked_for_in_a_folder_that_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tmp_path.joinpath("blob").touch()
    tmp_path.joinpath("small.gguf").symlink_to("blob")
    monkeypatch.chdir(tmp_path)
    assert installed.find((sys.executable, "small.gguf"), None) == (sys.executable, str(tmp_path / "small.gguf"))
    with pytest.raises(WorldError, match="--engine-dir nowhere is no directory"):
        installed.find(("python", "-m", "ullage"), "nowhere")
