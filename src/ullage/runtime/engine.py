"""The engine: requests in, tokens out, every sequence of the moment in one packed step.

One thread calls `step`; `submit`, `cancel` and `stats` may be called from any other while it runs.
"""

from collections import deque
from collections.abc import Sequence
from itertools import count
from threading import Lock

import torch

from ullage.errors import InputError
from ullage.frozen import dataclass
from ullage.runtime.attend.step import Piece, Step
from ullage.runtime.cache.pool import Pool
from ullage.runtime.live import Live
from ullage.runtime.load import Loaded
from ullage.runtime.request import Finish, Output, Request
from ullage.runtime.sample.choose import choose
from ullage.runtime.sample.chooser import TokenMask
from ullage.runtime.sample.logprobs import Logprobs
from ullage.runtime.sample.settings import Sampling, check
from ullage.runtime.schedule import plan as planning
from ullage.runtime.schedule.form import Form, Kept
from ullage.runtime.schedule.plan import Candidate, Preempt, Refusal, State, admits, refusal
from ullage.runtime.schedule.queue import Queue

__all__ = ["Engine", "EngineSettings", "Finish", "Logprobs", "Output", "Refusal", "Request", "Sampling", "Stats", "TokenMask"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSettings:
    """What the engine may take, and in which portions."""

    budget_bytes: int  # of the cache
    max_len: int  # tokens of one sequence, prompt and answer together
    page_tokens: int = 256
    chunk_tokens: int = 1024  # rows of one step
    max_sequences: int = 16  # that run at once
    prefix_cache: bool = True
    swap_bytes: int = 0  # of host memory, for pages of sequences that were put aside
    reserve_tokens: int = 256  # growth kept free for each running sequence when another is let in


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """The engine at one moment; counters begin with it."""

    weight_bytes: int
    budget_bytes: int
    used_bytes: int  # of the cache, held by sequences
    idle_bytes: int  # of the cache, kept only in case a prompt comes again
    swapped_bytes: int  # on the host
    swap_budget_bytes: int
    budget_tokens: int  # of the longest sequence the budget holds
    used_tokens: int  # of running sequences, in the cache
    waiting: int
    running: int
    steps: int
    prompt_tokens: int  # computed
    reused_tokens: int  # taken from the cache instead
    generated_tokens: int
    recomputed: int  # preemptions that threw pages away
    swapped: int  # preemptions that copied them to the host
    finished: tuple[tuple[str, int], ...]  # requests by how they ended


class Engine:
    """Continuous batching over one model."""

    def __init__(self, loaded: Loaded, settings: EngineSettings) -> None:
        self.settings = settings
        self._loaded = loaded
        self._pool = Pool(
            loaded.groups,
            budget_bytes=settings.budget_bytes,
            page_tokens=settings.page_tokens,
            lanes=settings.max_sequences,
            lane_tokens=settings.max_len,
            dtype=loaded.dtype,
            device=loaded.device,
        )
        groups = zip(self._pool.groups, self._pool.arenas, strict=True)
        self._form = Form(settings.page_tokens, tuple(Kept(group.window, arena.page_bytes) for group, arena in groups))
        self._lock = Lock()  # of everything below but the two mailboxes
        self._arrivals: deque[Live] = deque()
        self._cancelled: deque[int] = deque()
        self._ids, self._tickets = count(1), count(1)
        self._queue = Queue()
        self._alive: dict[int, Live] = {}
        self._running: list[Live] = []
        self._endings: list[Output] = []
        self._turn = 0
        self._counts = dict.fromkeys(("prompt", "reused", "generated", "recomputed", "swapped"), 0)
        self._finished = dict.fromkeys(Finish, 0)

    @property
    def has_work(self) -> bool:
        """Whether `step` has something to do or to say."""
        return bool(self._arrivals or self._running or self._endings or len(self._queue) or self._cancelled)

    def refusal(self, request: Request) -> Refusal | None:
        """Why the request can never run here, in numbers; None where it can."""
        tokens = len(request.prompt) + request.max_new_tokens
        settings = self.settings
        return refusal(self._form, budget_bytes=settings.budget_bytes, max_len=settings.max_len, tokens=tokens, limit=tokens - 1)

    def submit(self, request: Request) -> int:
        """Take a request in; its tokens come out of `step`. Raises InputError for what is none: no prompt, a value out of range."""
        vocabulary = self._loaded.architecture.vocab_size
        if not request.prompt or request.max_new_tokens < 1:
            raise InputError(
                f"a request has a prompt and at least one new token; this has {len(request.prompt)} and {request.max_new_tokens}"
            )
        if not 0 <= min(request.prompt) <= max(request.prompt) < vocabulary:
            raise InputError(
                f"the prompt has tokens from {min(request.prompt)} to {max(request.prompt)}; the model has 0 to {vocabulary - 1}"
            )
        check(request.sampling, vocabulary)
        live = Live(next(self._ids), request)
        self._arrivals.append(live)
        return live.id

    def cancel(self, id: int) -> None:  # noqa: A002 - what it is
        """End a request; its pages are free when this returns, or before the step that runs now returns."""
        self._cancelled.append(id)
        if self._lock.acquire(blocking=False):
            try:
                self._open_mail()
            finally:
                self._lock.release()

    def step(self) -> list[Output]:
        """Compute the next rows and say what came of them."""
        with self._lock, torch.inference_mode():
            self._open_mail()
            self._admit()
            pieces = self._planned()
            if pieces:
                self._compute(pieces)
            self._turn += 1
            self._open_mail()
            outputs, self._endings = self._endings, []
            return outputs

    def stats(self) -> Stats:
        """Bytes, lengths of lines and counters; cheap."""
        pool, settings = self._pool, self.settings
        return Stats(
            weight_bytes=self._loaded.decoder.weight_bytes,
            budget_bytes=settings.budget_bytes,
            used_bytes=pool.taken_bytes,
            idle_bytes=0,
            swapped_bytes=0,
            swap_budget_bytes=settings.swap_bytes,
            budget_tokens=self._form.longest(settings.budget_bytes, settings.page_tokens, settings.max_len),
            used_tokens=sum(live.cached for live in list(self._running)),
            waiting=len(self._queue) + len(self._arrivals),
            running=len(self._running),
            steps=self._turn,
            prompt_tokens=self._counts["prompt"],
            reused_tokens=self._counts["reused"],
            generated_tokens=self._counts["generated"],
            recomputed=self._counts["recomputed"],
            swapped=self._counts["swapped"],
            finished=tuple((how.value, times) for how, times in self._finished.items()),
        )

    def idle(self) -> int:
        """Give back pages that are kept only in case a prompt comes again; how many bytes that were."""
        return 0

    def _open_mail(self) -> None:
        while self._arrivals:
            live = self._arrivals.popleft()
            self._alive[live.id] = live
            no = self.refusal(live.request)
            if no is not None:
                self._end(live, Finish.REFUSED, detail=str(no))
            else:
                self._queue = self._queue.put(live.request.client, live.id)
        while self._cancelled:
            gone = self._alive.get(self._cancelled.popleft())
            if gone is not None:
                self._end(gone, Finish.CANCELLED)

    def _end(self, live: Live, how: Finish, token: int | None = None, logprobs: Logprobs | None = None, detail: str = "") -> None:
        """The only way a request ends: its pages go, its last output is written."""
        self._pool.release(live.tables)
        if live in self._running:
            self._running.remove(live)
        else:
            self._queue = self._queue.without(live.id)
        del self._alive[live.id]
        self._finished[how] += 1
        self._endings.append(Output(live.id, token, logprobs, how, detail))

    def _state(self) -> State:
        return State(
            form=self._form,
            budget_bytes=self.settings.budget_bytes,
            used_bytes=self._pool.taken_bytes,
            chunk_tokens=self.settings.chunk_tokens,
            reserve_tokens=self.settings.reserve_tokens,
            turn=self._turn,
            rows=tuple(live.row() for live in self._running),
        )

    def _admit(self) -> None:
        while len(self._running) < self.settings.max_sequences and (head := self._queue.head()) is not None:
            live = self._alive[head]
            if not admits(self._state(), Candidate(len(live.tokens), live.limit)):
                return
            self._queue = self._queue.pop()
            live.tables = self._pool.new_tables()
            if live.ticket is None:
                live.ticket = next(self._tickets)
            self._running.append(live)
            self._running.sort(key=lambda one: one.ticket or 0)

    def _planned(self) -> Sequence[planning.Piece]:
        while isinstance(found := planning.plan(self._state()), Preempt):
            self._preempt(self._alive[found.id])
        return found

    def _preempt(self, live: Live) -> None:
        self._pool.release(live.tables)
        live.tables, live.cached = (), 0
        self._counts["recomputed"] += 1
        self._running.remove(live)
        self._queue = self._queue.put_back(live.id)

    def _compute(self, planned: Sequence[planning.Piece]) -> None:
        lives = [self._alive[piece.id] for piece in planned]
        pieces = []
        for live, part in zip(lives, planned, strict=True):
            if not self._pool.grow(live.tables, part.end):
                raise MemoryError(f"the plan gave {part.end} tokens to a sequence that the pool has no pages for")
            pieces.append(
                Piece(
                    tables=live.tables,
                    tokens=tuple(live.tokens[part.start : part.end]),
                    start=part.start,
                    length=max(live.prompt_tokens, part.end),
                    wants_logits=part.end == len(live.tokens),
                )
            )
        loaded = self._loaded
        step = Step(
            pieces, self._pool, dual=loaded.architecture.dual_chunk, sharp_from=loaded.traits.length_temperature_from, device=loaded.device
        )
        logits = loaded.decoder(step)
        owners = {id(piece): live for piece, live in zip(pieces, lives, strict=True)}
        wanting = [owners[id(piece)] for piece in step.wanting]
        for live, part in zip(lives, planned, strict=True):
            self._counts["prompt"] += max(0, min(part.end, live.prompt_tokens) - part.start)
            live.cached = part.end
            self._pool.slide(live.tables, part.end)
        for live, (token, logprobs) in zip(wanting, choose(logits, [live.chooser for live in wanting]), strict=True):
            self._took(live, token, logprobs)

    def _took(self, live: Live, token: int, logprobs: Logprobs | None) -> None:
        live.chooser.took(token)
        live.tokens.append(token)
        self._counts["generated"] += 1
        if token in live.request.stop_tokens:
            self._end(live, Finish.STOP, token, logprobs)
        elif len(live.tokens) - live.prompt_tokens == live.request.max_new_tokens:
            self._end(live, Finish.LENGTH, token, logprobs)
        else:
            self._endings.append(Output(live.id, token, logprobs))
