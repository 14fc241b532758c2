"""Counting tokens on several cores, with few lists of texts held at a time."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any, TypeVar

from ullage.text.boundaries import boundaries
from ullage.text.remembered import RememberedCount

T = TypeVar("T")

WORTH_PROCESSES = 24 << 20  # bytes of text; fewer are counted before other processes have read the vocabulary
_AHEAD = 3  # lists under way for each process
_of_this_process: RememberedCount | None = None


def _specials(tokenizer: Any) -> list[str]:
    pieces = (tokenizer.token_bytes(token) for token in tokenizer.special_ids)
    return [piece.decode("utf-8", "replace") for piece in pieces if piece]


def _begin(opened: Callable[[], Any]) -> None:
    """Read the vocabulary once in each process, which counts on one core as the others do."""
    global _of_this_process  # noqa: PLW0603 - a process of the pool has one
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    tokenizer = opened()
    _of_this_process = RememberedCount(tokenizer.count, _specials(tokenizer))


def _count(texts: Sequence[str]) -> list[int]:
    assert _of_this_process is not None  # noqa: S101 - set when the process began
    return _of_this_process(texts)


class PooledCounter:
    """Counts by a tokeniser: here, and where there is much text in as many processes as there are cores."""

    is_exact = True

    def __init__(self, name: str, opened: Callable[[], Any], *, nbytes: int, processes: int | None = None) -> None:
        self.name, self._opened = name, opened
        self._tokenizer = opened()
        self._here = RememberedCount(self._tokenizer.count, _specials(self._tokenizer))
        cores = len(os.sched_getaffinity(0)) if processes is None else processes
        self._processes = cores if nbytes >= WORTH_PROCESSES else 1

    def count(self, texts: Sequence[str]) -> list[int]:
        """As the port says."""
        return self._here(texts)

    def count_batches(self, batches: Iterable[tuple[T, list[str]]]) -> Iterator[tuple[T, list[int]]]:
        """As the port says."""
        if self._processes == 1:
            for item, texts in batches:
                yield item, self._here(texts)
            return
        from concurrent.futures import Future, ProcessPoolExecutor
        from multiprocessing import get_context

        waiting: deque[tuple[T, Future[list[int]]]] = deque()
        with ExitStack() as stack:
            context = get_context("spawn")  # a fork would copy the threads of libraries already loaded
            pool = stack.enter_context(
                ProcessPoolExecutor(self._processes, mp_context=context, initializer=_begin, initargs=(self._opened,))
            )
            stack.callback(pool.shutdown, cancel_futures=True)
            for item, texts in batches:
                waiting.append((item, pool.submit(_count, texts)))
                while len(waiting) > _AHEAD * self._processes:
                    done, future = waiting.popleft()
                    yield done, future.result()
            while waiting:
                done, future = waiting.popleft()
                yield done, future.result()

    def boundaries(self, text: str) -> Sequence[int]:
        """As the port says."""
        return boundaries(self._tokenizer, text)
