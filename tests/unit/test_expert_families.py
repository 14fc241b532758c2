"""Families with mixture of experts, latent and sparse attention: figures of published models."""

import json
from collections import Counter
from importlib.resources import files

import pytest

from ullage.architectures import read
from ullage.catalog.tensor_formats import BF16
from ullage.domain.architecture import (
    CompressedAttention,
    DenseFeedForward,
    ExpertFeedForward,
    FullAttention,
    LatentAttention,
    SlidingAttention,
)
from ullage.domain.checkpoint import EXPERT_ROLES, Role
from ullage.domain.family import Blueprint
from ullage.domain.hyperparameters import Hyperparameters, Json
from ullage.errors import UnsupportedModelError
from ullage.formulas.cache import bytes_per_token, growth_bytes_per_token


def _config(name: str) -> dict[str, Json]:
    found: dict[str, Json] = json.loads((files("ullage.catalog") / "configs" / f"{name}.json").read_text())
    return found


def _model(name: str, **changed: Json) -> Blueprint:
    return read(Hyperparameters({**_config(name), **changed}))


def _parameters(blueprint: Blueprint) -> int:
    return sum(tensor.elements for tensor in blueprint.tensors if tensor.role is not Role.MTP)


def test_deepseek_v3_has_671_billion_parameters_in_61_layers_of_which_three_are_dense() -> None:
    model = _model("deepseek-ai__DeepSeek-V3")
    layers = model.architecture.layers
    assert _parameters(model) == 671_026_404_352
    assert len(layers) == 61
    assert [isinstance(layer.feed_forward, DenseFeedForward) for layer in layers[:4]] == [True, True, True, False]
    assert layers[3].feed_forward == ExpertFeedForward(experts=256, experts_per_token=8, intermediate=2048, shared_intermediate=2048)


def test_the_draft_layer_of_deepseek_v3_adds_13_billion_to_the_file_without_being_counted() -> None:
    model = _model("deepseek-ai__DeepSeek-V3")
    without = _model("deepseek-ai__DeepSeek-V3", num_nextn_predict_layers=0)
    assert _parameters(model) == _parameters(without)
    everything = sum(tensor.elements for tensor in model.tensors)  # the published file has 684.53 billion: block scales besides
    assert everything == 684_489_830_400
    assert {tensor.layer for tensor in model.tensors if tensor.role is Role.MTP} == {None}


def test_latent_attention_keeps_69120_bytes_a_token_of_deepseek_v2_in_16_bits() -> None:
    assert bytes_per_token(_model("deepseek-ai__DeepSeek-V2").architecture, BF16) == 69_120


def test_the_indexer_of_deepseek_v32_adds_one_key_of_128_elements_to_every_latent() -> None:
    plain = bytes_per_token(_model("deepseek-ai__DeepSeek-V3").architecture, BF16)
    sparse = bytes_per_token(_model("deepseek-ai__DeepSeek-V3.2").architecture, BF16)
    assert (plain, sparse - plain) == (61 * 576 * 2, 61 * 128 * 2)


def test_v2_lite_projects_queries_in_one_step() -> None:
    model = _model("deepseek-ai__DeepSeek-V2-Lite")
    roles = {tensor.role for tensor in model.tensors}
    assert Role.Q in roles
    assert not {Role.Q_A, Role.Q_B} & roles


def _indexed(name: str, **changed: Json) -> list[int]:
    layers = _model(name, **changed).architecture.layers
    return [i for i, layer in enumerate(layers) for mixer in layer.mixers if isinstance(mixer, LatentAttention) and mixer.indexer]


def test_only_21_of_the_78_layers_of_glm_5_2_own_an_indexer() -> None:
    owners = _indexed("zai-org__GLM-5.2")
    assert owners == [0, 1, *range(2, 78, 4)]
    assert _indexed("zai-org__GLM-5") == list(range(78))


def test_the_schedule_of_glm_5_2_says_the_same_as_its_list() -> None:
    assert _indexed("zai-org__GLM-5.2", indexer_types=None) == _indexed("zai-org__GLM-5.2")


def test_the_windows_of_gpt_oss_alternate_with_full_attention() -> None:
    layers = _model("openai__gpt-oss-20b").architecture.layers
    kinds = [type(layer.mixers[0]) for layer in layers]
    assert kinds == [SlidingAttention, FullAttention] * 12
    assert _model("openai__gpt-oss-20b", layer_types=None).architecture.layers == layers


def test_gpt_oss_stacks_its_experts_and_gives_every_head_a_sink() -> None:
    tensors = {tensor.name: tensor for tensor in _model("openai__gpt-oss-120b").tensors}
    gate_up = tensors["model.layers.0.mlp.experts.gate_up_proj"]
    assert (gate_up.copies, gate_up.shape, gate_up.role) == (128, (5760, 2880), Role.EXPERT_GATE_UP)
    assert tensors["model.layers.0.self_attn.sinks"].shape == (64,)


