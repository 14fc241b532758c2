"""Engines over tiny models, and requests played through them."""

from collections import Counter
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from random import Random
from tempfile import mkdtemp

import torch
from tests.runtime.tiny import TINY_CONFIGS, tiny_model

from ullage.runtime.engine import Engine, EngineSettings, Finish, Output, Request
from ullage.runtime.load import Loaded, load

PLENTY = 1 << 30


@cache
def loaded(name: str) -> Loaded:
    """A tiny model of a family, in float32 on the CPU."""
    folder = tiny_model(Path(mkdtemp()), TINY_CONFIGS[name])
    return load(str(folder), dtype=torch.float32, device=torch.device("cpu"))


def small(name: str, **settings: int | bool | str) -> Engine:
    """An engine with room for everything, unless the settings say otherwise."""
    return Engine(
        loaded(name), EngineSettings(**({"budget_bytes": PLENTY, "max_len": 256, "page_tokens": 8, "chunk_tokens": 64} | settings))
    )


def need_bytes(name: str, request: Request, page_tokens: int) -> int:
    """What one request needs alone."""
    form = small(name, page_tokens=page_tokens)._housing.form
    return form.peak_bytes(len(request.prompt) + request.max_new_tokens - 1, page_tokens)


def words(seed: int, count: int) -> tuple[int, ...]:
    """Tokens, always the same ones."""
    draw = Random(seed)  # noqa: S311 - a test's numbers
    return tuple(draw.randrange(3, 320) for _ in range(count))


def play(engine: Engine, requests: Sequence[Request]) -> list[list[Output]]:
    """Everything that came out, request by request. Each ends once, no memory is left, and the budget is never passed."""
    found = _played(engine, requests)
    assert_empty(engine)
    return found


def run(engine: Engine, request: Request) -> list[Output]:
    """What came out of one request, its pages being kept."""
    return _played(engine, [request])[0]


def _played(engine: Engine, requests: Sequence[Request]) -> list[list[Output]]:
    ids = [engine.submit(request) for request in requests]
    found: dict[int, list[Output]] = {id_: [] for id_ in ids}
    for _ in range(20_000):
        if not engine.has_work:
            break
        for output in engine.step():
            found[output.id].append(output)
        seen = engine.stats()
        assert seen.used_bytes + seen.idle_bytes <= seen.budget_bytes
    ends = Counter(output.id for outputs in found.values() for output in outputs if output.finished)
    assert ends == Counter(ids)
    assert all(outputs[-1].finished for outputs in found.values())
    assert engine.stats().used_bytes == engine.stats().swapped_bytes == 0
    return [found[id_] for id_ in ids]


def assert_empty(engine: Engine) -> None:
    """Nobody holds anything, and what is kept for later goes when it is asked to."""
    assert engine.stats().used_bytes == engine.stats().swapped_bytes == 0
    engine.idle()
    assert engine._housing.pool.taken_bytes == 0


def tokens_of(outputs: Sequence[Output]) -> list[int]:
    """The tokens in their order."""
    return [output.token for output in outputs if output.token is not None]


def answers(engine: Engine, requests: Sequence[Request]) -> list[list[int]]:
    """The tokens of each request; all run to their length."""
    outputs = play(engine, requests)
    assert {one[-1].finished for one in outputs} <= {Finish.LENGTH, Finish.STOP}
    return [tokens_of(one) for one in outputs]
