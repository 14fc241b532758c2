"""A pool of cache under requests that come and go: how full it is, who waits, who is put out and starts again.

A simulation of events, not of tokens: a sequence is looked at when it comes to a new page and when it ends. All running sequences get a
token in each step, a step takes a stated time, and prompts delay it by a stated time for each token. When a page is needed and none is
free, the sequence that was admitted last is put back and later computed again, as paged engines do.
"""

from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from heapq import heappop, heappush
from math import log
from typing import NamedTuple

from ullage.domain.workload import Arrivals, Growth, Lengths

REQUESTS = 2000


class Pool(NamedTuple):
    """``nbytes`` of cache in pages of ``page_tokens`` for at most ``slots`` sequences. ``demand``: bytes of a sequence by its tokens."""

    nbytes: int
    page_tokens: int
    slots: int
    growth: Growth
    demand: Callable[[int], int]


class Pace(NamedTuple):
    """Assumed: seconds of a step in which every sequence gets a token, and prompt tokens worked through in a second."""

    step_s: float
    prefill_tokens_per_s: float


class Request(NamedTuple):
    """When it comes, and its tokens."""

    at_s: float
    prompt_tokens: int
    output_tokens: int


class Use(NamedTuple):
    """What became of the requests; quantiles of bytes are over the time."""

    requests: int
    finished: int
    refused: int  # longer than the whole pool
    seconds: float
    p50_bytes: int
    p99_bytes: int
    peak_bytes: int
    most_running: int
    preemptions: int
    preempted: int  # requests that were put out at least once
    recomputed_tokens: int
    wait_p50_s: float
    wait_p99_s: float
    share_over: float  # of the time in which more than the watched bytes were in use


