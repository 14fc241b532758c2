"""What letting in by a forecast gives on a real engine: our runtime with a small cache behind ``ullage serve``, under one load, in turns.

``python tools/bench/ahead_live.py [--requests 120] [--turns 2] [--wrong]``: clients in a closed loop ask SmolLM2-135M-Instruct short
questions and allow answers of 1,024 tokens; it ends most by itself after a sentence. A turn is two servers one after the other on the same
requests and the same state directory: the first remembers nothing, so its guard lets in by the worst case; the second remembers the first.
With ``--wrong`` the second is told by ``--workload`` that answers are as short as they usually are, and none ends before it has taken all
that it may. Every answer has to come whole, and nothing may be held afterwards; else it fails. What else the machine does changes tokens a
second, processor seconds less, and steps of the engine not at all: tokens a step are its batch.
"""

import argparse
import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
from guard import cpu_s, free_port, running
from measured import conditions
from questions import questions

from runtime import shipped
from ullage import wire
from ullage.domain.hyperparameters import Json
from ullage.world.keeper import descendants

SETTINGS = ("cache=52MiB", "max_len=2048", "max_seqs=24", "page_tokens=32", "prefix_cache=off", "served_model_name=small")
ENDS = {"stop", "length"}
HELD = ("ullage_guard_reserved_bytes", "ullage_guard_in_flight_requests", "ullage_runtime_cache_used_bytes")
NEVER = {"0": -100, "2": -100}  # the two tokens that end an answer of this model
LOOK_S = 0.5
USUAL = (15, 18, 22, 25, 27, 29, 30, 31, 33, 35, 37, 40, 43, 49, 68, 128)  # tokens of answers, as a look at 32 of them found


class Answer(NamedTuple):
    """One request: the seconds to its first token, its tokens, and how it ended; a status where it was not answered."""

    first_s: float
    tokens: int
    end: str


class Seen(NamedTuple):
    """What came of one server."""

    tokens_per_s: float
    first_p50_s: float
    first_p95_s: float
    running_p50: float
    running_most: float
    let_in_most: float
    ahead: float
    preemptions: float
    tokens_a_cpu_s: float
    tokens_a_step: float
    not_answered: int
    cut: int
    load: float


class Load:
    """The requests, asked by so many clients one after the other, while somebody looks at the pages of metrics."""

    def __init__(self, url: str, options: argparse.Namespace) -> None:
        self.url, self.options = url, options
        self.waiting = questions(options.requests, options.seed)[::-1]
        self.answers: list[Answer] = []
        self.looks: list[dict[str, float]] = []

    async def run(self) -> tuple[float, dict[str, float]]:
        """Seconds that it took, and the metrics when all had ended."""
        timeout = aiohttp.ClientTimeout(total=3600)
        async with aiohttp.ClientSession(self.url, timeout=timeout, connector=aiohttp.TCPConnector(limit=0)) as session:
            looking, begun = asyncio.create_task(self._look(session)), time.monotonic()
            await asyncio.gather(*(self._client(session) for _ in range(self.options.clients)))
            seconds = time.monotonic() - begun
            looking.cancel()
            with suppress(asyncio.CancelledError):
                await looking
            await asyncio.sleep(2 * LOOK_S)
            return seconds, await metrics(session)

    async def _client(self, session: aiohttp.ClientSession) -> None:
        while self.waiting:
            self.answers.append(await self._ask(session, self.waiting.pop()))

    async def _ask(self, session: aiohttp.ClientSession, question: str) -> Answer:
        asked = {"model": "small", "messages": [{"role": "user", "content": question}], "max_tokens": self.options.most, "temperature": 0}
        body = {**asked, "stream": True, "stream_options": {"include_usage": True}, "logit_bias": NEVER if self.options.wrong else {}}
        begun, first, tokens, end, last = time.monotonic(), 0.0, 0, "", b""
        async with session.post("/v1/chat/completions", json=body) as answer:
            if answer.status != 200:  # noqa: PLR2004 - OK
                return Answer(0.0, 0, f"status {answer.status}")
            async for line in answer.content:
                if not line.startswith(b"data: {"):
                    last = line.strip() or last
                    continue
                event: Any = wire.loads(line[6:])
                choice = (event.get("choices") or [{}])[0]
                first = first or ((time.monotonic() - begun) if choice.get("delta", {}).get("content") else 0.0)
                end = choice.get("finish_reason") or end
                tokens = (event.get("usage") or {}).get("completion_tokens") or tokens
        return Answer(first, tokens, end if last == b"data: [DONE]" else "broken off")

    async def _look(self, session: aiohttp.ClientSession) -> None:
        while True:
            self.looks.append(await metrics(session))
            await asyncio.sleep(LOOK_S)


async def metrics(session: aiohttp.ClientSession) -> dict[str, float]:
    """The guard's page, which holds the engine's too."""
    async with session.get("/metrics") as page:
        lines = [line.rpartition(" ") for line in (await page.text()).splitlines() if line and not line.startswith("#")]
        return {name: float(value) for name, _, value in lines}


