"""What every engine behind the guard is held to: how requests end, the longest, and what a killed engine or front leaves."""

import os
import re
import signal
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor

from tests.engines_live.front import Front, Said, lives

COUNT = 64


def kind_of(number: int) -> str:
    """A quarter is cancelled, an eighth is too long, the rest is answered whole or as a stream."""
    if number % 4 == 0:
        return "cancelled"
    if number % 8 == 1:
        return "too long"
    return "stream" if number % 2 else "whole"


def run_mixed(front: Front, model: str, too_long: int, words: int = 12, answer: int = 6) -> dict[str, list[Said]]:
    """All at once; what each kind ended in."""

    def one(number: int) -> tuple[str, Said]:
        kind = kind_of(number)
        prompt = "hello " * too_long if kind == "too long" else f"Say {number} " + "word " * (words + number % 7)
        body: dict[str, object] = {"model": model, "prompt": prompt, "max_tokens": 48 if kind == "cancelled" else answer, "temperature": 0}
        if kind == "cancelled":
            return kind, front.stream("/v1/completions", body, leave_after=1)
        return kind, front.stream("/v1/completions", body) if kind == "stream" else front.ask("/v1/completions", body)

    ended: dict[str, list[Said]] = {}
    with ThreadPoolExecutor(COUNT) as pool:
        for kind, said in pool.map(one, range(COUNT)):
            ended.setdefault(kind, []).append(said)
    return ended


def check_mixed(front: Front, ended: dict[str, list[Said]], before: dict[str, float]) -> None:
    """Everyone was told one defined thing, the guard counted each once, and nothing is held any more."""
    assert sum(map(len, ended.values())) == COUNT
    assert [said.status for said in ended["too long"]] == [400] * len(ended["too long"])
    assert all(said.body["error"]["need"] > said.body["error"]["have"] for said in ended["too long"])
    assert all(said.status == 200 and said.body["choices"][0]["finish_reason"] in {"length", "stop"} for said in ended["whole"])
    assert all(said.status == 200 and said.is_whole for said in ended["stream"])
    assert all(said.status == 200 and not said.is_whole for said in ended["cancelled"])
    front.until(lambda: front.metrics()["ullage_guard_in_flight_requests"] == 0)
    after = front.metrics()
    ends = {name: value - before.get(name, 0) for name, value in after.items() if name.startswith("ullage_guard_requests_total")}
    assert sum(ends.values()) == COUNT, ends
    assert after["ullage_guard_reserved_bytes"] == 0
    assert after["ullage_guard_waiting_requests"] == 0


def asked(words: int, answer: int = 4) -> dict[str, object]:
    """A request of a prompt of so many tokens, a word each."""
    return {"model": "small", "prompt": "hello" + " hello" * (words - 1), "max_tokens": answer, "temperature": 0}


def check_longest(front: Front, longest: int) -> Said:
    """A request of that length is answered, one of a token more is refused with the numbers; returns the answer."""
    just = front.ask("/v1/completions", asked(longest - 3, 3))
    assert just.status == 200, just.body
    assert just.body["usage"]["prompt_tokens"] == longest - 3
    over = front.ask("/v1/completions", asked(longest - 3, 4))
    assert over.status == 400
    error = over.body["error"]
    assert (error["need"], error["have"], error["longest_tokens"]) == (longest + 1, longest, longest)
    return just


def check_sent_again(front: Front, victim: int, gone: Collection[int], bodies: Sequence[dict[str, object]]) -> None:
    """The process is killed while the requests run; all are answered by another start, and those that were to be gone are."""
    starts = len(re.findall("ready: it answered", front.text()))
    with ThreadPoolExecutor(len(bodies)) as pool:
        waiting = [pool.submit(front.ask, "/v1/completions", body, timeout=front.patience) for body in bodies]
        front.until(lambda: front.metrics().get("ullage_guard_in_flight_requests", 0) >= len(bodies) - 1)
        os.kill(victim, signal.SIGKILL)
        assert [one.result().status for one in waiting] == [200] * len(bodies)
    assert not any(lives(pid) for pid in gone)
    assert front.says("ready: it answered", starts + 1)
    assert front.metrics()["ullage_guard_replays_total"] >= len(bodies) - 1


def check_nothing_left(front: Front, engine: int) -> None:
    """The front is killed; every process it kept, the engine among them, ends."""
    kept = front.below()
    assert engine in kept
    front.process.kill()
    front.until(lambda: not any(lives(pid) for pid in kept), may_end=True)
    front.process.wait()


def terms_seen(front: Front) -> set[tuple[str, str]]:
    """Purpose and phase of all that was seen of the last run that ended."""
    last = next(run for run in front.baselines("list")["runs"] if run["exit"] != "running")
    terms = front.baselines("show", last["id"])["terms"]
    return {(one["purpose"], one["phase"]) for one in terms if one["seen"] is not None}
