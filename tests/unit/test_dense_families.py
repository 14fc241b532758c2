"""What dense families keep per token, where their layers differ, and how long their rotary tables are."""

import json
from pathlib import Path

import pytest

from ullage.architectures import read
from ullage.catalog.tensor_formats import BF16
from ullage.domain.architecture import Architecture, DualChunk, FullAttention, Recurrent, RotaryTable, SlidingAttention
from ullage.domain.checkpoint import Role
from ullage.domain.family import Blueprint
from ullage.domain.hyperparameters import Hyperparameters, Json
from ullage.errors import UnsupportedModelError
from ullage.formulas.cache import bytes_per_token

CONFIGS = Path(__file__).parents[2] / "src" / "ullage" / "catalog" / "configs"


def blueprint(name: str, **changes: Json) -> Blueprint:
    config = json.loads((CONFIGS / f"{name}.json").read_text(encoding="utf-8"))
    return read(Hyperparameters({**config, **changes}))


def architecture(name: str, **changes: Json) -> Architecture:
    return blueprint(name, **changes).architecture


def windows(found: Architecture) -> list[int | None]:
    mixers = [layer.mixers[0] for layer in found.layers]
    return [mixer.window_tokens if isinstance(mixer, SlidingAttention) else None for mixer in mixers]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Qwen__Qwen2.5-14B-Instruct-1M", 196608),
        ("Qwen__Qwen2-7B-Instruct", 57344),
        ("Qwen__Qwen1.5-7B-Chat", 524288),
        ("Qwen__Qwen1.5-72B", 2621440),
        ("abacusai__Smaug-72B-v0.1", 2621440),
        ("meta-llama__Llama-2-70b-hf", 327680),
        ("Qwen__Qwen2-72B-Instruct", 327680),
    ],
)
def test_a_token_keeps_the_known_bytes(name: str, expected: int) -> None:
    assert bytes_per_token(architecture(name), BF16) == expected


def test_the_million_token_models_carry_their_dual_chunk_settings() -> None:
    found = architecture("Qwen__Qwen2.5-14B-Instruct-1M").dual_chunk
    assert found is not None
    assert (found.chunk_tokens, found.local_tokens, found.original_max_tokens, found.step_tokens) == (262144, 8192, 262144, 253952)


def test_dual_chunk_settings_left_out_take_the_values_of_the_engine() -> None:
    found = architecture("Qwen__Qwen2-7B-Instruct", dual_chunk_attention_config={"sparse_attention_enabled": True}).dual_chunk
    assert found == DualChunk(
        chunk_tokens=8192, local_tokens=1024, original_max_tokens=0, sparse=True, sparse_threshold_tokens=32768, sparse_last_queries=64
    )


def test_qwen2_windows_its_last_layers_only_where_told_to() -> None:
    assert set(windows(architecture("Qwen__Qwen2-7B-Instruct", sliding_window=4096))) == {None}
    on = architecture("Qwen__Qwen2-7B-Instruct", use_sliding_window=True, sliding_window=4096, max_window_layers=20)
    assert windows(on) == [None] * 20 + [4096] * 8


@pytest.mark.parametrize(
    ("name", "pattern"),
    [
        ("google__gemma-2-9b", [4096, None]),
        ("google__gemma-3-1b-it", [512] * 5 + [None]),
        ("allenai__Olmo-3.1-32B-Instruct", [4096] * 3 + [None]),
        ("LGAI-EXAONE__EXAONE-4.0-32B", [4096] * 3 + [None]),
        ("mistralai__Mistral-7B-v0.1", [4096]),
        ("mistralai__Mistral-Nemo-Base-2407", [None]),
        ("mistralai__Mistral-Large-Instruct-2411", [None]),
    ],
)
def test_windows_repeat_in_the_familys_pattern(name: str, pattern: list[int | None]) -> None:
    found = windows(architecture(name))
    assert found == (pattern * len(found))[: len(found)]


def test_a_layer_type_without_a_rule_is_refused_by_name() -> None:
    with pytest.raises(UnsupportedModelError, match="linear_attention"):
        architecture("Qwen__Qwen3-8B", layer_types=["linear_attention"] * 36)


def test_gemma_3_has_a_rotary_table_for_each_kind_of_layer() -> None:
    found = architecture("google__gemma-3-1b-it")
    assert found.rotary == (RotaryTable(dim=256, positions=32768),) * 2


