"""Models with towers: parameters to the unit, what each layer keeps, and how many tokens an image gives."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from ullage.architectures import read
from ullage.catalog.tensor_formats import BF16
from ullage.domain.architecture import (
    ChunkedAttention,
    CrossAttention,
    ExpertFeedForward,
    FullAttention,
    SharedCache,
    SlidingAttention,
)
from ullage.domain.checkpoint import Role
from ullage.domain.family import Blueprint
from ullage.domain.hyperparameters import Hyperparameters, Json
from ullage.errors import UnsupportedModelError
from ullage.formulas.cache import sequence_bytes

CONFIGS = Path(__file__).parents[2] / "src" / "ullage" / "catalog" / "configs"


def configuration(name: str) -> dict[str, Any]:
    config: dict[str, Any] = json.loads((CONFIGS / f"{name}.json").read_text())
    return config


def blueprint(name: str) -> Blueprint:
    return read(Hyperparameters(configuration(name)))


def parameters(model: Blueprint, *roles: Role) -> int:
    return sum(tensor.elements for tensor in model.tensors if tensor.role is not Role.MTP and (not roles or tensor.role in roles))


def mixers(model: Blueprint) -> Counter[str]:
    return Counter(type(mixer).__name__ for layer in model.architecture.layers for mixer in layer.mixers)


@pytest.mark.parametrize(
    ("name", "in_tower"),
    [
        ("Qwen__Qwen2.5-VL-7B-Instruct", 676_550_144),
        ("Qwen__Qwen3-VL-2B-Instruct", 406_957_056),
        ("google__gemma-3-4b-it", 419_816_304),
        ("google__gemma-4-31B-it", 0),  # its file describes no tower
        ("moonshotai__Kimi-VL-A3B-Instruct", 447_545_840),  # MoonViT and the projector; 16.4 billion with the text, as published
    ],
)
def test_a_tower_has_these_parameters(name: str, in_tower: int) -> None:
    assert parameters(blueprint(name), Role.VISION, Role.PROJECTOR) == in_tower


@pytest.mark.parametrize(
    ("name", "tokens"),
    [
        ("Qwen__Qwen3-VL-2B-Instruct", 16_384),  # 16,777,216 pixels / 32 x 32
        ("google__gemma-3-4b-it", 256),
        ("google__gemma-4-26B-A4B", 280),
        ("meta-llama__Llama-4-Scout-17B-16E-Instruct", 17 * 256),  # 16 tiles and the whole, 32 x 32 patches folded by four
        ("meta-llama__Llama-3.2-11B-Vision-Instruct", 4 * 1601),  # four tiles of 40 x 40 patches and a class token
        ("mistralai__Mistral-Small-3.1-24B-Instruct-2503", 55 * 55 + 55),  # 1540 pixels / 14 / 2, and a break after each row
        ("ibm-granite__granite-vision-3.2-2b", 27 * 27 + 270 * 27 + 270),  # the whole, and 3840 x 384 pixels in tiles of 27 x 27
        ("nvidia__MiniMax-M3-NVFP4", 72 * 72),
    ],
)
def test_an_image_gives_at_most_these_tokens(name: str, tokens: int) -> None:
    assert blueprint(name).architecture.encoder_tokens == tokens


def test_gemma_3_has_five_windows_to_each_full_layer() -> None:
    assert mixers(blueprint("google__gemma-3-27b-it")) == {"SlidingAttention": 52, "FullAttention": 10}


def test_gemma_3_takes_missing_text_keys_from_its_class() -> None:
    layer = blueprint("google__gemma-3-4b-it").architecture.layers[0]
    assert layer.mixers == (SlidingAttention(query_heads=8, kv_heads=4, key_dim=256, value_dim=256, window_tokens=1024),)


def test_gemma_4_has_fewer_and_wider_heads_in_full_layers() -> None:
    layers = blueprint("google__gemma-4-26B-A4B").architecture.layers
    assert layers[0].mixers == (SlidingAttention(query_heads=16, kv_heads=8, key_dim=256, value_dim=256, window_tokens=1024),)
    assert layers[5].mixers == (FullAttention(query_heads=16, kv_heads=2, key_dim=512, value_dim=512),)


def test_gemma_4_full_layers_without_a_value_projection_still_keep_values() -> None:
    model = blueprint("google__gemma-4-31B-it")
    assert not [tensor for tensor in model.tensors if tensor.role is Role.V and tensor.layer == 5]
    # 10 full layers of 4 heads x 512, 50 windows of 16 heads x 256: keys and values of 2 bytes.
    assert sequence_bytes(model.architecture, tokens=1000, fmt=BF16) == 1000 * 2 * 2 * (10 * 4 * 512 + 50 * 16 * 256)


def test_gemma_4_routes_beside_an_mlp_that_is_always_active() -> None:
    feed_forward = blueprint("google__gemma-4-26B-A4B").architecture.layers[0].feed_forward
    assert feed_forward == ExpertFeedForward(experts=128, experts_per_token=8, intermediate=704, shared_intermediate=2112)


def _gemma_4_with_sharing(shared: int) -> Blueprint:
    text: dict[str, Json] = {
        "hidden_size": 1536,
        "intermediate_size": 6144,
        "num_hidden_layers": 12,
        "num_attention_heads": 8,
        "num_key_value_heads": 1,
        "num_kv_shared_layers": shared,
        "use_double_wide_mlp": True,
    }
    return read(Hyperparameters({"model_type": "gemma4", "dtype": "bfloat16", "text_config": text}))


def test_layers_that_share_a_cache_keep_nothing_and_name_the_layer_they_read() -> None:
    model = _gemma_4_with_sharing(6)
    last = [layer.mixers[0] for layer in model.architecture.layers[6:]]
    assert [mixer.source_layer for mixer in last if isinstance(mixer, SharedCache)] == [4, 4, 4, 4, 4, 5]
    alone = [layer.mixers[0] for layer in model.architecture.layers[:6]]
    whole = sequence_bytes(model.architecture, tokens=100, fmt=BF16)
    assert whole == sum(100 * 2 * 2 * m.kv_heads * m.key_dim for m in alone if isinstance(m, SlidingAttention | FullAttention))


def test_layers_that_share_a_cache_have_no_key_projection_and_a_wider_mlp() -> None:
    tensors = {tensor.name: tensor for tensor in _gemma_4_with_sharing(6).tensors}
    assert "model.language_model.layers.6.self_attn.k_proj.weight" not in tensors
    assert tensors["model.language_model.layers.6.mlp.up_proj.weight"].shape == (2 * 6144, 1536)


def test_sharing_every_layer_of_a_kind_is_refused() -> None:
    with pytest.raises(UnsupportedModelError, match="num_kv_shared_layers"):
        _gemma_4_with_sharing(7)


def test_each_layer_of_gemma_4_small_has_an_embedding_of_its_own() -> None:
    tensors = {tensor.name: tensor for tensor in _gemma_4_with_sharing(0).tensors}
    assert tensors["model.language_model.embed_tokens_per_layer.weight"].shape == (262_144, 12 * 256)


def test_llama_4_is_chunked_in_three_of_four_layers() -> None:
    model = blueprint("meta-llama__Llama-4-Scout-17B-16E-Instruct")
    assert mixers(model) == {"ChunkedAttention": 36, "FullAttention": 12}
    first = model.architecture.layers[0].mixers[0]
    assert isinstance(first, ChunkedAttention)
    assert first.chunk_tokens == 8192


def test_llama_4_maverick_routes_in_every_second_layer() -> None:
    layers = blueprint("meta-llama__Llama-4-Maverick-17B-128E-Instruct").architecture.layers
    assert [index for index, layer in enumerate(layers) if isinstance(layer.feed_forward, ExpertFeedForward)] == list(range(1, 48, 2))


def test_llama_3_2_vision_keeps_the_image_in_its_crossing_layers() -> None:
    model = blueprint("meta-llama__Llama-3.2-11B-Vision-Instruct")
    assert mixers(model) == {"FullAttention": 32, "CrossAttention": 8}
    crossing = [index for index, layer in enumerate(model.architecture.layers) if isinstance(layer.mixers[0], CrossAttention)]
    assert crossing == [3, 8, 13, 18, 23, 28, 33, 38]
    # Before the first token of text: 8 layers x 6,404 tokens x 8 heads x 128, keys and values of 2 bytes.
    assert sequence_bytes(model.architecture, tokens=0, fmt=BF16) == 8 * 6404 * 2 * 8 * 128 * 2


def test_an_incomplete_file_is_refused_by_the_key_it_lacks() -> None:
    with pytest.raises(UnsupportedModelError, match=r"text_config\.vocab_size"):
        blueprint("mistralai__Mistral-Medium-3.5-128B")


def test_text_tensors_carry_the_prefix_of_the_outer_model() -> None:
    names = {tensor.name for tensor in blueprint("mistralai__Mistral-Small-3.1-24B-Instruct-2503").tensors}
    assert {"language_model.model.embed_tokens.weight", "language_model.lm_head.weight"} <= names
    assert not [name for name in names if name.startswith(("model.", "lm_head"))]


@pytest.mark.parametrize(("outer", "inner", "tied"), [(True, False, True), (False, True, True), (None, None, True), (None, False, False)])
def test_tables_are_tied_where_either_level_says_so(*, outer: bool | None, inner: bool | None, tied: bool) -> None:
    config = configuration("mistralai__Ministral-3-3B-Instruct-2512")
    config["tie_word_embeddings"], config["text_config"]["tie_word_embeddings"] = outer, inner
    assert read(Hyperparameters(config)).architecture.tied_embeddings is tied


def test_the_tower_of_qwen_3_vl_feeds_as_many_layers_as_it_lists() -> None:
    names = {tensor.name for tensor in blueprint("Qwen__Qwen3-VL-2B-Instruct").tensors}
    assert "model.visual.deepstack_merger_list.2.norm.weight" in names
    assert "model.visual.deepstack_merger_list.3.norm.weight" not in names


def test_an_unknown_tower_is_refused_by_name() -> None:
    config = configuration("ibm-granite__granite-vision-3.2-2b")
    config["vision_config"]["model_type"] = "dinov3"
    with pytest.raises(UnsupportedModelError, match="dinov3"):
        read(Hyperparameters(config))
