"""Our own runtime driven out of memory by real limits: what died when, one setting changed, and the same request is served."""

import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from typing import NamedTuple

import pytest
from tests.engines_live.front import PATIENCE, Front, Said, ullage
from tests.engines_live.limits import ADDRESSES, GROUP, limited, most_counted, small_model
from tests.runtime.real_model import smollm2_file
from tests.runtime.served import Answered, Server, free_port, runtime

from ullage.units import GiB, MiB

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="processes are looked at through /proc")]

# So that every run takes the same: threads reserve no arenas of their own, and large tensors go back to the system instead of into a
# heap whose gaps differ from run to run (by 40 MiB, as much as a chunk of half the size takes less).
QUIET = {"OMP_WAIT_POLICY": "passive", "MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": str(MiB)}
MACHINE = ("--gpu", "cpu", "--host-memory", "8GiB")
SETTINGS = {"dtype": "float32", "max_len": "12288", "max_seqs": "8", "cache": "64MiB", "prefix_cache": "off", "served_model_name": "small"}
SMALL = {"dtype": "float32", "max_len": "512", "max_seqs": "1", "prefix_cache": "off", "served_model_name": "small"}
WIDE, NARROW = {"chunk": "8192"}, {"chunk": "4096"}


class Work(NamedTuple):
    """One request of several prompts, of so many words each; they are computed together."""

    prompts: int
    words: int

    @property
    def body(self) -> dict[str, object]:
        """As it is sent."""
        prompts = [f"{number} " + "hello " * self.words for number in range(self.prompts)]
        return {"model": "small", "prompt": prompts, "max_tokens": 4, "temperature": 0}


LONG, CROWD, LITTLE = Work(1, 8000), Work(8, 1000), Work(1, 8)


def flags(settings: dict[str, str]) -> tuple[str, ...]:
    return tuple(word for name, value in settings.items() for word in (f"--{name.replace('_', '-')}", value))


def is_done(ask: Callable[..., Answered | Said], work: Work) -> bool:
    """Whether the request is answered, every prompt of it."""
    said = ask("/v1/completions", work.body)
    return said.status == 200 and len(said.body["choices"]) == work.prompts


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shortage")


@pytest.fixture(scope="module")
def model(folder: Path) -> Path:
    return small_model(folder / "model", layers=2)


def most_taken(kind: str, model: Path, folder: Path, work: Work | None, **settings: str) -> int:
    """Of what a kind of limit counts, under a limit that is never reached: the cache reserves less where there is one."""
    with limited(ADDRESSES, 64 * GiB) as program, runtime(model, folder, *flags(settings), program=shlex.split(program), **QUIET) as server:
        assert work is None or is_done(server.ask, work)
        return most_counted(kind, server.process.pid)


@pytest.fixture
def front(tmp_path: Path) -> Iterator[Callable[..., Front]]:
    """A front whose engine is started by such words."""
    started: list[Front] = []

    def start(model: Path, program: str, **settings: str) -> Front:
        said = [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]
        context = ("--context", settings["max_len"])
        words = ("--engine", "runtime", *MACHINE, "--program", program, *context, *said, str(model))
        started.append(Front(tmp_path, *words, patience=PATIENCE, **QUIET))
        return started[-1]

    yield start
    for one in started:
        one.close()


def stepped_down(front: Front) -> list[str]:
    return re.findall(r"One setting is stepped down: (.*)", front.text())


