"""What no model can be is refused while its configuration is read, before anything is built for it."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from ullage.architectures import families, read
from ullage.domain.hyperparameters import Hyperparameters, Json
from ullage.errors import MalformedFileError, UnsupportedModelError

CONFIGS = Path(__file__).parents[2] / "src" / "ullage" / "catalog" / "configs"
LAYER_KEYS = {"num_hidden_layers", "n_layer", "n_layers", "num_layers", "depth", "num_nextn_predict_layers"}
SMALL: dict[str, Json] = {
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "vocab_size": 256,
    "max_position_embeddings": 512,
}


def one_of_each_type() -> Iterator[dict[str, Json]]:
    seen = set()
    for path in sorted(CONFIGS.glob("*.json")):
        config = json.loads(path.read_text(encoding="utf-8"))
        if config.get("model_type") not in seen:
            seen.add(config.get("model_type"))
            yield config


def places(config: dict[str, Json]) -> Iterator[tuple[dict[str, Json], str]]:
    """Every layer count that a configuration states, outside or in a nested object."""
    for key, value in config.items():
        if isinstance(value, dict):
            yield from places(value)
        elif key in LAYER_KEYS and isinstance(value, int):
            yield config, key


def test_no_family_builds_a_million_million_layers() -> None:
    refused = 0
    for config in one_of_each_type():
        for place, key in tuple(places(config)):
            before, place[key] = place[key], 10**12
            try:
                model = read(Hyperparameters(config))
            except (MalformedFileError, UnsupportedModelError):
                refused += 1
            else:  # the family has no use for this count
                assert len(model.architecture.layers) < 1000
            place[key] = before
    assert refused > len(families()) // 3


@pytest.mark.parametrize(
    "changes",
    [
        {"num_hidden_layers": 10_001},
        {"num_hidden_layers": 10**4000},
        {"num_attention_heads": 10_001},
        {"num_hidden_layers": 10_000, "num_attention_heads": 8_000, "head_dim": 8},
        {"model_type": "mixtral", "num_local_experts": 10**6, "num_experts_per_tok": 2},
        {"model_type": "nemotron_h", "hybrid_override_pattern": "M" * 10_001},
        {"model_type": "qwen3", "layer_types": ["full_attention"] * 10_001},
    ],
    ids=str,
)
def test_more_than_any_model_has_is_refused_by_key(changes: dict[str, Json]) -> None:
    with pytest.raises(
        (MalformedFileError, UnsupportedModelError),
        match=r"(_layers|_heads|experts|pattern|layer_types) (is|has) .* (most|to 1099511627776)",
    ):
        read(Hyperparameters({**SMALL, **changes}))


def test_a_count_at_the_bound_is_read() -> None:
    assert Hyperparameters({"num_hidden_layers": 10_000}).integer("num_hidden_layers") == 10_000
    assert Hyperparameters({"mamba_d_head": 20_000}).integer("mamba_d_head") == 20_000


@pytest.mark.parametrize(("heads", "kv_heads"), [(7, 8), (32, 64), (8, 3)])
def test_heads_that_cannot_be_grouped_are_refused_with_both_numbers(heads: int, kv_heads: int) -> None:
    with pytest.raises(MalformedFileError, match=rf"{heads} query heads for {kv_heads} heads"):
        read(Hyperparameters({**SMALL, "num_attention_heads": heads, "num_key_value_heads": kv_heads, "head_dim": 8}))


def test_an_unknown_type_that_is_like_no_other_lists_no_others() -> None:
    with pytest.raises(UnsupportedModelError, match=r"none of the \d+ known is like it\. `ullage models --families`"):
        read(Hyperparameters({"model_type": "zzzzzz"}))
    with pytest.raises(UnsupportedModelError, match=r"the nearest known are .*qwen3"):
        read(Hyperparameters({"model_type": "qwen33"}))


def test_a_value_that_is_no_number_is_not_called_missing() -> None:
    with pytest.raises(UnsupportedModelError, match=r"states no number or value for 'hidden_size'"):
        read(Hyperparameters({**SMALL, "hidden_size": None}))
