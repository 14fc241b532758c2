"""Our own runtime kept by ``serve``, real from the file to the answer: promises, refusals, ends, deaths and memory."""

import re
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random
from typing import Any

import pytest
from tests.engines_live.checks import asked, check_longest, check_mixed, check_nothing_left, check_sent_again, run_mixed, terms_seen
from tests.engines_live.front import Front, status_bytes, ullage
from tests.runtime.real_model import smollm2_file
from tests.runtime.served import runtime

from ullage.units import MiB

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="processes are looked at through /proc"),
]

MODULE = "ullage.runtime"
SETTINGS = ("cache=96MiB", "max_len=4096", "max_seqs=8", "prefix_cache=off", "served_model_name=small")
WORDS = ("--engine", "runtime", "--gpu", "cpu", "--host-memory", "8GiB", *(word for one in SETTINGS for word in ("--set", one)))
CONTEXT, AT_ONCE, WITHIN = 2048, 2, 0.05


@pytest.fixture(scope="module")
def model() -> str:
    return str(smollm2_file())


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory, model: str) -> Iterator[Front]:
    one = Front(tmp_path_factory.mktemp("front"), *WORDS, model)
    one.until_ready()
    yield one
    one.close()


def planned(model: str, *more: str) -> Any:
    return ullage("plan", "--offline", "--baselines", "none", *WORDS, *more, model)


def test_the_cache_is_as_many_tokens_as_planned_in_log_and_metrics(front: Front, model: str) -> None:
    said = re.search(r"cache: up to (\d+) bytes .*?, (\d+) tokens", front.text())
    assert said is not None
    capacity, seen = planned(model)["capacity"], front.metrics()
    told = (int(said[1]), int(said[2]))
    assert told == (capacity["kv_cache_bytes"]["expected"], capacity["kv_tokens"]["expected"])
    assert told == (seen["ullage_runtime_cache_budget_bytes"], seen["ullage_runtime_cache_budget_tokens"])


def test_a_prompt_that_is_too_long_is_refused_with_the_right_number(front: Front, model: str) -> None:
    longest = min(4096, planned(model)["capacity"]["max_context_tokens"])
    check_longest(front, longest)


def test_64_mixed_requests_each_end_in_exactly_one_way(front: Front) -> None:
    before = front.metrics()
    check_mixed(front, run_mixed(front, "small", too_long=5000), before)
    assert front.metrics()["ullage_runtime_cache_used_bytes"] == 0


@pytest.mark.parametrize("weights", ["native", "int8", "int4"])
def test_the_memory_seen_is_the_plans_within_a_twentieth(tmp_path: Path, model: str, weights: str) -> None:
    plan = planned(model, "--context", str(CONTEXT), "--concurrency", str(AT_ONCE), "--set", f"weights={weights}")
    own = [entry for entry in plan["devices"][0]["entries"] if entry["purpose"] != "others"]
    loading, working = (
        sum(entry["expected"] for entry in own if entry["phase"] in phases) for phases in ({"load"}, {"resident", "prefill"})
    )
    settings = (word for one in SETTINGS for word in (f"--{one.partition('=')[0].replace('_', '-')}", one.partition("=")[2]))
    most = 0
    with runtime(model, tmp_path, *settings, "--weights", weights) as server, ThreadPoolExecutor(AT_ONCE) as pool:
        loaded = status_bytes(server.process.pid, "VmHWM")
        waiting = [pool.submit(server.ask, "/v1/completions", words_of_all_kinds(number)) for number in range(AT_ONCE)]
        while not all(one.done() for one in waiting):
            most = max(most, status_bytes(server.process.pid, "VmRSS"))
            time.sleep(0.02)
    assert [one.result().status for one in waiting] == [200] * AT_ONCE
    for what, expected, seen in (("loading", loading, loaded), ("working", working, most)):
        sys.stderr.write(f"\n{weights}, {what}: planned {expected / MiB:.1f} MiB, seen {seen / MiB:.1f} MiB: {seen / expected - 1:+.1%}\n")
        assert seen == pytest.approx(expected, rel=WITHIN)


def words_of_all_kinds(number: int) -> dict[str, object]:
    """A request as long as was planned, of tokens from the whole table."""
    draw = Random(number)  # noqa: S311 - a test's numbers
    prompt = [draw.randrange(1000, 48_000) for _ in range(CONTEXT - 64)]
    return {"model": "small", "prompt": prompt, "max_tokens": 64, "temperature": 0, "ignore_eos": True}


def test_requests_whose_engine_is_killed_are_sent_again_and_answered(front: Front) -> None:
    engine = front.engine(MODULE)
    check_sent_again(front, engine, [engine], [asked(500 + number, 32) for number in range(4)])


def test_what_was_seen_of_the_killed_engine_is_remembered(front: Front) -> None:
    seen = terms_seen(front)
    assert {("weights", "resident"), ("kv_cache", "resident")} <= seen
    assert {phase for purpose, phase in seen if purpose not in {"weights", "kv_cache"}} >= {"resident"}


def test_killing_the_front_leaves_nothing(tmp_path: Path, model: str) -> None:
    one = Front(tmp_path, *WORDS, model)
    one.until_ready()
    check_nothing_left(one, one.engine(MODULE))