def test_out_of_memory_while_loading_leads_to_fewer_bits_and_an_engine_that_serves(folder: Path, front: Callable[..., Front]) -> None:
    model = smollm2_file()
    fewer = most_taken(ADDRESSES, model, folder, None, **SMALL, weights="int8")
    whole = most_taken(ADDRESSES, model, folder, None, **SMALL)
    assert whole - fewer > 48 * MiB
    with limited(ADDRESSES, fewer + (whole - fewer) // 2) as program:
        one = front(model, program, **SMALL)
        one.until_ready()
        steps = stepped_down(one)
        assert len(steps) == 1, one.text()
        assert re.match(r"weights (?:native )?to int8", steps[0])
        assert "(load: host memory ran out, needed for weights)" in steps[0]
        assert is_done(one.ask, LITTLE)
        assert [run["exit"] for run in one.baselines("list")["runs"] if run["exit"] != "running"] == ["out_of_memory"]
        seen = ullage(
            "watch", f"http://127.0.0.1:{one.port}", "--once", "--offline", "--model", str(model), "--engine", "runtime", *MACHINE
        )
        assert seen["notes"] == [f"held to the command that process {one.engine('ullage.runtime')} runs with"]
        assert seen["pool"]["promised_tokens"]["expected"] == seen["pool"]["tokens"] == 512
        one.close()  # a group counts what it still holds
        remedied(program, folder, model, SMALL, LITTLE, "load")


@pytest.mark.parametrize("kind", [ADDRESSES, GROUP])
@pytest.mark.parametrize(("work", "phase"), [(LONG, "first long prompt"), (CROWD, "under load")], ids=["long", "crowd"])
def test_out_of_memory_in_a_step_leads_to_one_change_and_the_same_requests_are_served(
    folder: Path, model: Path, front: Callable[..., Front], kind: str, work: Work, phase: str
) -> None:
    less = most_taken(kind, model, folder, work, **SETTINGS, **NARROW)
    more = most_taken(kind, model, folder, work, **SETTINGS, **WIDE)
    sys.stderr.write(f"\n{kind}, {phase}: {less / MiB:.0f} MiB, {more / MiB:.0f} MiB\n")
    assert more - less > 12 * MiB
    with limited(kind, less + (more - less) // 2) as program:
        one = front(model, program, **SETTINGS, **WIDE)
        one.until_ready()
        assert is_done(one.ask, work)
        steps = stepped_down(one)
        assert len(steps) == 1, one.text()
        assert re.match(r"chunk 8192 to \d+", steps[0])
        assert f"({phase}: host memory ran out, needed for activations)" in steps[0]
        one.close()  # a group counts what it still holds
        remedied(program, folder, model, {**SETTINGS, **WIDE}, work, phase.replace(" ", "_"))


def remedied(program: str, folder: Path, model: Path, settings: dict[str, str], work: Work, phase: str) -> None:
    """The engine by itself dies of the work; its log tells the phase, and by the first remedy it does the work under the same limit."""
    log = died(program, folder, model, settings, work)
    found = ullage("diagnose", str(log), "--offline", *MACHINE, code=1)
    assert found["phase"] == phase, (found["phase"], log.read_text())
    assert found["engine"] == "runtime"
    assert found["model"] is not None
    change = found["changes"][0]
    name = {"context": "max_len", "concurrency": "max_seqs"}.get(change["setting"], change["setting"])
    changed = {**settings, name: str(change["value"])}
    with runtime(model, folder, *flags(changed), program=shlex.split(program), **QUIET) as server:
        assert is_done(server.ask, work), server.log.read_text()


def died(program: str, folder: Path, model: Path, settings: dict[str, str], work: Work) -> Path:
    """The log of an engine that the work, or its start, ends; a shell adds how it was ended, as a container does."""
    port, log = free_port(), folder / "died.log"
    words = shlex.join([*shlex.split(program), "-m", "ullage.runtime", str(model), "--port", str(port), *flags(settings)])
    with log.open("wb") as output:
        script = f"{words}; echo exited with status $?"
        process = subprocess.Popen(["/bin/sh", "-c", script], stdout=output, stderr=output, env={**os.environ, **QUIET})
        until = time.monotonic() + 60
        while process.poll() is None and "listening on" not in log.read_text() and time.monotonic() < until:
            time.sleep(0.05)
        if process.poll() is None:
            with suppress(OSError, HTTPException):
                is_done(Server(port, process, log).ask, work)
        process.wait(60)
    return log


def test_a_limit_below_the_libraries_is_given_up_at_once_with_the_reason(front: Callable[..., Front]) -> None:
    with limited(ADDRESSES, 400 * MiB) as program:
        one = front(smollm2_file(), program, **SMALL)
        one.until(lambda: one.process.poll() is not None, may_end=True)
    assert re.search(r"given up: the same command cannot succeed: .*(?:hold its libraries|process memory)", one.text())
    assert stepped_down(one) == []
    assert one.process.returncode == 1
