from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.runtime.tiny import TINY_CONFIGS, tiny_model

from ullage.catalog.tensor_formats import GGML_BY_NAME
from ullage.engines.runtime.residence import ELEMENT_BYTES, WeightForm, matrix_bytes, packs
from ullage.engines.runtime.weight_forms import form_of, head_word, runs, runs_bytes, scratch_bytes, shares_table, tile_rows
from ullage.runtime.linear import bytewise, int4, nibbles, steps
from ullage.runtime.linear.form import Linear
from ullage.runtime.linear.forms import Beside, Forms
from ullage.runtime.linear.int4 import Int4
from ullage.runtime.linear.nibbles import CENTRE, order_of_kernel, pack, unpack_codes
from ullage.runtime.linear.plain import Packed, Plain
from ullage.runtime.linear.scratch import Scratch
from ullage.runtime.linear.weights import Given, Weights, weights_of
from ullage.runtime.load import load
from ullage.runtime.loading.stored import Lying

CPU = torch.device("cpu")
WORDS = {torch.bfloat16: "bfloat16", torch.float32: "float32"}
# What rounding to each form may cost at most in a product with normal weights, beside what bfloat16 costs.
WORST = {"native": 0.004, "int8": 0.012, "fp8": 0.032, "int4": 0.085}
SHAPES = [(320, 64), (100, 96), (65, 33), (7, 40), (960, 576), (3000, 1024)]


