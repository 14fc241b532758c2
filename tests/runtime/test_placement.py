"""A model over several devices: the same tokens, pages of all devices together or none, and as many bytes on each as planned."""

from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import pytest
import torch
from tests.runtime.engines import answers, small, words
from tests.runtime.tiny import TINY_CONFIGS, tiny_model

from ullage.runtime.engine import Engine, EngineSettings, Request
from ullage.runtime.load import Loaded, load

CPU = torch.device("cpu")
FAMILIES = ("llama", "qwen3", "gemma2", "mistral", "gpt_oss", "qwen3_moe", "deepseek_v2", "qwen2_dual_chunk")
SPLITS = ((2, 2), (1, 3), (1, 2, 1), (4, 0), (0, 4))


@cache
def folder(name: str) -> str:
    return str(tiny_model(Path(mkdtemp()), TINY_CONFIGS[name]))


@cache
def spread(
    name: str, split: tuple[int, ...], dtype: torch.dtype = torch.float32, weights: str = "native", room: int | None = None
) -> Loaded:
    return load(folder(name), dtype=dtype, device=CPU, devices=(CPU,) * len(split), split=split, weights=weights, staged_experts=room)


def requests() -> list[Request]:
    return [Request(prompt=words(seed, length), max_new_tokens=12) for seed, length in enumerate((5, 90, 33, 61))]


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("split", SPLITS)
def test_several_devices_answer_with_the_tokens_of_one(name: str, split: tuple[int, ...]) -> None:
    over = EngineSettings(budget_bytes=1 << 30, max_len=256, page_tokens=8, chunk_tokens=64)
    assert answers(Engine(spread(name, split), over), requests()) == answers(small(name), requests())
