"""Models on a real disk, with true headers and no weights read."""

import json
import os
import struct
from pathlib import Path

import pytest

from ullage.catalog import models as catalogue
from ullage.commands.model import Loaded, read_model
from ullage.domain.hyperparameters import Json
from ullage.errors import InputError, MalformedFileError, UllageError, UnsupportedModelError, WorldError
from ullage.ports import ModelFolder
from ullage.world import files
from ullage.world.real import RealModels

SMALL: dict[str, Json] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 256,
    "max_position_embeddings": 512,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
}


def load(word: str | Path, quantisation: str | None = None) -> Loaded:
    return read_model(str(word), RealModels(offline=True), quantisation=quantisation)


def write_config(folder: Path, **changes: Json) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps({**SMALL, **changes}))


def tensors_of(folder: Path) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the tensors the configuration means, experts aside."""
    return {tensor.name: tensor.shape for tensor in load(folder / "config.json").model.checkpoint.tensors}


def write_safetensors(path: Path, tensors: dict[str, tuple[int, ...]], *, dtype: str = "BF16", width: int = 2) -> int:
    """A true safetensors file whose data is a hole in the file, so that it takes no room; returns the bytes of its data."""
    header, position = {}, 0
    for name, shape in tensors.items():
        size = width
        for length in shape:
            size *= length
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [position, position + size]}
        position += size
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + position)
    return position


def write_sharded(folder: Path) -> list[str]:
    tensors = tensors_of(folder)
    names = [f"model-{number:05d}-of-00003.safetensors" for number in (1, 2, 3)]
    places = {name: names[index % 3] for index, name in enumerate(tensors)}
    for shard in names:
        write_safetensors(folder / shard, {name: shape for name, shape in tensors.items() if places[name] == shard})
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
    return names


def test_a_configuration_alone_is_sized_by_rule(tmp_path: Path) -> None:
    write_config(tmp_path)
    for word in (tmp_path, tmp_path / "config.json"):
        model = load(word).model
        assert not model.checkpoint.exact
        assert model.checkpoint.nbytes == model.parameters * 2


def test_a_directory_with_weights_is_sized_exactly(tmp_path: Path) -> None:
    write_config(tmp_path)
    nbytes = write_safetensors(tmp_path / "model.safetensors", tensors_of(tmp_path))
    model = load(tmp_path).model
    assert model.checkpoint.exact
    assert model.checkpoint.nbytes == nbytes


def test_weights_win_over_what_the_configuration_says_of_their_dtype(tmp_path: Path) -> None:
    write_config(tmp_path)
    nbytes = write_safetensors(tmp_path / "model.safetensors", tensors_of(tmp_path), dtype="F32", width=4)
    assert load(tmp_path).model.checkpoint.nbytes == nbytes


def test_shards_are_read_together_and_from_any_one_of_them(tmp_path: Path) -> None:
    write_config(tmp_path)
    names = write_sharded(tmp_path)
    whole = load(tmp_path).model.checkpoint.nbytes
    assert whole == load(tmp_path / "config.json").model.checkpoint.nbytes
    assert load(tmp_path / names[1]).model.checkpoint.nbytes == whole


@pytest.mark.parametrize("gone", [0, 1, 2])
def test_a_missing_shard_is_named(tmp_path: Path, gone: int) -> None:
    write_config(tmp_path)
    names = write_sharded(tmp_path)
    (tmp_path / names[gone]).unlink()
    with pytest.raises(WorldError, match=names[gone]):
        load(tmp_path)


def test_a_shard_that_only_the_index_knows_is_named(tmp_path: Path) -> None:
    write_config(tmp_path)
    tensors = tensors_of(tmp_path)
    write_safetensors(tmp_path / "first.safetensors", tensors)
    write_safetensors(tmp_path / "second.safetensors", {"extra": (1,)})
    places = dict.fromkeys(tensors, "first.safetensors") | {"lost": "third.safetensors"}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    with pytest.raises(WorldError, match=r"third\.safetensors"):
        load(tmp_path)


def test_a_header_longer_than_the_first_bytes_is_read_to_its_end(tmp_path: Path) -> None:
    write_config(tmp_path)
    path = tmp_path / "model.safetensors"
    write_safetensors(path, {f"model.extra.{'x' * 200}.{index}": (1,) for index in range(8000)} | tensors_of(tmp_path))
    assert path.stat().st_size > 1 << 20
    assert load(tmp_path).model.checkpoint.exact


def test_only_headers_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_config(tmp_path, hidden_size=1024, intermediate_size=4096, vocab_size=32000)
    size = write_safetensors(tmp_path / "model.safetensors", tensors_of(tmp_path))
    asked: list[int] = []
    beginning = files._beginning
    monkeypatch.setattr(files, "_beginning", lambda path, nbytes: (asked.append(nbytes), beginning(path, nbytes))[1])
    found = files.open_model(str(tmp_path))
    assert isinstance(found, ModelFolder)
    found.weights[0].beginning(1 << 20)
    assert size > 100 << 20
    assert max(asked[1:]) <= 1 << 20


def test_a_stated_quantisation_is_honoured(tmp_path: Path) -> None:
    write_config(tmp_path / "plain")
    config = {"quant_method": "awq", "bits": 4, "group_size": 64, "zero_point": True, "version": "gemm"}
    write_config(tmp_path / "awq", quantization_config=config)
    plain, stored = load(tmp_path / "plain").model, load(tmp_path / "awq").model
    assert "awq" in stored.checkpoint.scheme
    assert stored.checkpoint.nbytes < plain.checkpoint.nbytes
    assert stored.parameters == plain.parameters


def test_an_unknown_quantisation_is_refused_by_name(tmp_path: Path) -> None:
    write_config(tmp_path, quantization_config={"quant_method": "magic"})
    with pytest.raises(UnsupportedModelError, match="magic"):
        load(tmp_path)


def test_a_quantised_model_is_not_quantised_again(tmp_path: Path) -> None:
    write_config(tmp_path, quantization_config={"quant_method": "fp8"})
    assert any("in place of the published" in note for note in load(tmp_path, "awq").notes)  # no weights are here yet
    write_safetensors(tmp_path / "model.safetensors", {"model.norm.weight": (64,)})
    with pytest.raises(InputError, match="already"):
        load(tmp_path, "awq")


def test_a_key_nobody_reads_is_kept(tmp_path: Path) -> None:
    write_config(tmp_path, attention_of_the_future=3)
    assert load(tmp_path).model.unread == ("attention_of_the_future",)


def test_a_split_gguf_lists_its_missing_part(tmp_path: Path) -> None:
    for number in (1, 3):
        (tmp_path / f"m-{number:05d}-of-00003.gguf").write_bytes(b"GGUF")
    with pytest.raises(WorldError, match=r"m-00002-of-00003\.gguf"):
        load(tmp_path / "m-00001-of-00003.gguf")


def test_several_gguf_files_are_several_models(tmp_path: Path) -> None:
    for name in ("a-Q4_K_M.gguf", "a-Q8_0.gguf"):
        (tmp_path / name).write_bytes(b"GGUF")
    with pytest.raises(InputError, match=r"a-Q4_K_M\.gguf"):
        load(tmp_path)


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"\xff\xfe", b'{"model_type": 3}', b"null"])
def test_a_broken_configuration_is_an_error_of_ours(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "config.json").write_bytes(data)
    with pytest.raises(UllageError):
        load(tmp_path)


@pytest.mark.parametrize("data", [b"", b"short", struct.pack("<Q", 1 << 60), struct.pack("<Q", 4) + b"{}  ", b"\x00" * 64])
def test_broken_weights_name_their_file(tmp_path: Path, data: bytes) -> None:
    write_config(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(data)
    with pytest.raises(MalformedFileError, match=r"model\.safetensors"):
        load(tmp_path)


def test_weights_without_a_configuration_say_what_is_missing(tmp_path: Path) -> None:
    write_safetensors(tmp_path / "model.safetensors", {"a": (1,)})
    with pytest.raises(InputError, match=r"config\.json"):
        load(tmp_path)


@pytest.mark.parametrize("word", ["./nowhere", "nowhere/config.json", "/no/such/model.gguf", "~no-such-user/x.gguf"])
def test_a_path_that_is_not_there_is_said(word: str) -> None:
    with pytest.raises(WorldError, match="does not exist"):
        load(word)


def test_a_hub_id_is_refused_offline_with_the_next_step() -> None:
    with pytest.raises(WorldError, match="--offline"):
        load("some-org/some-model")


def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(InputError, match=r"notes\.txt"):
        load(tmp_path / "notes.txt")


def test_a_bundled_name_needs_no_file() -> None:
    model = load("Qwen3-8B").model
    assert model.name == "Qwen/Qwen3-8B"
    assert model.parameters == 8_190_735_360


def test_a_directory_called_like_a_bundled_model_is_meant_by_its_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_config(tmp_path / "Qwen3-8B")
    monkeypatch.chdir(tmp_path)
    assert load("Qwen3-8B").model.name == "Qwen/Qwen3-8B"
    assert load("./Qwen3-8B").model.parameters < 1_000_000


def test_an_answer_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    goal = tmp_path / "plan.json"
    files.write_whole(str(goal), "one")
    files.write_whole(str(goal), "two")
    assert goal.read_text() == "two"
    with pytest.raises(WorldError, match="-o"):
        files.write_whole(str(tmp_path / "no" / "plan.json"), "three")
    assert [entry.name for entry in tmp_path.iterdir()] == ["plan.json"]


@pytest.mark.parametrize("data", ['{"weight_map": {"a"', "", "[]", '{"weight_map": 5}', '{"weight_map": {}}', '{"weight_map": {"a": 5}}'])
@pytest.mark.parametrize("shards", [0, 1, 3])
def test_a_broken_index_is_named(tmp_path: Path, data: str, shards: int) -> None:
    write_config(tmp_path)
    if shards == 1:
        write_safetensors(tmp_path / "model.safetensors", tensors_of(tmp_path))
    elif shards:
        write_sharded(tmp_path)
    (tmp_path / "model.safetensors.index.json").write_text(data)
    with pytest.raises(MalformedFileError, match=r"model\.safetensors\.index\.json"):
        load(tmp_path)


def test_one_shard_of_several_is_not_the_model(tmp_path: Path) -> None:
    write_config(tmp_path)
    tensors = tensors_of(tmp_path)
    write_safetensors(tmp_path / "first.safetensors", tensors)
    places = dict.fromkeys(tensors, "first.safetensors") | {"lost": "second.safetensors"}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    with pytest.raises(WorldError, match=r"second\.safetensors"):
        load(tmp_path)


def test_weights_beside_the_index_of_other_files_are_read(tmp_path: Path) -> None:
    write_config(tmp_path)
    for name in write_sharded(tmp_path):
        (tmp_path / name).unlink()
    write_safetensors(tmp_path / "model.safetensors", tensors_of(tmp_path))
    assert load(tmp_path).model.checkpoint.exact


def test_weights_without_most_tensors_are_no_whole_model(tmp_path: Path) -> None:
    write_config(tmp_path)
    tensors = tensors_of(tmp_path)
    for kept in ({"model.extra": (4,)}, {name: shape for name, shape in tensors.items() if "layers.1." not in name}):
        write_safetensors(tmp_path / "model.safetensors", kept)
        with pytest.raises(MalformedFileError, match=r"lack \d+ of the \d+ tensors .* not the whole model\. Fetch"):
            load(tmp_path)


def test_a_few_missing_tensors_are_a_note(tmp_path: Path) -> None:
    write_config(tmp_path)
    tensors = {name: shape for name, shape in tensors_of(tmp_path).items() if "k_proj" not in name and "lm_head" not in name}
    write_safetensors(tmp_path / "model.safetensors", tensors)
    assert any("no file has" in note for note in load(tmp_path).notes)


def test_weights_under_names_of_another_tool_are_the_whole_model(tmp_path: Path) -> None:
    write_config(tmp_path)
    tensors = {name.replace("self_attn", "attention").replace("mlp", "swiglu"): shape for name, shape in tensors_of(tmp_path).items()}
    nbytes = write_safetensors(tmp_path / "model.safetensors", tensors)
    assert load(tmp_path).model.checkpoint.nbytes == nbytes


@pytest.mark.parametrize("stated", ["awq", 4, ["awq"], True])
def test_a_quantisation_that_is_no_object_is_refused(tmp_path: Path, stated: Json) -> None:
    write_config(tmp_path, quantization_config=stated)
    with pytest.raises(MalformedFileError, match="quantization_config should be an object"):
        load(tmp_path)


def test_a_broken_file_is_named_once(tmp_path: Path) -> None:
    (tmp_path / "t1.gguf").write_bytes(b"GGUF")
    with pytest.raises(UllageError) as found:
        load(tmp_path / "t1.gguf")
    assert str(found.value).count("t1.gguf") == 1


@pytest.mark.parametrize("path", ["", ".", "/", "..", "a\0b", "x" * 300, "/dev/null/plan.json", "/dev/null", "/dev"])
def test_a_path_that_cannot_be_written_is_an_error_of_the_world(path: str) -> None:
    with pytest.raises(WorldError, match="-o"):
        files.write_whole(path, "text")


@pytest.mark.parametrize("name", ["model.gguf", "model.safetensors", "config.json"])
def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path, name: str) -> None:
    write_config(tmp_path)
    (tmp_path / name).unlink(missing_ok=True)
    os.mkfifo(tmp_path / name)
    for word in (tmp_path / name, tmp_path):
        with pytest.raises(InputError, match="no regular file"):
            load(word)


def test_a_wheel_holds_the_configurations_it_lists() -> None:
    assert len(catalogue.bundled()) > 250