def normal(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def blocks(name: str, rows: int, columns: int) -> Lying:
    """A matrix of random blocks; scales are small numbers of fp16."""
    fmt = GGML_BY_NAME[name]
    count = columns // fmt.block_elements
    draw = torch.Generator().manual_seed(1)
    data = torch.randint(0, 256, (rows, count, fmt.block_bytes), generator=draw, dtype=torch.uint8)
    places = {"q4_0": (0,), "q4_1": (0, 2), "q4_k": (0, 2), "q8_0": (0,), "q6_k": (208,), "q5_1": (0, 2)}[name]
    for at in places:
        data[..., at : at + 2] = (0.01 + 0.05 * torch.rand(rows, count, 1, generator=draw)).half().view(torch.uint8)
    return Lying(shape=(rows, columns), format=fmt, values=data.view(rows, -1), spans=())


def stacked(*pieces: Any, dtype: torch.dtype = torch.bfloat16) -> Weights:
    return Weights(pieces=pieces, dtype=dtype, device=CPU)


def error(found: torch.Tensor, true: torch.Tensor) -> float:
    return float((found.double() - true.double()).norm() / true.double().norm())


@pytest.mark.parametrize("dtype", WORDS)
@pytest.mark.parametrize("form", WORST)
@pytest.mark.parametrize("shape", SHAPES)
def test_every_form_gives_the_dense_product_within_its_rounding_and_takes_the_bytes_of_the_formula(
    shape: tuple[int, int], form: str, dtype: torch.dtype
) -> None:
    out, columns = shape
    weight, bias = (normal(*shape) * columns**-0.5).to(dtype), normal(out, dtype=dtype)
    forms = Forms(form)
    layer = forms(weight, bias)
    for rows in (0, 1, 5, bytewise.FEW_ROWS, bytewise.FEW_ROWS + 1, int4.FEW_ROWS, int4.FEW_ROWS + 1):
        x = normal(rows, columns, dtype=dtype, seed=rows)
        found, true = layer(x), x.double() @ weight.double().t() + bias.double()
        assert found.shape == true.shape
        assert found.dtype == dtype
        assert rows == 0 or error(found, true) < WORST[form]
    kept = runs(form, [(WORDS[dtype], out)], columns, dtype=WORDS[dtype], device="cpu")
    assert layer.nbytes == runs_bytes(kept, columns, WORDS[dtype]) + bias.nbytes
    assert forms.scratch_bytes == scratch_bytes(kept[0].form, out, columns, WORDS[dtype])


@pytest.mark.parametrize("form", ["int8", "int4"])
def test_the_kernel_for_few_rows_and_the_unpacked_product_agree(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    weight, x = normal(192, 128, dtype=torch.bfloat16), normal(9, 128, dtype=torch.bfloat16)
    by_kernel = Forms(form)(weight)
    monkeypatch.setattr(bytewise, "FEW_ROWS", 0)
    monkeypatch.setattr(int4, "FEW_ROWS", 0)
    assert error(Forms(form)(weight)(x), by_kernel(x)) < 0.005


@pytest.mark.parametrize("form", ["native", "int8", "fp8", "int4"])
def test_rows_of_x_may_lie_apart(form: str) -> None:
    weight, wide = normal(64, 64, dtype=torch.bfloat16), normal(100, 128, dtype=torch.bfloat16)
    layer = Forms(form)(weight)
    for rows in (3, 100):
        assert error(layer(wide[:rows, 64:]), layer(wide[:rows, 64:].contiguous())) < 0.003


@pytest.mark.parametrize("name", ["q4_0", "q4_1", "q4_k"])
def test_four_bit_blocks_stay_packed_and_every_code_stays_itself(name: str) -> None:
    stored = blocks(name, 128, 512)
    layer = Forms("native")(stacked(stored))
    assert isinstance(layer, Int4)
    assert layer.nbytes == matrix_bytes(WeightForm.INT4, 128, 512, 2) == 128 * 512 * 20 // 32
    true = stored.dense(torch.float32)
    groups = steps.Reader(stored).rows(0, 128)
    scale = groups.scale.float().repeat_interleave(32, dim=1)
    values = (groups.codes.float() - CENTRE) * scale + groups.offset.float().repeat_interleave(32, dim=1)
    # scale and offset are rounded to bfloat16: half a unit in their last place for the farthest code and for the offset
    allowed = (8 * scale.abs() + groups.offset.float().abs().repeat_interleave(32, dim=1)) * 2**-8
    assert bool(((values - true).abs() <= allowed).all())
    assert error(layer(torch.eye(512, dtype=torch.bfloat16)).t(), true) < 0.004  # all rows at once: unpacked
    x = normal(4, 512, dtype=torch.bfloat16)
    assert error(layer(x), x.double() @ true.double().t()) < 0.006


@pytest.mark.parametrize(("dtype", "device"), [("float32", "cpu"), ("bfloat16", "cuda"), ("float16", "cuda")])
def test_where_no_kernel_reads_codes_native_weights_are_dense(dtype: str, device: str) -> None:
    assert {form_of("native", name, 256, dtype=dtype, device=device) for name in ("q4_0", "q4_1", "q4_k", "q8_0")} == {WeightForm.DENSE}


def test_in_float32_native_blocks_give_the_file_s_own_numbers() -> None:
    stored = blocks("q4_1", 64, 64)
    layer = Forms("native")(stacked(stored, dtype=torch.float32))
    assert isinstance(layer, Plain)
    assert torch.equal(layer(torch.eye(64)).t(), stored.dense(torch.float32))


def test_parts_of_a_fused_matrix_that_are_stored_in_other_formats_keep_their_own_forms() -> None:
    pieces = (blocks("q4_k", 128, 256), blocks("q4_0", 64, 256), blocks("q6_k", 64, 256))
    bias = normal(256, dtype=torch.bfloat16)
    layer = Forms("native")(stacked(*pieces), bias)
    assert isinstance(layer, Beside)
    kept = runs("native", [(piece.format.name, piece.shape[0]) for piece in pieces], 256, dtype="bfloat16", device="cpu")
    assert kept == ((WeightForm.INT4, 192), (WeightForm.DENSE, 64))
    assert layer.nbytes == runs_bytes(kept, 256, "bfloat16") + bias.nbytes
    x, true = normal(3, 256, dtype=torch.bfloat16), torch.cat([piece.dense(torch.float32) for piece in pieces])
    assert error(layer(x), x.double() @ true.double().t() + bias.double()) < 0.006


@given(rows=st.lists(st.integers(1, 90), min_size=1, max_size=4), data=st.data())
@settings(max_examples=40, deadline=None)
def test_rows_of_stacked_weights_are_those_of_the_whole(rows: list[int], data: st.DataObject) -> None:
    weights = stacked(*(Given(values=normal(count, 8, seed=count)) for count in rows), dtype=torch.float32)
    whole = weights.dense()
    begin = data.draw(st.integers(0, sum(rows) - 1))
    end = data.draw(st.integers(begin + 1, sum(rows)))
    assert torch.equal(weights.rows(begin, end), whole[begin:end])
    assert [part.shape[0] for part in weights.cut(*rows)] == rows


def test_many_pieces_are_quantised_as_each_alone_would_be() -> None:
    first, second = normal(40, 64, dtype=torch.bfloat16), normal(50, 64, dtype=torch.bfloat16, seed=1)
    x = normal(3, 64, dtype=torch.bfloat16)
    for form in ("int8", "fp8", "int4"):
        together = Forms(form)(stacked(Given(values=first), Given(values=second)))
        apart = torch.cat((Forms(form)(first)(x), Forms(form)(second)(x)), dim=-1)
        assert torch.equal(together(x), apart)


def test_layers_share_one_scratch_as_large_as_the_largest_asks() -> None:
    scratch = Scratch(CPU)
    forms = Forms("int4", scratch)
    layers: list[Linear] = [forms(normal(*shape, dtype=torch.bfloat16)) for shape in ((128, 64), (4096, 1024), (64, 512))]
    assert scratch.nbytes == forms.scratch_bytes == scratch_bytes(WeightForm.INT4, 4096, 1024, "bfloat16")
    assert tile_rows(4096, 1024) == 2048  # two tiles
    for layer, columns in zip(layers, (64, 1024, 512), strict=True):
        assert layer(normal(100, columns, dtype=torch.bfloat16)).isfinite().all()


def test_a_scratch_gives_no_more_than_was_reserved() -> None:
    scratch = Scratch(CPU)
    scratch.reserve(64)
    with pytest.raises(ValueError, match="no room for 128"):
        scratch.views((torch.float32, (32,)))


@given(st.integers(1, 200_000), st.integers(1, 40_000), st.sampled_from(WeightForm), st.sampled_from(sorted(ELEMENT_BYTES)))
def test_a_tile_is_bounded_or_a_single_block_of_rows(out: int, columns: int, form: WeightForm, dtype: str) -> None:
    rows = tile_rows(out, columns)
    assert rows % 64 == 0
    assert rows <= -(-out // 64) * 64
    assert rows * columns <= 1 << 21 or rows == 64
    assert scratch_bytes(form, out, columns, dtype) <= max(1 << 21, 64 * columns) * (3 + ELEMENT_BYTES[dtype])


@given(st.integers(1, 5000), st.integers(1, 300), st.sampled_from(["bfloat16", "float32"]))
def test_fewer_bits_never_take_more_bytes_than_whole_blocks_of_rows_explain(out: int, groups: int, dtype: str) -> None:
    element, columns = ELEMENT_BYTES[dtype], 32 * groups
    whole = -(-out // 64) * 64
    assert matrix_bytes(WeightForm.INT4, out, columns, element) == whole * groups * 20
    assert matrix_bytes(WeightForm.INT8, out, columns, element) == out * (columns + element)
    assert matrix_bytes(WeightForm.DENSE, out, columns, element) == out * columns * element


def test_only_matrices_that_packing_does_not_pad_are_packed() -> None:
    for out, columns in SHAPES:
        layer = Forms("native")(normal(out, columns, dtype=torch.bfloat16))
        assert type(layer) is (Packed if packs(out, columns) else Plain)
        assert layer.nbytes == out * columns * 2


@pytest.mark.parametrize("values", [torch.zeros(64, 64), torch.full((64, 64), -3.0), 1e30 * torch.eye(64), 1e-30 * torch.eye(64)])
@pytest.mark.parametrize("form", ["int8", "fp8", "int4"])
def test_rows_without_a_spread_and_numbers_at_the_ends_stay_what_they_are(values: torch.Tensor, form: str) -> None:
    found = Forms(form)(values.bfloat16())(torch.eye(64, dtype=torch.bfloat16)).t().float()
    assert bool(((found - values).abs() <= 0.01 * values.abs().max()).all())


def test_codes_come_back_from_any_order_of_the_kernel() -> None:
    codes = torch.randint(0, 16, (128, 96), dtype=torch.uint8)
    orders = [
        order_of_kernel(),
        nibbles.Order(block=32, low=slice(0, 16), high=slice(16, 32), kernel=True),
        nibbles.Order(block=16, low=slice(0, 16, 2), high=slice(1, 16, 2), kernel=True),
    ]
    for order in orders:
        out = torch.empty(128 // order.block, 96, order.block, dtype=torch.uint8)
        unpack_codes(pack(codes, order), order, out)
        assert torch.equal(out.transpose(1, 2).reshape(128, 96), codes)


def test_on_a_processor_the_order_is_read_off_the_packer() -> None:
    assert order_of_kernel().kernel


def test_an_order_that_is_not_understood_is_never_multiplied_by(monkeypatch: pytest.MonkeyPatch) -> None:
    true_pack = nibbles._PACK
    monkeypatch.setattr(nibbles, "_PACK", lambda codes, tiles: true_pack(codes, tiles).flip(-1))
    order = order_of_kernel.__wrapped__()
    assert not order.kernel
    monkeypatch.setattr(int4, "order_of_kernel", lambda: order)
    weight, x = normal(100, 64, dtype=torch.bfloat16), normal(2, 64, dtype=torch.bfloat16)
    layer = Forms("int4")(weight)
    assert layer._few == 0
    assert error(layer(x), x.double() @ weight.double().t()) < WORST["int4"]


def test_a_build_without_the_kernel_unpacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nibbles, "_PRODUCT", None)
    assert not order_of_kernel.__wrapped__().kernel


def test_searched_groups_lose_less_than_groups_from_their_ends_and_than_symmetric_ones() -> None:
    values = normal(64, 320)
    groups = values.view(64, -1, 32)
    found = steps.searched(values)
    searched = (found.codes.view_as(groups) - 8.0) * found.scale.float()[..., None] + found.offset.float()[..., None]
    low, high = groups.aminmax(dim=-1, keepdim=True)
    step = (high - low) / 15
    from_ends = ((groups - low) / step).round() * step + low
    even = groups.abs().amax(dim=-1, keepdim=True) / 7
    symmetric = (groups / even).round().clamp(-8, 7) * even
    lost, ends, both = (error(one, groups) ** 2 for one in (searched, from_ends, symmetric))
    assert lost < 0.95 * ends
    assert lost < 0.6 * both


def test_weights_on_the_grid_of_a_file_are_found_again_where_both_ends_of_it_occur() -> None:
    stored = blocks("q4_1", 64, 512)
    codes = steps.Reader(stored).rows(0, 64).codes.view(-1, 32)
    ends = (codes.amin(dim=1) == 0) & (codes.amax(dim=1) == 15)  # as they do where a file's writer took a block's least and largest
    assert ends.float().mean() > 0.5
    true = stored.dense(torch.float32).view(-1, 32)[ends]
    found = steps.searched(stored.dense(torch.float32).bfloat16().float())
    assert torch.equal(found.codes.view(-1, 32)[ends], codes[ends])
    scale, offset = found.scale.float().view(-1, 1), found.offset.float().view(-1, 1)
    assert error(((found.codes.view(-1, 32) - 8.0) * scale + offset)[ends], true) < 2**-8


def test_shifted_bits_are_the_numbers_of_e4m3() -> None:
    codes = torch.arange(256, dtype=torch.int32).to(torch.uint8).view(torch.float8_e4m3fn).view(2, 128)
    layer = Forms("fp8")(normal(2, 128, dtype=torch.bfloat16))
    assert isinstance(layer, bytewise.Fp8)
    found, true = layer._unpacked(codes, torch.bfloat16).float(), codes.float()
    assert torch.equal(found[~true.isnan()], true[~true.isnan()])


def test_a_head_never_gets_four_bits_unasked() -> None:
    assert [head_word(word) for word in ("native", "int8", "int4", "fp8")] == ["native", "int8", "int8", "fp8"]


def test_a_tensor_in_memory_is_read_as_one_in_a_file() -> None:
    values = normal(6, 4)
    weights = weights_of(values)
    assert weights.shape == (6, 4)
    assert weights.stored == (("float32", 6),)
    assert torch.equal(weights.dense(), values)
    assert weights.dense().data_ptr() != values.data_ptr()


def test_a_head_that_is_the_table_is_one_tensor_with_it_where_the_table_is_in_memory(tmp_path: Path) -> None:
    """Away from the processor the table is no mapped file; a device without memory stands in for one."""
    folder = str(tiny_model(tmp_path, TINY_CONFIGS["llama_tied"]))
    here, away = (load(folder, dtype=torch.float32, device=torch.device(name)) for name in ("cpu", "meta"))
    assert here.decoder.weight_bytes - away.decoder.weight_bytes == 320 * 64 * 4
    assert shares_table("native", "float32", 64, dtype="float32", device="meta")
    assert not shares_table("int8", "float32", 64, dtype="float32", device="meta")
    assert not shares_table("native", "float32", 64, dtype="float32", device="cpu")