def test_deepseek_v4_flash_compresses_by_4_with_an_indexer_and_by_128_without() -> None:
    mixers = [mixer for layer in _model("deepseek-ai__DeepSeek-V4-Flash").architecture.layers for mixer in layer.mixers]
    seen = Counter((mixer.ratio, mixer.indexer is not None) for mixer in mixers if isinstance(mixer, CompressedAttention))
    assert seen == {(0, False): 2, (4, True): 21, (128, False): 20}


def test_a_token_far_behind_the_window_costs_deepseek_v4_flash_a_tenth_of_v3() -> None:
    v3 = growth_bytes_per_token(_model("deepseek-ai__DeepSeek-V3").architecture, BF16)
    v4 = growth_bytes_per_token(_model("deepseek-ai__DeepSeek-V4-Flash").architecture, BF16)
    assert v4 == 21 * (512 + 128) * 2 // 4 + 20 * (512 * 2 // 128)
    assert 9 * v4 < v3


def test_a_ratio_nobody_knows_is_refused() -> None:
    with pytest.raises(UnsupportedModelError, match="compresses by 7"):
        _model("deepseek-ai__DeepSeek-V4-Flash", compress_ratios=[7] * 44)


def test_the_windows_of_mimo_have_twice_the_key_heads_and_values_narrower_than_keys() -> None:
    first, second = (layer.mixers[0] for layer in _model("XiaomiMiMo__MiMo-V2-Flash").architecture.layers[:2])
    assert first == FullAttention(query_heads=64, kv_heads=4, key_dim=192, value_dim=128)
    assert second == SlidingAttention(query_heads=64, kv_heads=8, key_dim=192, value_dim=128, window_tokens=128)


def test_the_selecting_layers_of_minimax_m3_keep_an_indexer_key_beside_keys_and_values() -> None:
    layers = _model("MiniMaxAI__MiniMax-M3").architecture.layers
    owners = [isinstance(mixer, FullAttention) and mixer.indexer is not None for layer in layers for mixer in layer.mixers]
    assert owners == [False] * 3 + [True] * 57
    assert bytes_per_token(_model("MiniMaxAI__MiniMax-M3").architecture, BF16) == 60 * 4 * 256 * 2 + 57 * 128 * 2


def test_the_shared_expert_of_qwen2_moe_has_a_gate_and_those_of_qwen3_do_not_exist() -> None:
    assert sum(tensor.role is Role.SHARED_ROUTER for tensor in _model("Qwen__Qwen2-57B-A14B").tensors) == 28
    assert not any(tensor.role is Role.SHARED_GATE for tensor in _model("Qwen__Qwen3-30B-A3B").tensors)


def test_phi_moe_has_biases_in_every_norm_and_in_the_head() -> None:
    names = {tensor.name for tensor in _model("microsoft__Phi-3.5-MoE-instruct").tensors}
    assert {"lm_head.bias", "model.norm.bias", "model.layers.31.input_layernorm.bias"} <= names


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("cloudyu__Mixtral_11Bx2_MoE_19B", "num_attention_heads"),
        ("xai-org__grok-2", "vocab_size"),
        ("deepseek-ai__DeepSeek-V4.1-Flash", "text_config.index_n_heads"),
    ],
)
def test_an_incomplete_configuration_is_refused_by_the_key_it_lacks(name: str, key: str) -> None:
    with pytest.raises(UnsupportedModelError, match=key):
        _model(name)


def test_kimi_k3_takes_the_published_1_56_terabytes_when_its_experts_take_17_bytes_for_32_weights() -> None:
    model = _model("moonshotai__Kimi-K3")
    experts = sum(tensor.elements for tensor in model.tensors if tensor.role in EXPERT_ROLES)
    assert len(model.architecture.layers) == 93
    assert round((experts * 17 // 32 + (_parameters(model) - experts) * 2) / 1e10) == 156


def test_only_the_latent_layers_of_kimi_k3_keep_anything_per_token() -> None:
    assert bytes_per_token(_model("moonshotai__Kimi-K3").architecture, BF16) == 24 * 576 * 2


def test_the_windowed_layers_of_step_3_5_have_heads_of_their_own() -> None:
    model = _model(
        "stepfun-ai__Step-3.7-Flash", model_type="step3p5", attention_other_setting={"num_attention_heads": 96, "num_attention_groups": 8}
    )
    first, second = (layer.mixers[0] for layer in model.architecture.layers[:2])
    assert isinstance(first, FullAttention)
    assert isinstance(second, SlidingAttention)
    assert (first.query_heads, second.query_heads, second.window_tokens) == (64, 96, 512)


def test_grok_2_with_its_missing_sizes_has_270_billion_parameters() -> None:
    model = _model("xai-org__grok-2", vocab_size=131_072, intermediate_size=32_768, residual_moe=True)
    assert _parameters(model) == 269_515_497_472
