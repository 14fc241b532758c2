"""A step's live tensors, counted one by one, against the formula of its widest moment."""

import gc
import sys
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import pytest
import torch
from tests.runtime.tiny import TINY_CONFIGS, tiny_model

from ullage.engines.runtime.families import FAMILIES
from ullage.engines.runtime.transient import PIECE_KEYS, Rows, peak
from ullage.runtime.attend.step import Piece, Step
from ullage.runtime.cache.pool import Pool
from ullage.runtime.load import Loaded, load

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))
from live_bytes import LiveBytes

RUN = sorted(name for name, config in TINY_CONFIGS.items() if config["model_type"] in FAMILIES)
WITHIN = 0.02
UNEVEN = 1.3  # how many rows an expert gets is the router's choice; the plan says the most


@cache
def tiny(name: str, dtype: str) -> Loaded:
    return load(str(tiny_model(Path(mkdtemp()), TINY_CONFIGS[name])), dtype=getattr(torch, dtype), device=torch.device("cpu"))


def live_bytes(loaded: Loaded, start: int, rows: int) -> int:
    """The most bytes of tensors that a step of ``rows`` rows at ``start`` makes."""
    pool = Pool(
        loaded.groups, budget_bytes=1 << 40, page_tokens=64, lanes=1, lane_tokens=start + rows, dtype=loaded.dtype, device=loaded.device
    )
    tables = pool.new_tables()
    assert pool.grow(tables, start + rows)
    piece = Piece(tables=tables, tokens=tuple(3 + at % 300 for at in range(rows)), start=start, length=start + rows, wants_logits=True)
    held = [found for found in gc.get_objects() if type(found) is torch.Tensor and found.layout is torch.strided]
    with torch.no_grad(), LiveBytes(held) as counted:  # inference mode would hide what composite operations make
        loaded.decoder(
            Step(
                [piece],
                pool,
                dual=loaded.architecture.dual_chunk,
                sharp_from=loaded.traits.length_temperature_from,
                device=loaded.device,
            )
        )
    return int(counted.peak)


def planned(loaded: Loaded, start: int, rows: int) -> int:
    return peak(loaded.architecture, Rows(rows=rows, context=start + rows, wanting=1, element=loaded.dtype.itemsize)).nbytes


@pytest.mark.parametrize("name", RUN)
@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
@pytest.mark.parametrize(("start", "rows"), [(0, 600), (700, 1024)])
def test_a_step_takes_as_many_bytes_as_planned(name: str, dtype: str, start: int, rows: int) -> None:
    loaded = tiny(name, dtype)
    seen, promised = live_bytes(loaded, start, rows), planned(loaded, start, rows)
    assert seen <= promised * (1 + WITHIN)
    assert promised <= seen * (UNEVEN if loaded.architecture.is_mixture else 1 + WITHIN)


@pytest.mark.parametrize("name", ["llama", "qwen3", "mistral"])
def test_a_step_takes_no_more_at_the_end_of_a_long_prompt(name: str) -> None:
    loaded = tiny(name, "bfloat16")
    assert live_bytes(loaded, 4 * PIECE_KEYS, 512) == live_bytes(loaded, 1024, 512)


def test_a_larger_chunk_takes_more_and_half_the_rows_about_half() -> None:
    loaded = tiny("llama", "bfloat16")
    whole, half = live_bytes(loaded, 2048, 1024), live_bytes(loaded, 2048, 512)
    assert half < whole <= 2 * half + whole // 10
