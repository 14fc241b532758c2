"""What every peer measures, by functions that it brings: seconds of prompts and of answers, and the memory of one long prompt."""

import json
import os
import random
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

PROMPTS = tuple(int(word) for word in (os.environ.get("ULLAGE_BENCH_PROMPTS") or "512,4096,8000").split(","))
CONTEXT, ANSWER = 512, 64
_VOCABULARY = 40_000  # ids below are ordinary words in every model that is compared

Run = Callable[[list[list[int]], int], None]  # prompts, new tokens for each


def prompt(tokens: int, seed: int) -> list[int]:
    """Random words, so that no prompt is found in a cache."""
    draw = random.Random(seed)  # noqa: S311 - no secret
    return [draw.randrange(100, _VOCABULARY) for _ in range(tokens)]


def resident_bytes() -> int:
    """Of this process, now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


class Peak:
    """The largest resident size while a block runs, looked at every few milliseconds."""

    def __enter__(self) -> Self:
        self.nbytes = self.before = resident_bytes()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()
        return self

    def _look(self) -> None:
        while not self._over.wait(0.004):
            self.nbytes = max(self.nbytes, resident_bytes())

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()


def _timed(run: Run, prompts: list[list[int]], tokens: int) -> float:
    start = time.perf_counter()
    run(prompts, tokens)
    return time.perf_counter() - start


def speed(run: Run, batches: tuple[int, ...] = (1, 8)) -> dict[str, float]:
    """Tokens per second of each prompt length, and of answers after a prompt, by the number of sequences."""
    run([prompt(64, 0)], 2)
    found = {f"prefill {tokens}": tokens / _timed(run, [prompt(tokens, tokens)], 1) for tokens in PROMPTS}
    for batch in batches:
        first = _timed(run, [prompt(CONTEXT, 100 + row) for row in range(batch)], 1)
        whole = _timed(run, [prompt(CONTEXT, 200 + row) for row in range(batch)], ANSWER + 1)
        found[f"decode x{batch}"] = batch * ANSWER / max(whole - first, 1e-9)
    return found


def memory(run: Run, tokens: int) -> dict[str, int]:
    """Resident bytes with the model loaded, and at the peak of one prompt."""
    run([prompt(64, 0)], 2)
    with Peak() as peak:
        run([prompt(tokens, tokens)], 1)
    return {"loaded": peak.before, "peak": peak.nbytes}


def main(start: Callable[[str, int], Run], batches: tuple[int, ...] = (1, 8)) -> None:
    """``MODEL speed`` or ``MODEL memory TOKENS``: prints one JSON object as the last line."""
    began = time.perf_counter()
    model, task = sys.argv[1], sys.argv[2]
    longest = int(sys.argv[3]) if task == "memory" else max(PROMPTS)
    run = start(model, longest + ANSWER + 8)
    found: dict[str, float] = {"loading_s": time.perf_counter() - began}
    found |= speed(run, batches) if task == "speed" else memory(run, longest)
    print(json.dumps(found))
