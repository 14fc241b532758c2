"""The engine: requests in, tokens out, every sequence of the moment in one packed step.

One thread calls `step`; `submit`, `cancel` and `stats` may be called from any other while it runs.
"""

from collections import deque
from collections.abc import Callable, Sequence
from itertools import count
from threading import Lock
from time import monotonic

import torch
from torch import Tensor

from ullage.errors import InputError
from ullage.frozen import dataclass
from ullage.runtime.attend.step import Piece, Step
from ullage.runtime.housing import EngineSettings, Housing
from ullage.runtime.live import Live
from ullage.runtime.load import Loaded
from ullage.runtime.request import Finish, Output, Request
from ullage.runtime.sample.choose import Choice, choose
from ullage.runtime.sample.chooser import TokenMask
from ullage.runtime.sample.logprobs import Logprobs
from ullage.runtime.sample.settings import Sampling, check
from ullage.runtime.schedule import plan as planning
from ullage.runtime.schedule.plan import Preempt, Refusal, State, admits, refusal
from ullage.runtime.schedule.queue import Queue
from ullage.runtime.schedule.reserve import Reserve
from ullage.runtime.shortage import in_a_step, is_shortage

__all__ = ["Engine", "EngineSettings", "Finish", "Logprobs", "Output", "Refusal", "Request", "Sampling", "Stats", "TokenMask"]

