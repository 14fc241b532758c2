"""A cache of codes: its bytes, what comes back, attention over it, and the same answers whatever the chunk, page and company."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.runtime.engines import answers, loaded, run, small, words

from ullage.engines.runtime.cache_tiles import TILE_BYTES, tile_keys
from ullage.engines.runtime.pages import Rows, token_bytes
from ullage.engines.runtime.residence import cache_row_bytes
from ullage.errors import UnsupportedModelError
from ullage.runtime.attend import quantised
from ullage.runtime.attend.kernels import attend_plainly
from ullage.runtime.attend.quantised import attend_folded
from ullage.runtime.cache.formats import FORMATS
from ullage.runtime.cache.held import Held, Lie, scaled
from ullage.runtime.engine import Request

FORMS = ("int8", "fp8", "int4")
# The largest error of a number against the largest number of its row: half a step of 127, of e4m3's 3 bits, of a group's 15, and a
# scale of 8 bits.
WORST = {"native": 0.0, "int8": 0.5 / 127 + 0.004, "fp8": 2**-4 + 0.004, "int4": 0.5 * 2 / 15 + 0.02}


def held(form: str, rows: torch.Tensor) -> Held:
    return Held(FORMATS[form], rows.shape[-1], FORMATS[form].quantise(rows))


@pytest.mark.parametrize("form", FORMS)
@given(width=st.sampled_from((2, 16, 32, 64, 80, 128)), element=st.sampled_from((2, 4)))
def test_stores_take_the_bytes_of_the_formula(form: str, width: int, element: int) -> None:
    dtype = {2: torch.bfloat16, 4: torch.float32}[element]
    stores = FORMATS[form].stores(width, dtype)
    assert sum(wide * kind.itemsize for wide, kind in stores) == cache_row_bytes(form, width, element)
    parts = FORMATS[form].quantise(torch.randn(3, 5, width))
    assert [(part.shape[-1], part.dtype) for part in parts] == list(stores)


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), size=st.sampled_from((1e-4, 1.0, 3e4)), dtype=st.sampled_from((torch.float32, torch.bfloat16)))
def test_what_is_read_is_what_was_written_within_half_a_step(form: str, seed: int, size: float, dtype: torch.dtype) -> None:
    rows = (torch.randn(2, 7, 64, generator=torch.Generator().manual_seed(seed)) * size).to(dtype)
    rows[0, 0] = 0
    back = scaled(FORMATS[form], FORMATS[form].quantise(rows), torch.float32)
    assert ((back - rows.float()).abs() <= WORST[form] * rows.float().abs().amax(-1, keepdim=True) + 1e-30).all()
    assert (back[0, 0].abs() <= 1e-28).all()


def test_every_e4m3_number_is_converted_exactly() -> None:
    bits = torch.arange(256, dtype=torch.uint8).view(torch.int8)
    expected = bits.view(torch.float8_e4m3fn).float()
    known = ~expected.isnan()
    for dtype in (torch.float32, torch.bfloat16):
        assert (FORMATS["fp8"].numbers((bits,), dtype).float() * 256)[known].equal(expected[known])


@pytest.mark.parametrize("keys", ["native", *FORMS])
@pytest.mark.parametrize("values", ["native", *FORMS])
@pytest.mark.parametrize("softcap", [None, 5.0])
def test_folded_scales_give_what_scaled_rows_give(keys: str, values: str, softcap: float | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantised, "SCORED_KEYS", 48)
    monkeypatch.setattr(quantised, "tile_keys", lambda *_: 16)
    torch.manual_seed(3)
    key, value, query = torch.randn(2, 300, 32), torch.randn(2, 300, 48), torch.randn(3, 2, 4, 32)
    k, v, lie = held(keys, key), held(values, value), Lie(5, 83, 3, 100)
    bias = torch.zeros(3, 1, 1, 83)
    bias[1, ..., 40:] = float("-inf")
    found = attend_folded(query, k, v, lie, 0.2, bias=bias, softcap=softcap)
    rows = [torch.stack([side.read(5 + 100 * lane, 83, torch.float32) for lane in range(3)]) for side in (k, v)]
    expected = attend_plainly(query, *rows, 0.2, bias=bias, softcap=softcap)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, atol=2e-5, rtol=2e-5)


@given(st.integers(1, 4096), st.integers(1, 1024))
def test_a_tile_has_a_bound(pairs: int, width: int) -> None:
    keys = tile_keys(pairs, width)
    assert keys & (keys - 1) == 0
    assert keys == 64 or pairs * keys * width * 4 <= TILE_BYTES


REQUESTS = [Request(prompt=words(seed, 20 + 17 * seed), max_new_tokens=8) for seed in range(4)]


@pytest.mark.parametrize("name", ["llama", "gemma2", "qwen2_windowed", "qwen2_dual_chunk", "gpt_oss", "deepseek_v3"])
@pytest.mark.parametrize("form", FORMS)
def test_answers_do_not_depend_on_chunk_page_or_company(name: str, form: str) -> None:
    expected = answers(small(name, kv_dtype=form), REQUESTS)
    assert answers(small(name, kv_dtype=form, chunk_tokens=11, page_tokens=16), REQUESTS) == expected
    assert [answers(small(name, kv_dtype=form, max_sequences=1), [request])[0] for request in REQUESTS] == expected


@pytest.mark.parametrize("form", ["int8", "k=int8,v=int4"])
def test_swap_and_reuse_copy_codes_and_scales(form: str) -> None:
    engine = small("llama", kv_dtype=form)
    first = run(engine, REQUESTS[3])
    again = run(engine, REQUESTS[3])
    assert [output.token for output in again] == [output.token for output in first]
    assert engine.stats().reused_tokens > 0
    bundle = engine._housing.form.bundle_bytes
    tight = small("llama", kv_dtype=form, budget_bytes=16 * bundle, swap_bytes=1 << 20, reserve_tokens=0, prefix_cache=False)
    assert answers(tight, REQUESTS) == answers(small("llama", kv_dtype=form), REQUESTS)
    assert tight.stats().swapped > 0


@pytest.mark.parametrize(("form", "share"), [("int8", 18 / 64), ("int4", 12 / 64), ("k=int8,v=int4", 15 / 64)])
def test_pages_take_the_bytes_of_the_formula(form: str, share: float) -> None:
    engine, native = small("llama", kv_dtype=form), small("llama")
    pool = engine._housing.pool
    assert engine._housing.form.bundle_bytes == native._housing.form.bundle_bytes * share
    tables = pool.new_tables()
    assert pool.grow(tables, 20)
    stores = [tensor for arena in pool.arenas for tensor in arena._tensors()]
    assert pool.used_bytes == sum(3 * 8 * tensor.shape[0] * tensor.shape[2] * tensor.element_size() for tensor in stores)
    pool.release(tables)


def test_a_row_that_is_key_and_value_has_one_format() -> None:
    latent = (Rows(heads=1, key_dim=48, value_dim=0),)
    with pytest.raises(UnsupportedModelError, match="one row"):
        token_bytes(latent, keys="int8", values="int4", element=2)
    assert loaded("deepseek_v3").groups[0].rows[0].value_dim == 0


def test_a_row_that_cannot_be_halved_is_refused() -> None:
    with pytest.raises(UnsupportedModelError, match="int4"):
        cache_row_bytes("int4", 5, 2)