def at(values: Sequence[float], share: float) -> float:
    """The value below which that share of the values lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")


def served(options: argparse.Namespace, *words: str) -> Seen:
    """One server from its start to its end, under the load. Raises SystemExit where a request was lost."""
    port = free_port()
    settings = [word for one in (*SETTINGS, *options.set) for word in ("--set", one)]
    own = ("--engine", "runtime", "--gpu", "cpu", "--host-memory", "8GiB", "--queue", "999", "--deadline", "3600", *settings, *words)
    with running([sys.executable, "-m", "ullage", "serve", "--offline", "--port", str(port), *own, str(shipped())], port) as process:
        load, before = Load(f"http://127.0.0.1:{port}", options), used_s(process.pid)
        seconds, after = asyncio.run(load.run())
        used = used_s(process.pid) - before
        process.terminate()
        process.wait(60)  # what it has seen is stored
    check(load, after, options.requests)
    good = [one for one in load.answers if one.end in ENDS]
    runs = [look.get("ullage_runtime_requests_running", 0.0) for look in load.looks]
    return Seen(
        tokens_per_s=sum(one.tokens for one in good) / seconds,
        first_p50_s=at([one.first_s for one in good], 0.5),
        first_p95_s=at([one.first_s for one in good], 0.95),
        running_p50=at(runs, 0.5),
        running_most=max(runs),
        let_in_most=max(look["ullage_guard_in_flight_requests"] for look in load.looks),
        ahead=after["ullage_guard_ahead_total"],
        preemptions=sum(value for name, value in after.items() if "preemptions_total" in name),
        tokens_a_cpu_s=sum(one.tokens for one in good) / used,
        tokens_a_step=sum(one.tokens for one in good) / after["ullage_runtime_steps_total"],
        not_answered=options.requests - len(good),
        cut=sum(one.end == "length" for one in good),
        load=os.getloadavg()[0],
    )


def used_s(front: int) -> float:
    """Processor seconds of the front and all that it keeps."""
    return sum(cpu_s(pid) for pid in (front, *descendants(front)))


def check(load: Load, after: dict[str, float], requests: int) -> None:
    """Nothing was lost, and nothing is held any more."""
    ends = {name: value for name, value in after.items() if name.startswith("ullage_guard_requests_total")}
    held = {name: after[name] for name in HELD}
    if len(load.answers) != requests or sum(ends.values()) < requests or any(held.values()):
        sys.exit(f"lost: {len(load.answers)} of {requests} ended, counted {ends}, still held {held}")
    wrong = [one.end for one in load.answers if one.end not in ENDS]
    if wrong:
        sys.exit(f"not answered: {wrong}")


def short_answers(folder: Path) -> str:
    """A workload's summary that tells what answers usually take."""
    lengths: dict[str, Json] = {
        "longest_prompt_tokens": 48,
        "longest_output_tokens": max(USUAL),
        "longest_total_tokens": 48 + max(USUAL),
        "bins": [[48, tokens, 4] for tokens in USUAL],
    }
    path = folder / "load.json"
    path.write_text(wire.dumps({"schema": "ullage.workload/1", "lengths": lengths, "times_s": []}))
    return str(path)


def main() -> None:
    """Both in turns; then medians, and the second beside the first."""
    said = argparse.ArgumentParser(description=__doc__)
    said.add_argument("--requests", type=int, default=120)
    said.add_argument("--clients", type=int, default=24)
    said.add_argument("--most", type=int, default=1024, help="tokens of an answer that a request allows")
    said.add_argument("--turns", type=int, default=2)
    said.add_argument("--seed", type=int, default=1)
    said.add_argument("--wrong", action="store_true", help="a workload that tells short answers, and long ones")
    said.add_argument("--set", action="append", default=[], help="a setting of the runtime")
    options = said.parse_args()
    print(f"# {conditions()}", flush=True)
    seen: dict[str, list[Seen]] = {"worst case": [], "forecast": []}
    for _ in range(options.turns):
        with tempfile.TemporaryDirectory() as folder:
            os.environ.update(XDG_STATE_HOME=folder, XDG_DATA_HOME=folder, OMP_WAIT_POLICY="passive")
            told = ("--workload", short_answers(Path(folder))) if options.wrong else ()
            for name, words in (("worst case", ("--worst-case",) if options.wrong else ()), ("forecast", told)):
                seen[name].append(served(options, *words))
                print(f"# {name:10} {told_of(seen[name][-1])}", flush=True)
    first, second = (medians(seen[name]) for name in seen)
    for name in Seen._fields:
        before, after = getattr(first, name), getattr(second, name)
        print(f"{name:14} {before:8.2f} {after:8.2f}" + (f"  {after / before:5.2f} x" if before else ""))


def medians(of: Sequence[Seen]) -> Seen:
    """Field by field."""
    return Seen(*(statistics.median(values) for values in zip(*of, strict=True)))


def told_of(seen: Seen) -> str:
    """One server in a line."""
    return "  ".join(f"{name}={value:.4g}" for name, value in seen._asdict().items())


if __name__ == "__main__":
    main()
