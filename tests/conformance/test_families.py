"""Every bundled configuration read by its family: whole, to the last parameter, with nothing left unread."""

import contextlib
import csv
import json
from functools import cache
from pathlib import Path

import pytest

from ullage.architectures import families, read
from ullage.domain.architecture import FullAttention, SharedCache, SlidingAttention
from ullage.domain.checkpoint import LINEAR_ROLES, Part, Role
from ullage.domain.family import Blueprint
from ullage.domain.hyperparameters import Hyperparameters, Json
from ullage.errors import MalformedFileError, UnsupportedModelError

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / "src" / "ullage" / "catalog" / "configs"
FILES = sorted(path.name for path in CONFIGS.glob("*.json"))
COUNTS = {
    row["file"]: row for row in csv.DictReader((ROOT / "tests" / "data" / "param_counts.csv").read_text(encoding="utf-8").splitlines())
}
# The published source of these lacks sizes; each is refused with the first key that is missing.
INCOMPLETE = {
    "cloudyu__Mixtral_11Bx2_MoE_19B.json": "num_attention_heads",
    "deepseek-ai__DeepSeek-V4.1-Flash.json": "text_config.index_n_heads",
    "mistralai__Mistral-Medium-3.5-128B.json": "text_config.vocab_size",
    "xai-org__grok-2.json": "vocab_size",
}
COMPLETE = [name for name in FILES if name not in INCOMPLETE]
# No class of transformers counts these; the sizes are the publishers'.
PUBLISHED = {
    "MiniMaxAI__MiniMax-M3.json": 428e9,
    "moonshotai__Kimi-K3.json": 2.8e12,
    "nvidia__Llama-3_3-Nemotron-Super-49B-v1.json": 49.87e9,
}


def raw(name: str) -> dict[str, Json]:
    found = json.loads((CONFIGS / name).read_text(encoding="utf-8"))
    assert isinstance(found, dict)
    return found


@cache
def blueprint(name: str) -> tuple[Blueprint, tuple[str, ...]]:
    config = Hyperparameters(raw(name))
    return read(config), config.unread()


def parameters(model: Blueprint) -> int:
    return model.parameters


@pytest.mark.parametrize("name", COMPLETE)
def test_the_parameter_count_is_that_of_the_reference(name: str) -> None:
    count = parameters(blueprint(name)[0])
    if COUNTS[name]["parameters"]:
        assert count == int(COUNTS[name]["parameters"])
    else:
        assert count == pytest.approx(PUBLISHED[name], rel=0.01)


@pytest.mark.parametrize("name", COMPLETE)
def test_no_key_that_may_matter_is_left_unread(name: str) -> None:
    assert blueprint(name)[1] == ()


@pytest.mark.parametrize("name", sorted(INCOMPLETE))
def test_a_configuration_without_sizes_is_refused_by_the_missing_key(name: str) -> None:
    with pytest.raises(UnsupportedModelError, match=INCOMPLETE[name]):
        read(Hyperparameters(raw(name)))


@pytest.mark.parametrize("name", COMPLETE)
def test_tensors_are_named_once_and_belong_to_layers_that_exist(name: str) -> None:
    model = blueprint(name)[0]
    names = [tensor.name for tensor in model.tensors]
    assert len(names) == len(set(names))
    layers = len(model.architecture.layers)
    assert all(tensor.layer is None or 0 <= tensor.layer < layers for tensor in model.tensors)
    assert {tensor.layer for tensor in model.tensors} >= set(range(layers))


@pytest.mark.parametrize("name", COMPLETE)
def test_roles_say_what_shapes_allow(name: str) -> None:
    model = blueprint(name)[0]
    size = model.architecture
    tables = [tensor for tensor in model.tensors if tensor.role is Role.EMBEDDING]
    assert tables
    assert tables[0].shape[0] >= size.vocab_size  # a few rows may follow that are no tokens
    heads = [tensor for tensor in model.tensors if tensor.role is Role.HEAD and tensor.part is Part.WEIGHT]
    assert len(heads) == (0 if size.tied_embeddings else 1)
    for tensor in model.tensors:
        assert all(extent > 0 for extent in tensor.shape)
        if tensor.role in LINEAR_ROLES and tensor.part is Part.WEIGHT:
            assert len(tensor.shape) == 2, tensor.name


@pytest.mark.parametrize("name", COMPLETE)
def test_a_shared_cache_is_that_of_an_earlier_layer_that_has_one(name: str) -> None:
    layers = blueprint(name)[0].architecture.layers
    for index, layer in enumerate(layers):
        for mixer in layer.mixers:
            if isinstance(mixer, SharedCache):
                assert mixer.source_layer < index
                assert not any(isinstance(own, SharedCache) for own in layers[mixer.source_layer].mixers)
            if isinstance(mixer, FullAttention | SlidingAttention):
                assert mixer.query_heads % mixer.kv_heads == 0


@pytest.mark.parametrize("model_type", sorted(families()))
@pytest.mark.parametrize("nested", [{}, {"text_config": {}}, {"text_config": 1}], ids=["flat", "nested", "wrong"])
def test_a_family_refuses_an_empty_configuration_or_takes_its_class_defaults(model_type: str, nested: dict[str, Json]) -> None:
    config = Hyperparameters({"model_type": model_type, **_of_type(nested, model_type)})
    with contextlib.suppress(UnsupportedModelError, MalformedFileError):
        assert parameters(families()[model_type].read(config)) > 0


def _of_type(nested: dict[str, Json], model_type: str) -> dict[str, Json]:
    """The same with every object inside claiming to be of the outer type."""
    return {key: {"model_type": model_type} if isinstance(value, dict) else value for key, value in nested.items()}


@pytest.mark.parametrize("name", COMPLETE[::7])
def test_a_width_that_is_no_number_is_a_malformed_file(name: str) -> None:
    config = raw(name)
    inner = config["text_config"] if isinstance(config.get("text_config"), dict) else config
    assert isinstance(inner, dict)
    key = next(key for key in ("hidden_size", "d_model", "n_embd") if key in inner)
    inner[key] = "many"
    with pytest.raises(MalformedFileError, match=key):
        read(Hyperparameters(config))
