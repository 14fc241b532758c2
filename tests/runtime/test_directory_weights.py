import json
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.runtime.test_gguf_weights import as_read, names_of
from tests.runtime.tiny import TINY_CONFIGS, blueprint_of, random_tensors, tiny_model, write_safetensors

from ullage.errors import InputError, MalformedFileError, UllageError, UnsupportedModelError, WorldError
from ullage.runtime.loading.names import canonical
from ullage.runtime.loading.release import release, release_all
from ullage.runtime.loading.source import open_source

DTYPES = (torch.bfloat16, torch.float16, torch.float32, torch.float8_e4m3fn, torch.float8_e5m2, torch.int8, torch.uint8, torch.int32)
LLAMA = TINY_CONFIGS["llama"]


def folder_with(path: Path, tensors: dict[str, torch.Tensor], config: dict[str, object] | None = None) -> Path:
    (path / "config.json").write_text(json.dumps(config or {"model_type": "llama"}))
    write_safetensors(path / "model.safetensors", tensors)
    return path


@pytest.mark.parametrize("family", sorted(TINY_CONFIGS))
def test_every_tensor_of_the_blueprint_is_found_with_its_values(tmp_path: Path, family: str) -> None:
    config = TINY_CONFIGS[family]
    source = open_source(str(tiny_model(tmp_path, config)))
    expected = as_read(random_tensors(config))
    assert set(source.names()) == set(expected)
    assert {name for tensor in blueprint_of(config).tensors for name in names_of(tensor)} <= set(expected)
    for name, tensor in expected.items():
        assert torch.equal(source.stored(name).dense(tensor.dtype), tensor), name


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_elements_of_any_dtype_come_back_as_views(tmp_path: Path, dtype: torch.dtype) -> None:
    values = (torch.arange(60).reshape(12, 5) % 13).to(dtype)
    source = open_source(str(folder_with(tmp_path, {"a.weight": values.reshape(-1)[:12].contiguous(), "b.weight": values})))
    stored = source.stored("b.weight")
    assert stored.raw().dtype == dtype
    assert stored.raw().untyped_storage().data_ptr() == source.files[0].data.untyped_storage().data_ptr()
    assert torch.equal(stored.raw().float(), values.float())
    assert torch.equal(stored.dense(torch.float32, slice(2, 7)), values[2:7].float())
    assert stored.nbytes == values.numel() * values.element_size()


@given(st.lists(st.tuples(st.sampled_from(DTYPES), st.lists(st.integers(0, 5), max_size=3)), min_size=1, max_size=6), st.integers(0, 7))
def test_random_files_round_trip(tmp_path_factory: pytest.TempPathFactory, parts: list[tuple[torch.dtype, list[int]]], pad: int) -> None:
    tensors = {"pad": torch.zeros(pad, dtype=torch.uint8)}  # what comes after lies at any byte
    tensors |= {f"t{index}": (torch.randn(shape) * 3).to(dtype) for index, (dtype, shape) in enumerate(parts)}
    source = open_source(str(folder_with(tmp_path_factory.mktemp("random"), tensors)))
    for name, tensor in tensors.items():
        stored = source.stored(name)
        assert stored.shape == tuple(tensor.shape)
        assert torch.equal(stored.dense(torch.float32), tensor.float())


def test_what_is_written_to_a_view_never_reaches_the_file(tmp_path: Path) -> None:
    path = folder_with(tmp_path, {"x": torch.ones(8)})
    before = (path / "model.safetensors").read_bytes()
    source = open_source(str(path))
    source.stored("x").raw().zero_()
    del source
    assert (path / "model.safetensors").read_bytes() == before


def test_a_dense_tensor_is_never_the_file_itself(tmp_path: Path) -> None:
    source = open_source(str(folder_with(tmp_path, {"x": torch.ones(8), "y": torch.tensor(3.0)})))
    for name in ("x", "y"):
        source.stored(name).dense(torch.float32).zero_()
        assert source.stored(name).raw().abs().sum() > 0