def random_numbers(seed: int) -> Iterator[float]:
    """Numbers from 0 to 1, 1 not included, the same for a seed everywhere (splitmix64, Steele and others 2014)."""
    state = seed & 0xFFFFFFFFFFFFFFFF
    while True:
        state = (state + 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF
        mixed = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
        mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF
        yield ((mixed ^ (mixed >> 31)) >> 11) / (1 << 53)


def draw(lengths: Lengths, arrivals: Arrivals, *, count: int = REQUESTS, seed: int = 0) -> tuple[Request, ...]:
    """Requests with lengths of the distribution. From waiting clients all come at once: they begin as others end."""
    numbers = random_numbers(seed)
    edges, passed = [], 0
    for one in lengths.bins:
        passed += one.requests
        edges.append(passed)
    found, now = [], 0.0
    for at in range(len(arrivals.times_s) or count):
        one = lengths.bins[min(bisect_left(edges, next(numbers) * passed), len(edges) - 1)]
        gap = -log(1.0 - next(numbers))
        if arrivals.times_s:
            now = arrivals.times_s[at]
        elif arrivals.rate_per_s is not None:
            now += gap / arrivals.rate_per_s
        found.append(Request(now, one.prompt_tokens, max(1, one.output_tokens)))
    return tuple(found)


class _Sequence:
    """A request in work: ``base`` is the step at which it had no tokens, were it to have got one in each."""

    __slots__ = ("at_s", "base", "has", "held", "left", "order", "prompt", "put_out", "total", "turn", "waited_s")

    def __init__(self, request: Request, order: int) -> None:
        self.at_s, self.order = request.at_s, order
        self.prompt, self.total = max(1, request.prompt_tokens), max(1, request.prompt_tokens) + request.output_tokens
        self.has = self.prompt  # tokens to be worked through when it is admitted: more once it was put out
        self.base = self.held = self.turn = self.put_out = self.left = 0
        self.waited_s: float | None = None


class _Run:
    """The state of one simulation."""

    def __init__(self, pool: Pool, pace: Pace) -> None:
        self.pool, self.pace = pool, pace
        self.now, self.step, self.used, self.recomputed, self.preemptions = 0.0, 0, 0, 0, 0
        self.running: list[_Sequence] = []  # in the order of their admission
        self.waiting: deque[_Sequence] = deque()
        self.events: list[tuple[int, int, int, _Sequence]] = []
        self.time_at: dict[int, float] = {}
        self.finished: list[_Sequence] = []
        self.most_running = 0

    def pass_time(self, seconds: float) -> None:
        self.time_at[self.used] = self.time_at.get(self.used, 0.0) + seconds
        self.now += seconds

    def need(self, sequence: _Sequence, tokens: int) -> int:
        match self.pool.growth:
            case Growth.TOKEN:
                return self.pool.demand(tokens)
            case _:
                return self.pool.demand(sequence.total)

    def admit(self) -> None:
        """Let in, in their order, who finds a place and room for the tokens there are; prompts take their time."""
        while self.waiting and len(self.running) < self.pool.slots:
            sequence = self.waiting[0]
            need = self.need(sequence, sequence.has + 1)
            if self.used + need > self.pool.nbytes and self.running:
                return
            self.waiting.popleft()
            if sequence.waited_s is None:
                sequence.waited_s = self.now - sequence.at_s
            self.used += need
            sequence.held = need
            self.running.append(sequence)
            self.most_running = max(self.most_running, len(self.running))
            self.pass_time(sequence.has / self.pace.prefill_tokens_per_s)
            sequence.base = self.step - sequence.has
            self.plan(sequence)

    def plan(self, sequence: _Sequence) -> None:
        """Note when it next comes to a new page, or ends."""
        tokens = self.step - sequence.base
        page = self.pool.page_tokens
        full = -(-(tokens + 1) // page) * page  # the last token of the page it is in
        at = min(sequence.total, full + 1 if self.pool.growth is Growth.TOKEN else sequence.total)
        sequence.turn += 1
        heappush(self.events, (sequence.base + max(at, tokens + 1), sequence.order, sequence.turn, sequence))

    def put_out(self) -> _Sequence:
        """The last admitted goes back to the head of the queue, and loses its cache."""
        sequence = self.running.pop()
        sequence.has = self.step - sequence.base
        self.recomputed += sequence.has
        self.release(sequence)
        self.preemptions += 1
        sequence.put_out += 1
        self.waiting.appendleft(sequence)
        return sequence

    def release(self, sequence: _Sequence) -> None:
        self.used -= sequence.held
        sequence.held = 0
        sequence.turn += 1

    def reach(self, sequence: _Sequence) -> None:
        """A sequence comes to a new page, or ends."""
        tokens = self.step - sequence.base
        if tokens >= sequence.total:
            self.running.remove(sequence)
            self.release(sequence)
            self.finished.append(sequence)
            return
        more = self.need(sequence, tokens) - sequence.held
        while self.used + more > self.pool.nbytes:
            if self.put_out() is sequence:
                return
        self.used += more
        sequence.held += more
        self.plan(sequence)

    def next_step(self) -> int | None:
        """The step of the next event that still holds."""
        while self.events and self.events[0][2] != self.events[0][3].turn:
            heappop(self.events)
        return self.events[0][0] if self.events else None


def simulate(requests: Sequence[Request], pool: Pool, pace: Pace, *, clients: int | None = None, watched_bytes: int = 0) -> Use:
    """Run the requests to their end. The same requests give the same answer.

    Where there are ``clients``, so many requests are there at once, and one comes when one has ended.
    """
    run = _Run(pool, pace)
    coming, refused = deque[_Sequence](), 0
    for order, request in enumerate(sorted(requests, key=lambda one: one.at_s)):
        if pool.slots < 1 or pool.demand(max(1, request.prompt_tokens) + request.output_tokens) > pool.nbytes:
            refused += 1
        else:
            coming.append(_Sequence(request, order))
    while coming or run.waiting or run.running:
        _advance(run, coming, clients)
    return _use(run, len(requests), refused, watched_bytes)


def _advance(run: _Run, coming: deque[_Sequence], clients: int | None) -> None:
    """Take in who has come, then go on to the next event or arrival."""
    while coming and coming[0].at_s <= run.now and (clients is None or len(run.waiting) + len(run.running) < clients):
        sequence = coming.popleft()
        sequence.at_s = sequence.at_s if clients is None else run.now
        run.waiting.append(sequence)
    run.admit()
    if not run.running:
        run.pass_time(max(0.0, coming[0].at_s - run.now))
        return
    at = run.next_step()
    assert at is not None  # noqa: S101 - what runs has an event
    steps = at - run.step
    if coming and coming[0].at_s > run.now:
        steps = int(min(steps, max(1.0, (coming[0].at_s - run.now) / run.pace.step_s)))
    run.pass_time(steps * run.pace.step_s)
    run.step += steps
    while run.events and run.next_step() == run.step:
        run.reach(heappop(run.events)[3])


def _use(run: _Run, requests: int, refused: int, watched_bytes: int) -> Use:
    waits = sorted(sequence.waited_s or 0.0 for sequence in run.finished)
    ordered = sorted(run.time_at.items())
    return Use(
        requests=requests,
        finished=len(run.finished),
        refused=refused,
        seconds=run.now,
        p50_bytes=_share(ordered, 0.5),
        p99_bytes=_share(ordered, 0.99),
        peak_bytes=max(run.time_at, default=0),
        most_running=run.most_running,
        preemptions=run.preemptions,
        preempted=sum(sequence.put_out > 0 for sequence in run.finished),
        recomputed_tokens=run.recomputed,
        wait_p50_s=_quantile(waits, 0.5),
        wait_p99_s=_quantile(waits, 0.99),
        share_over=sum(seconds for nbytes, seconds in ordered if nbytes > watched_bytes) / run.now if run.now else 0.0,
    )


def _share(ordered: list[tuple[int, float]], fraction: float) -> int:
    """The bytes that were not passed during this share of the time."""
    left = fraction * sum(seconds for _, seconds in ordered)
    for nbytes, seconds in ordered:
        left -= seconds
        if left <= 0:
            return nbytes
    return ordered[-1][0] if ordered else 0


def _quantile(ordered: list[float], fraction: float) -> float:
    return ordered[min(len(ordered) - 1, int(fraction * len(ordered)))] if ordered else 0.0
