"""Our own runtime driven out of memory by a limit of its address space: what died when, one setting changed, and it serves."""

import re
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.engines_live.front import Front, status_bytes
from tests.runtime.real_model import smollm2_file
from tests.runtime.served import runtime

from ullage.units import MiB

pytestmark = [pytest.mark.slow, pytest.mark.skipif(shutil.which("prlimit") is None, reason="there is no prlimit to set a limit with")]

SETTINGS = {"max_len": "4096", "max_seqs": "4", "prefix_cache": "off", "served_model_name": "small"}
SMALL = {"max_seqs": "1", "max_len": "512"}  # whose cache reserves little
Start = Callable[..., Front]


def flags(settings: dict[str, str]) -> tuple[str, ...]:
    return tuple(word for name, value in settings.items() for word in (f"--{name.replace('_', '-')}", value))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shortage")


def most_mapped(model: Path, folder: Path, **settings: str) -> int:
    """Address space of a start without a limit."""
    with runtime(model, folder, *flags({**SETTINGS, **settings})) as server:
        return status_bytes(server.process.pid, "VmPeak")


@pytest.fixture
def limited(tmp_path: Path) -> Iterator[Start]:
    """A front whose engine may map so many bytes."""
    started: list[Front] = []

    def start(model: Path, most: int, *words: str, **settings: str) -> Front:
        program = f"{shutil.which('prlimit')} --as={most} {sys.executable}"
        said = [word for name, value in {**SETTINGS, **settings}.items() for word in ("--set", f"{name}={value}")]
        machine = ("--engine", "runtime", "--gpu", "cpu", "--host-memory", "8GiB", "--program", program)
        context = ("--context", {**SETTINGS, **settings}["max_len"])
        started.append(Front(tmp_path, *machine, *context, *said, *words, str(model)))
        return started[-1]

    yield start
    for one in started:
        one.close()


def stepped_down(front: Front) -> list[str]:
    return re.findall(r"One setting is stepped down: (.*)", front.text())


def prompt(words: int) -> dict[str, object]:
    return {"model": "small", "prompt": "hello " * words, "max_tokens": 4, "temperature": 0}


def test_out_of_memory_while_loading_leads_to_fewer_bits_and_an_engine_that_serves(folder: Path, limited: Start) -> None:
    model = smollm2_file()
    fewer = most_mapped(model, folder, dtype="float32", weights="int8", **SMALL)
    whole = most_mapped(model, folder, dtype="float32", **SMALL)
    assert whole - fewer > 48 * MiB
    front = limited(model, fewer + (whole - fewer) // 2, dtype="float32", **SMALL)
    front.until_ready()
    steps = stepped_down(front)
    assert len(steps) == 1, front.text()
    assert re.match(r"weights (?:native )?to int8", steps[0])
    assert "(load: host memory ran out)" in steps[0]
    assert front.ask("/v1/completions", prompt(8)).status == 200
    assert [run["exit"] for run in front.baselines("list")["runs"]] == ["out_of_memory"]


def test_a_limit_below_the_libraries_is_given_up_at_once_with_the_reason(limited: Start) -> None:
    front = limited(smollm2_file(), 400 * MiB)
    front.until(lambda: front.process.poll() is not None, may_end=True)
    assert re.search(r"given up: the same command cannot succeed: .*(?:hold its libraries|process memory)", front.text())
    assert stepped_down(front) == []
    assert front.process.returncode == 1