def test_mxfp4_experts_become_blocks_with_the_same_numbers(tmp_path: Path) -> None:
    experts, rows, groups = 2, 6, 3
    table = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6])
    blocks = torch.randint(0, 256, (experts, rows, groups, 16), dtype=torch.uint8)
    scales = torch.randint(120, 130, (experts, rows, groups), dtype=torch.uint8)
    at = "model.layers.0.mlp.experts"
    tensors = {f"{at}.gate_up_proj_blocks": blocks, f"{at}.gate_up_proj_scales": scales}
    config = {"model_type": "gpt_oss", "quantization_config": {"quant_method": "mxfp4"}}
    source = open_source(str(folder_with(tmp_path, tensors, config)))
    numbers = torch.stack((blocks & 15, blocks >> 4), dim=-1).flatten(-2)
    expected = (table[numbers.int()] * torch.exp2(scales.float() - 127)[..., None]).flatten(-2)
    for expert in range(experts):
        gate, up = (source.stored(f"{at}.{expert}.{word}_proj.weight") for word in ("gate", "up"))
        assert gate.format.name == "mxfp4"
        assert gate.shape == (rows // 2, 32 * groups)
        assert gate.raw().shape == (rows // 2, 17 * groups)
        assert torch.equal(gate.dense(torch.float32), expected[expert, ::2])
        assert torch.equal(up.dense(torch.float32, slice(1, 3)), expected[expert, 1::2][1:3])


@pytest.mark.parametrize(
    ("scale_shape", "word", "block"),
    [((3, 2), "weight_scale_inv", [16, 32]), ((40, 1), "weight_scale", None), ((), "weight_scale", None), ((1,), "weight_scale", None)],
)
def test_fp8_weights_are_multiplied_by_their_scales(
    tmp_path: Path, scale_shape: tuple[int, ...], word: str, block: list[int] | None
) -> None:
    codes = torch.randn(40, 50).to(torch.float8_e4m3fn)
    scale = torch.rand(scale_shape) + 0.5
    scheme = {"quant_method": "fp8"} | ({"weight_block_size": block} if block else {})
    tensors = {"a.weight": codes, f"a.{word}": scale, "b.weight": torch.ones(3, 3)}
    source = open_source(str(folder_with(tmp_path, tensors, {"model_type": "llama", "quantization_config": scheme})))
    assert source.names() == ("a.weight", "b.weight")
    high, wide = block or ((1, 50) if scale_shape == (40, 1) else (40, 50))
    spread = torch.stack([torch.stack([scale.reshape(-1, -(-50 // wide))[r // high, c // wide] for c in range(50)]) for r in range(40)])
    assert torch.equal(source.stored("a.weight").dense(torch.float32), codes.float() * spread)
    assert torch.equal(source.stored("a.weight").dense(torch.float32, slice(15, 33)), (codes.float() * spread)[15:33])


def test_a_scale_that_fits_no_weight_is_refused(tmp_path: Path) -> None:
    tensors = {"a.weight": torch.zeros(8, 8).to(torch.float8_e4m3fn), "a.weight_scale": torch.ones(3)}
    folder_with(tmp_path, tensors, {"model_type": "llama", "quantization_config": {"quant_method": "fp8"}})
    with pytest.raises(MalformedFileError, match=r"a\.weight_scale of shape \[3\]"):
        open_source(str(tmp_path))


def test_shards_are_one_model(tmp_path: Path) -> None:
    tensors = random_tensors(LLAMA)
    names = list(tensors)
    shards = {"model-00001-of-00002.safetensors": names[:10], "model-00002-of-00002.safetensors": names[10:]}
    for file, part in shards.items():
        write_safetensors(tmp_path / file, {name: tensors[name] for name in part})
    (tmp_path / "config.json").write_text(json.dumps(LLAMA))
    index = {"weight_map": {name: file for file, part in shards.items() for name in part}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    source = open_source(str(tmp_path))
    assert set(source.names()) == set(names)
    assert json.loads(source.documents["config.json"]) == LLAMA
    (tmp_path / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(WorldError, match="model-00002-of-00002"):
        open_source(str(tmp_path))


def test_a_tensor_in_two_shards_is_refused(tmp_path: Path) -> None:
    folder_with(tmp_path, {"x": torch.ones(2)})
    for number in (1, 2):
        write_safetensors(tmp_path / f"model-{number:05d}-of-00002.safetensors", {"x": torch.ones(2)})
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(MalformedFileError, match="'x' stands in"):
        open_source(str(tmp_path))


@pytest.mark.parametrize("method", ["gptq", "awq", "compressed-tensors", "bitsandbytes"])
def test_quantised_checkpoints_are_refused_by_their_method(tmp_path: Path, method: str) -> None:
    folder_with(tmp_path, {"x": torch.ones(2)}, {"model_type": "llama", "quantization_config": {"quant_method": method}})
    with pytest.raises(UnsupportedModelError, match=method):
        open_source(str(tmp_path))


def test_a_missing_tensor_is_named_with_the_nearest(tmp_path: Path) -> None:
    source = open_source(str(tiny_model(tmp_path, LLAMA)))
    with pytest.raises(MalformedFileError, match=r"layers\.0\.self_attn\.w_proj\.weight; the nearest names are .*q_proj"):
        source.stored("model.layers.0.self_attn.w_proj.weight")


@pytest.mark.parametrize("keep", [0, 5, 30, 4000, -64, -1])
def test_a_file_that_is_cut_off_is_refused(tmp_path: Path, keep: int) -> None:
    file = tiny_model(tmp_path, LLAMA) / "model.safetensors"
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(MalformedFileError, match=r"model\.safetensors"):
        open_source(str(file.parent))


@given(st.binary(max_size=200))
def test_no_bytes_break_the_reader_in_another_way(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.mktemp("bytes")
    (path / "config.json").write_text("{}")
    (path / "model.safetensors").write_bytes(data)
    with pytest.raises(UllageError):
        open_source(str(path))


def test_a_folder_without_a_configuration_is_refused(tmp_path: Path) -> None:
    write_safetensors(tmp_path / "model.safetensors", {"x": torch.ones(2)})
    with pytest.raises(InputError, match=r"config\.json"):
        open_source(str(tmp_path))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("model.layers.3.mlp.up_proj.weight", "model.layers.3.mlp.up_proj.weight"),
        ("layers.3.mlp.up_proj.weight", "model.layers.3.mlp.up_proj.weight"),
        ("language_model.model.norm.weight", "model.norm.weight"),
        ("model.language_model.embed_tokens.weight", "model.embed_tokens.weight"),
        ("language_model.lm_head.weight", "lm_head.weight"),
        ("lm_head.weight", "lm_head.weight"),
    ],
)
def test_wrappers_before_a_name_do_not_matter(name: str, expected: str) -> None:
    assert canonical(name) == expected
    assert canonical(expected) == expected


def resident_file_bytes() -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.partition("RssFile:")[2].split()[0]) * 1024


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="resident file pages are counted by Linux only")
def test_released_pages_no_longer_count_and_views_stay_valid(tmp_path: Path) -> None:
    size = 32 << 20
    values = {name: torch.full((size,), number, dtype=torch.uint8) for number, name in enumerate(("x", "y"), 1)}
    source = open_source(str(folder_with(tmp_path, values)))
    before = resident_file_bytes()
    first, second = source.stored("x"), source.stored("y")
    assert first.raw().max() == 1
    assert second.raw().max() == 2
    assert resident_file_bytes() - before > 1.9 * size
    release(first)
    assert resident_file_bytes() - before < 1.1 * size
    assert first.raw()[size // 2] == 1
    release_all(source)
    assert resident_file_bytes() - before < 0.1 * size
    assert int(second.raw()[-1]) == 2
