"""Ullage's runtime. The forms of weights and cache come as ``--weights`` and ``--kv-dtype`` after the task."""

import sys

import torch
from _task import Run, main

from ullage.runtime.engine import Engine, EngineSettings, Request
from ullage.runtime.load import load


def _option(name: str, default: str) -> str:
    return sys.argv[sys.argv.index(name) + 1] if name in sys.argv else default


def start(model: str, longest: int) -> Run:
    """One engine, prompts never found again."""
    loaded = load(model, dtype=torch.bfloat16, device=torch.device("cpu"), weights=_option("--weights", "native"))
    chunk = int(_option("--chunk", "1024"))
    settings = EngineSettings(
        budget_bytes=8 << 30,
        max_len=longest,
        chunk_tokens=chunk,
        max_sequences=8,
        prefix_cache=False,
        kv_dtype=_option("--kv-dtype", "native"),
    )
    engine = Engine(loaded, settings)

    def run(prompts: list[list[int]], tokens: int) -> None:
        for prompt in prompts:
            engine.submit(Request(prompt=tuple(prompt), max_new_tokens=tokens))
        while engine.has_work:
            engine.step()

    return run


if __name__ == "__main__":
    main(start)
