"""Our own runtime behind a guard that is told how long answers are: it lets in what the worst case would keep out, and nothing is lost.

Not where it was told wrong either.
"""

import json
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest
from tests.engines_live.front import Front, Said
from tests.runtime.real_model import smollm2_file
from tools.bench.questions import questions

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="processes are looked at through /proc"),
]

SETTINGS = ("max_len=1024", "max_seqs=16", "page_tokens=32", "prefix_cache=off", "served_model_name=small")
WORDS = ("--engine", "runtime", "--gpu", "cpu", "--host-memory", "8GiB", *(word for one in SETTINGS for word in ("--set", one)))
NEVER = {"0": -100, "2": -100}  # the two tokens that end an answer of this model


class Wave(NamedTuple):
    """Requests that were asked together: what each was told, and the most that were in flight at one time."""

    said: Sequence[Said]
    most: float


@contextmanager
def told(folder: Path, cache: str) -> Iterator[Front]:
    """A server whose workload has sixteen short answers."""
    data = folder / "asked.jsonl"
    lines = ({"messages": [{"role": "user", "content": one}, {"role": "assistant", "content": "It is. " * 3}]} for one in questions(16, 2))
    data.write_text("".join(json.dumps(line) + "\n" for line in lines))
    front = Front(folder, *WORDS, "--set", f"cache={cache}", "--deadline", "600", "--workload", str(data), str(smollm2_file()))
    try:
        front.until_ready()
        assert front.says("lets in by a forecast of the pool, 30 s in detail, from the workload")
        yield front
    finally:
        front.close()


def wave(front: Front, count: int, seed: int, most_tokens: int, **more: object) -> Wave:
    """All at once; each ends whole and counted, and nothing is held afterwards."""
    asked = {"model": "small", "max_tokens": most_tokens, "temperature": 0, "stream_options": {"include_usage": True}, **more}
    bodies = [{**asked, "messages": [{"role": "user", "content": one}]} for one in questions(count, seed)]
    before, most = front.metrics(), 0.0
    with ThreadPoolExecutor(count) as pool:
        waiting = [pool.submit(front.stream, "/v1/chat/completions", body) for body in bodies]
        while not all(one.done() for one in waiting):
            most = max(most, front.metrics()["ullage_guard_in_flight_requests"])
            time.sleep(0.2)
    said = [one.result() for one in waiting]
    assert [(one.status, one.is_whole) for one in said] == [(200, True)] * count
    front.until(lambda: front.metrics()["ullage_guard_in_flight_requests"] == 0)
    after = front.metrics()
    ended = 'ullage_guard_requests_total{end="finished"}'
    assert after[ended] - before.get(ended, 0) == count
    assert (after["ullage_guard_reserved_bytes"], after["ullage_runtime_cache_used_bytes"]) == (0, 0)
    return Wave(said, most)


def tokens_of(said: Said) -> int:
    """Of the answer, as its usage says."""
    return max((json.loads(event).get("usage") or {}).get("completion_tokens", 0) for event in said.body if event.startswith("{"))


def preemptions(front: Front) -> float:
    return sum(value for name, value in front.metrics().items() if "preemptions_total" in name)


def test_short_answers_are_let_in_ahead_of_what_they_may_take(tmp_path: Path) -> None:
    """Each may take 512 tokens, of which the pool holds two, and ends by itself long before."""
    with told(tmp_path, "26MiB") as front:
        seen = wave(front, 24, seed=1, most_tokens=512)
        sys.stderr.write(f"\nin flight at most {seen.most:.0f}; {preemptions(front):.0f} preemptions\n")
        assert sum(tokens_of(one) for one in seen.said) < 24 * 256
        assert seen.most >= 5
        assert front.metrics()["ullage_guard_ahead_total"] >= 12
        assert preemptions(front) <= 4


def test_where_answers_are_long_after_all_nothing_is_lost_and_little_is_put_aside(tmp_path: Path) -> None:
    """Each takes the 64 tokens it may, of which the pool holds six; by the workload, whose answers have nine, it would hold twelve."""
    with told(tmp_path, "18MiB") as front:
        seen = wave(front, 14, seed=3, most_tokens=64, logit_bias=NEVER)
        sys.stderr.write(f"\nin flight at most {seen.most:.0f}; {preemptions(front):.0f} preemptions\n")
        assert {tokens_of(one) for one in seen.said} == {64}
        assert seen.most > 6
        assert preemptions(front) <= 7
