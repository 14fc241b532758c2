"""What the plan says of weights and cache is what the runtime allocates, to the byte, for every family."""

from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import pytest
import torch
from tests.runtime.real_model import bfloat16_directory, smollm2_file
from tests.runtime.tiny import TINY_CONFIGS, tiny_model

import ullage
from ullage.commands.model import read_model
from ullage.domain.case import Case, Model, Settings, Value
from ullage.domain.ledger import Purpose
from ullage.domain.machine import Device, Machine
from ullage.domain.workload import Workload
from ullage.engines.runtime import ENGINE
from ullage.engines.runtime.families import FAMILIES
from ullage.engines.runtime.versions import DEFAULT
from ullage.engines.runtime.weights import How, resident
from ullage.runtime.cache.pool import Pool
from ullage.runtime.load import Loaded, load
from ullage.runtime.model import families
from ullage.units import GiB
from ullage.world.real import RealModels

CPU = torch.device("cpu")
RUN = sorted(name for name, config in TINY_CONFIGS.items() if config["model_type"] in FAMILIES)
FORMS = (("bfloat16", "native"), ("float32", "native"), ("bfloat16", "int8"), ("bfloat16", "int4"), ("bfloat16", "fp8"))


@cache
def folder(name: str) -> str:
    return str(tiny_model(Path(mkdtemp()), TINY_CONFIGS[name]))


@cache
def model(path: str) -> Model:
    return read_model(path, RealModels(offline=True)).model


def planned(of: Model, context: int, sequences: int = 1, **settings: Value) -> Case:
    device = Device(id="cpu", kind="cpu", name="CPU", total_bytes=16 * GiB)
    return ENGINE.resolve(
        Case(
            model=of,
            engine="runtime",
            version=DEFAULT,
            machine=Machine(devices=(device,)),
            workload=Workload(context_tokens=context, concurrent_sequences=sequences),
            settings=Settings.of(settings),
            stated=frozenset(settings),
        )
    )


def pool_of(loaded: Loaded, case: Case) -> Pool:
    return Pool(
        loaded.groups,
        budget_bytes=1 << 40,
        page_tokens=case.settings.integer("page_tokens") or 0,
        lanes=2,
        lane_tokens=4096,
        dtype=loaded.dtype,
        device=CPU,
        kv_dtype=case.settings.text("kv_dtype") or "native",
    )


def most_taken(pool: Pool, tokens: int, chunk: int) -> int:
    """The most bytes of pages while one sequence is read in steps of ``chunk``."""
    tables, most = pool.new_tables(), 0
    for start in range(0, tokens, chunk):
        assert pool.grow(tables, min(start + chunk, tokens))
        most = max(most, pool.taken_bytes)
        pool.slide(tables, min(start + chunk, tokens))
    return most


def test_the_plan_knows_the_families_that_are_run() -> None:
    assert set(FAMILIES) == set(families.FAMILIES)
    assert set(FAMILIES) == {config["model_type"] for config in TINY_CONFIGS.values()} & set(FAMILIES)


def test_the_plan_is_of_the_release_that_it_comes_with() -> None:
    assert str(DEFAULT) == ullage.__version__


@pytest.mark.parametrize("name", RUN)
@pytest.mark.parametrize(("dtype", "weights"), FORMS)
def test_the_weights_are_as_many_bytes_as_planned(name: str, dtype: str, weights: str) -> None:
    loaded = load(folder(name), dtype=getattr(torch, dtype), device=CPU, weights=weights)
    expected = resident(model(folder(name)), How(asked=weights, dtype=dtype, device="cpu"))
    assert loaded.decoder.weight_bytes == expected.nbytes
    assert loaded.scratch.nbytes == expected.scratch


@pytest.mark.parametrize("name", RUN)
@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
@pytest.mark.parametrize("chunk", [16, 48, 500])
def test_the_pages_of_a_sequence_are_as_many_bytes_as_planned(name: str, dtype: str, chunk: int) -> None:
    case = planned(model(folder(name)), 301, dtype=dtype, chunk=chunk, page_tokens=16)
    pool = pool_of(load(folder(name), dtype=getattr(torch, dtype), device=CPU), case)
    assert most_taken(pool, 300, chunk) == ENGINE.ledger(case).of("cpu", Purpose.KV_CACHE).expected


@pytest.mark.parametrize("kv_dtype", ["int8", "fp8", "int4", "k=int8,v=int4"])
def test_the_pages_of_a_quantised_cache_are_as_many_bytes_as_planned(kv_dtype: str) -> None:
    case = planned(model(folder("llama")), 301, dtype="bfloat16", kv_dtype=kv_dtype, page_tokens=16, chunk=64)
    pool = pool_of(load(folder("llama"), dtype=torch.bfloat16, device=CPU), case)
    assert most_taken(pool, 300, 64) == ENGINE.ledger(case).of("cpu", Purpose.KV_CACHE).expected


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
@pytest.mark.parametrize("form", ["gguf", "bf16"])
def test_the_real_model_is_as_many_bytes_as_planned(tmp_path: Path, form: str, dtype: str) -> None:
    path = str(smollm2_file() if form == "gguf" else bfloat16_directory(tmp_path))
    loaded = load(path, dtype=getattr(torch, dtype), device=CPU)
    case = planned(model(path), 4096, dtype=dtype)
    seen = ENGINE.ledger(case)
    assert loaded.decoder.weight_bytes == seen.of("cpu", Purpose.WEIGHTS).expected
    assert most_taken(pool_of(loaded, case), 4095, 1024) == seen.of("cpu", Purpose.KV_CACHE).expected