@pytest.mark.parametrize(
    ("scaling", "positions", "context"),
    [
        (None, [32768], 32768),
        ({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}, [131072], 131072),
        ({"type": "linear", "factor": 2.0}, [65536], 65536),
        ({"rope_type": "llama3", "factor": 8.0, "original_max_position_embeddings": 8192}, [32768], 32768),
        ({"type": "longrope", "original_max_position_embeddings": 4096, "long_factor": [1.0]}, [4096, 32768], 32768),
    ],
)
def test_rotary_tables_reach_as_far_as_their_scaling(scaling: Json, positions: list[int], context: int) -> None:
    found = architecture("Qwen__Qwen2.5-7B", max_position_embeddings=32768, rope_scaling=scaling)
    assert [table.positions for table in found.rotary] == positions
    assert found.max_context_tokens == context


@pytest.mark.parametrize(
    ("name", "dim"),
    [
        ("microsoft__phi-2", 32),
        ("EleutherAI__gpt-neox-20b", 24),
        ("stabilityai__stablelm-2-zephyr-1_6b", 16),
        ("microsoft__Phi-4-mini-instruct", 96),
        ("THUDM__chatglm3-6b", 64),
        ("EleutherAI__gpt-j-6b", 64),
    ],
)
def test_only_a_part_of_each_head_is_rotated(name: str, dim: int) -> None:
    assert {table.dim for table in architecture(name).rotary} == {dim}


@pytest.mark.parametrize("name", ["baichuan-inc__Baichuan2-13B-Chat", "mosaicml__mpt-7b", "openai-community__gpt2", "facebook__opt-125m"])
def test_models_with_other_positions_have_no_rotary_table(name: str) -> None:
    assert architecture(name).rotary == ()


def test_layers_that_a_search_emptied_keep_nothing() -> None:
    found = architecture("nvidia__Llama-3_3-Nemotron-Super-49B-v1")
    assert sum(not layer.mixers for layer in found.layers) == 31
    assert bytes_per_token(found, BF16) == 49 * 8 * (128 + 128) * 2
    assert len({layer.feed_forward for layer in found.layers}) == 6


def test_a_block_may_be_one_matrix() -> None:
    name = "nvidia__Llama-3_3-Nemotron-Super-49B-v1"
    config = json.loads((CONFIGS / f"{name}.json").read_text(encoding="utf-8"))
    whole = read(Hyperparameters(config))
    config["block_configs"][0]["attention"]["replace_with_linear"] = True
    thinner = read(Hyperparameters(config))
    names = {tensor.name for tensor in thinner.tensors if tensor.layer == 0}
    assert "model.layers.0.self_attn.linear_attn.weight" in names
    assert thinner.architecture.layers[0].mixers == ()
    assert bytes_per_token(thinner.architecture, BF16) == bytes_per_token(whole.architecture, BF16) - 8 * 256 * 2


@pytest.mark.parametrize("name", ["BAAI__bge-reranker-v2-m3", "nomic-ai__nomic-embed-text-v1.5"])
def test_an_encoder_keeps_no_cache(name: str) -> None:
    found = architecture(name)
    assert not found.is_decoder
    assert bytes_per_token(found, BF16) == 0


def test_a_classifier_has_one_row_for_each_label() -> None:
    found = blueprint("BAAI__bge-reranker-v2-m3", id2label={"0": "LABEL_0"})
    assert next(tensor.shape for tensor in found.tensors if tensor.name == "classifier.out_proj.weight") == (1, 1024)


def test_a_draft_layer_is_in_the_checkpoint_and_not_in_the_count() -> None:
    with_draft = blueprint("XiaomiMiMo__MiMo-7B-Base")
    without = blueprint("XiaomiMiMo__MiMo-7B-Base", num_nextn_predict_layers=0)
    assert tuple(tensor for tensor in with_draft.tensors if tensor.role is not Role.MTP) == without.tensors
    assert any(tensor.role is Role.MTP for tensor in with_draft.tensors)


def test_an_older_falcon_has_one_key_head_and_a_newer_one_several() -> None:
    def kv_heads(name: str) -> int:
        mixer = architecture(name).layers[0].mixers[0]
        assert isinstance(mixer, FullAttention)
        return mixer.kv_heads

    assert (kv_heads("tiiuae__falcon-7b"), kv_heads("tiiuae__falcon-180B")) == (1, 8)


def test_rwkv_keeps_the_same_whatever_the_length() -> None:
    found = architecture("RWKV__rwkv-4-169m-pile")
    assert bytes_per_token(found, BF16) == 0
    mixer = found.layers[0].mixers[0]
    assert isinstance(mixer, Recurrent)
    assert (mixer.conv_elements, mixer.state_elements) == (2 * 768, 3 * 768)