_TIDY_STEPS = 64  # steps between looks at what has been idle for long


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """The engine at one moment; counters begin with it."""

    weight_bytes: int
    budget_bytes: int
    used_bytes: int  # of the cache, held by sequences
    idle_bytes: int  # of the cache, kept only in case a prompt comes again
    swapped_bytes: int  # on the host
    swap_budget_bytes: int
    budget_tokens: int  # that the budget holds in all
    longest_tokens: int  # of the longest sequence that fits alone
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

    def __init__(self, loaded: Loaded, settings: EngineSettings, clock: Callable[[], float] = monotonic) -> None:
        self.settings = settings
        self._loaded = loaded
        self._housing = Housing(loaded, settings, clock)
        self._lock = Lock()  # of everything below but the two mailboxes
        self._arrivals: deque[Live] = deque()
        self._cancelled: deque[int] = deque()
        self._ids, self._tickets = count(1), count(1)
        self._queue, self._reserve = Queue(), Reserve(settings.reserve_tokens)
        self._alive: dict[int, Live] = {}
        self._running: list[Live] = []
        self._outputs: list[Output] = []
        self._turn, self._most = 0, 1
        self.crowded: Callable[[int], None] | None = None  # is told before a step of twice as many sequences as ever
        self._counts = dict.fromkeys(("prompt", "reused", "generated", "recomputed", "swapped"), 0)
        self._finished = dict.fromkeys(Finish, 0)

    @property
    def has_work(self) -> bool:
        """Whether `step` has something to do or to say."""
        return bool(self._arrivals or self._running or self._outputs or len(self._queue) or self._cancelled)

    def refusal(self, request: Request) -> Refusal | None:
        """Why the request can never run here, in numbers; None where it can."""
        tokens = len(request.prompt) + request.max_new_tokens
        most = self._housing.max_len
        found = [
            refusal(room.form, budget_bytes=room.budget_bytes, max_len=most, tokens=tokens, limit=tokens - 1)
            for room in self._housing.rooms()
        ]
        return min((no for no in found if no is not None), key=lambda no: no.longest_tokens, default=None)

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
            if self._turn % _TIDY_STEPS == 0:
                self._housing.tidy()
            self._admit()
            self._note_load()
            pieces = self._planned()
            if pieces:
                self._compute(pieces)
            self._turn += 1
            self._open_mail()
            outputs, self._outputs = self._outputs, []
            return outputs

    def stats(self) -> Stats:
        """Bytes, lengths of lines and counters; cheap."""
        housing, pool, settings = self._housing, self._housing.pool, self.settings
        return Stats(
            weight_bytes=self._loaded.decoder.weight_bytes,
            budget_bytes=settings.budget_bytes,
            used_bytes=pool.used_bytes,
            idle_bytes=pool.idle_bytes,
            swapped_bytes=housing.swapped_bytes,
            swap_budget_bytes=settings.swap_bytes,
            budget_tokens=housing.pool_tokens(),
            longest_tokens=housing.longest_tokens(),
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
        """Give back pages that are kept only in case a prompt comes again; how many bytes that were. Does nothing during a step."""
        if not self._lock.acquire(blocking=False):
            return 0
        try:
            return self._housing.pool.drop_idle()
        finally:
            self._lock.release()

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
        self._housing.leave(live)
        if len(live.tokens) > live.prompt_tokens:
            self._reserve.note(len(live.tokens) - live.prompt_tokens, was_cut=how is Finish.LENGTH)
        if live in self._running:
            self._running.remove(live)
        else:
            self._queue = self._queue.without(live.id)
        del self._alive[live.id]
        self._finished[how] += 1
        reused = live.reused if len(live.tokens) == live.prompt_tokens + 1 else 0
        self._outputs.append(Output(live.id, token, logprobs, how, detail, reused))

    def _state(self) -> State:
        first, *beside = self._housing.rooms()
        return State(
            form=first.form,
            budget_bytes=first.budget_bytes,
            used_bytes=first.used_bytes,
            beside=tuple(beside),
            free_pages=self._housing.pool.free_pages,
            chunk_tokens=self.settings.chunk_tokens,
            reserve_tokens=self._reserve.tokens,
            turn=self._turn,
            rows=tuple(live.row() for live in self._running),
        )

    def _admit(self) -> None:
        while len(self._running) < self.settings.max_sequences and (head := self._queue.head()) is not None:
            live = self._alive[head]
            candidate, match = self._housing.candidate(live)
            if not admits(self._state(), candidate):
                return
            self._queue = self._queue.pop()
            self._housing.let_in(live, match)
            self._counts["reused"] += live.cached if match is not None else 0
            if live.ticket is None:
                live.ticket = next(self._tickets)
            self._running.append(live)
            self._running.sort(key=lambda one: one.ticket or 0)

    def _note_load(self) -> None:
        if len(self._running) >= 2 * self._most:
            self._most = len(self._running)
            if self.crowded is not None:
                self.crowded(self._most)

    def _planned(self) -> Sequence[planning.Piece]:
        while isinstance(found := planning.plan(self._state()), Preempt):
            self._preempt(self._alive[found.id])
        return found

    def _preempt(self, live: Live) -> None:
        self._counts["swapped" if self._housing.put_aside(live) else "recomputed"] += 1
        self._running.remove(live)
        self._queue = self._queue.put_back(live.id)

    def _compute(self, planned: Sequence[planning.Piece]) -> None:
        lives = [self._alive[piece.id] for piece in planned]
        try:
            wanting, logits = self._decoded(planned, lives)
        except Exception as error:
            if is_shortage(error):  # it would come again: who keeps this process has to change something
                rows = sum(piece.end - piece.start for piece in planned)
                raise in_a_step(error, rows=rows, sequences=len(self._running), longest=max(piece.end for piece in planned)) from error
            for live in lives:
                self._end(live, Finish.ERROR, detail=f"{type(error).__name__}: {error}")
            return
        for live, part in zip(lives, planned, strict=True):
            self._counts["prompt"] += max(0, min(part.end, live.prompt_tokens) - part.start)
            self._housing.settle(live, part.end)
        for live, choice in zip(wanting, choose(logits, [live.chooser for live in wanting]), strict=True):
            self._took(live, choice)

    def _decoded(self, planned: Sequence[planning.Piece], lives: Sequence[Live]) -> tuple[list[Live], Tensor]:
        """The sequences that get a token, and their logits."""
        loaded = self._loaded
        sharp_from = loaded.traits.length_temperature_from
        pieces, owners = [], {}
        for live, part in zip(lives, planned, strict=True):
            self._housing.grow(live, part.end)
            for start, end, length in live.parts(part.start, part.end, sharp_from):
                wants = end == len(live.tokens)
                piece = Piece(tables=live.tables, tokens=tuple(live.tokens[start:end]), start=start, length=length, wants_logits=wants)
                pieces.append(piece)
                owners[id(piece)] = live
        step = Step(pieces, self._housing.pool, dual=loaded.architecture.dual_chunk, sharp_from=sharp_from, device=loaded.device)
        return [owners[id(piece)] for piece in step.wanting], loaded.decoder(step)

    def _took(self, live: Live, choice: Choice) -> None:
        token, logprobs = choice.token, choice.logprobs
        problem = choice.problem or live.chooser.took(token)
        if problem:
            self._end(live, Finish.ERROR, detail=problem)
            return
        live.tokens.append(token)
        self._counts["generated"] += 1
        answered = len(live.tokens) - live.prompt_tokens
        if token in live.request.stop_tokens:
            self._end(live, Finish.STOP, token, logprobs)
        elif answered == live.request.max_new_tokens:
            self._end(live, Finish.LENGTH, token, logprobs)
        else:
            self._outputs.append(Output(live.id, token, logprobs, reused_tokens=live.reused if answered == 1 else 0))
