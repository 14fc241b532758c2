"""What letting in by a forecast gives: the guard's own step before a simulated engine whose pool is small, under one load and three rules.

``python tools/bench/ahead.py [--requests 600] [--seed 1]``: an engine gives each sequence 20 tokens a second and puts out the last one when
its pool is full, which then starts again. Requests ask for up to 1,024 tokens of answer and most take fewer, as the answers seen did.
Nothing here depends on the machine but the time the step takes.
"""

import argparse
import random
import time
from collections import deque
from typing import NamedTuple

from ullage.domain import admission as a
from ullage.domain.foresight import Foresight
from ullage.planning.admit import begin, step

PACE, STEP_S, MOST = 20.0, 0.25, 1024
COST = a.CostModel(pool_bytes=16_384, steps=tuple((at, at) for at in range(16, 4097, 16)), longest_tokens=4096, most_sequences=256)


class Asked(NamedTuple):
    """When it comes, its prompt, and the answer that it will take."""

    at: float
    prompt: int
    answer: int


class Seen(NamedTuple):
    """What came of a rule."""

    seconds: float
    tokens_per_s: float
    preemptions: int
    most_running: int
    wait_p50_s: float
    step_us: float


def draw(count: int, numbers: random.Random) -> list[Asked]:
    """Requests at random times, faster than the worst case lets them through; answers of a skewed length."""
    at, found = 0.0, []
    for _ in range(count):
        at += numbers.expovariate(6.0)
        found.append(Asked(at, numbers.randint(16, 512), min(MOST, max(4, int(numbers.lognormvariate(4.5, 0.8))))))
    return found


class Engine:
    """Sequences that grow together; the last admitted is put out where the pool is full."""

    def __init__(self, requests: list[Asked], limits: a.Limits, foresight: Foresight | None) -> None:
        self.requests, self.at, self.spent, self.steps = requests, 0.0, 0.0, 0
        self.state = begin(COST, limits, foresight)
        self.made: dict[str, float] = {}
        self.out: deque[str] = deque()
        self.preemptions = self.most_running = 0
        self.waits: list[float] = []
        self.tell(a.EngineReady(at=0.0))

    def tell(self, event: a.Event) -> None:
        """One event through the step, timed."""
        begun = time.process_time()
        self.state, actions = step(self.state, event)
        self.spent, self.steps = self.spent + time.process_time() - begun, self.steps + 1
        for action in actions:
            if isinstance(action, a.Admit):
                self.made[action.id] = 0.0
                self.waits.append(self.at - self.requests[int(action.id)].at)

    def held(self) -> int:
        """Bytes of all that run."""
        return sum(COST.cost_bytes(self.requests[int(name)].prompt + int(made)) for name, made in self.made.items())

    def turn(self) -> None:
        """A quarter of a second."""
        self.at += STEP_S
        while self.out and self.held() + COST.cost_bytes(self.requests[int(self.out[0])].prompt) <= COST.pool_bytes:
            self.made[self.out.popleft()] = 0.0
        for name in self.made:
            self.made[name] += PACE * STEP_S
        while self.held() > COST.pool_bytes and len(self.made) > 1:
            name, _ = self.made.popitem()
            self.out.appendleft(name)
            self.preemptions += 1
        self.most_running = max(self.most_running, len(self.made))
        for name in [name for name, made in self.made.items() if made >= self.requests[int(name)].answer]:
            del self.made[name]
            self.tell(a.Finished(id=name, at=self.at, generated=self.requests[int(name)].answer))
        self.tell(a.Tick(at=self.at, generated=tuple((name, int(made)) for name, made in self.made.items())))
        self.tell(a.PoolReading(at=self.at, usage=self.held() / COST.pool_bytes, preemptions=self.preemptions, waiting=len(self.out)))

    def run(self) -> Seen:
        """All requests to their end."""
        coming = deque(enumerate(self.requests))
        while coming or self.state.waiting or self.made or self.out:
            while coming and coming[0][1].at <= self.at:
                number, one = coming.popleft()
                self.tell(a.Arrived(id=str(number), client="c", prompts=(one.prompt,), answer_tokens=MOST, at=self.at))
            self.turn()
        tokens = sum(one.answer for one in self.requests)
        wait = sorted(self.waits)[len(self.waits) // 2]
        return Seen(self.at, tokens / self.at, self.preemptions, self.most_running, wait, 1e6 * self.spent / self.steps)


def main() -> None:
    """A row for each rule."""
    said = argparse.ArgumentParser(description=__doc__)
    said.add_argument("--requests", type=int, default=600)
    said.add_argument("--seed", type=int, default=1)
    wanted = said.parse_args()
    numbers = random.Random(wanted.seed)  # noqa: S311 - the same load in every run
    before, requests = draw(200, numbers), draw(wanted.requests, numbers)
    known = Foresight(source="earlier runs", answers=tuple(sorted(one.answer for one in before)), tokens_per_s=PACE)
    usual = a.Limits(queue_requests=len(requests), deadline_s=1e9)
    ahead = a.Limits(queue_requests=len(requests), deadline_s=1e9, ahead_s=30.0)
    for name, limits, foresight in (("worst case", usual, None), ("growth, 30 s", ahead, None), ("forecast, 30 s", ahead, known)):
        seen = Engine(requests, limits, foresight).run()
        print(
            f"{name:15} {seen.seconds:6.0f} s  {seen.tokens_per_s:5.0f} tokens/s  {seen.preemptions:5} preemptions  "
            f"{seen.most_running:3} at once at most  waited {seen.wait_p50_s:.1f} s (p50)  step {seen.step_us:.0f} us"
        )


if __name__ == "__main__":
    main()
