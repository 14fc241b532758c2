"""Hybrid and recurrent families: what each kind of layer keeps, which layers there are, and what is counted once."""

import json
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import ullage
from ullage.architectures import read
from ullage.architectures._ngrams import MOST_TABLES, ngrams_of, primes_from
from ullage.catalog.tensor_formats import BF16, F32
from ullage.domain.architecture import (
    DenseFeedForward,
    ExpertFeedForward,
    FullAttention,
    LatentAttention,
    Layer,
    Recurrent,
    SlidingAttention,
)
from ullage.domain.checkpoint import Role, Tensor
from ullage.domain.family import Blueprint
from ullage.domain.hyperparameters import Hyperparameters, Json
from ullage.errors import MalformedFileError, UnsupportedModelError
from ullage.formulas.cache import bytes_per_token, fixed_bytes, state_bytes

CONFIGS = Path(ullage.__file__).parent / "catalog" / "configs"


def config_of(name: str) -> dict[str, Json]:
    return json.loads((CONFIGS / f"{name}.json").read_text())


@cache
def model(name: str) -> Blueprint:
    return read(Hyperparameters(config_of(name)))


def changed(name: str, **values: Json) -> Blueprint:
    return read(Hyperparameters({**config_of(name), **values}))


def recurrent(blueprint: Blueprint) -> Recurrent:
    return next(mixer for layer in blueprint.architecture.layers for mixer in layer.mixers if isinstance(mixer, Recurrent))


def parameters(tensors: tuple[Tensor, ...], *, drafts: bool = False) -> int:
    return sum(tensor.elements for tensor in tensors if (tensor.role is Role.MTP) is drafts)


def kind(layer: Layer) -> str:
    """M, * for attention and + for both; - for an MLP, E for experts, nothing where the layer has none."""
    letters = "".join("M" if isinstance(mixer, Recurrent) else "*" for mixer in layer.mixers)
    match layer.feed_forward:
        case ExpertFeedForward():
            return letters + "E"
        case DenseFeedForward():
            return letters + "-"
        case _:
            return letters


# Published figures of vLLM 0.32 for one layer's page: everything in bfloat16, and with the state in float32.
STATES = [
    ("Qwen__Qwen3-Next-80B-A3B-Instruct", 1_097_728, 2_146_304),
    ("state-spaces__mamba2-2.7b", 1_342_976, 2_653_696),
]


@pytest.mark.parametrize(("name", "in_bf16", "in_f32"), STATES)
def test_a_recurrent_layer_keeps_the_bytes_vllm_allocates_for_it(name: str, in_bf16: int, in_f32: int) -> None:
    mixer = recurrent(model(name))
    assert state_bytes(mixer, conv_fmt=BF16, state_fmt=BF16) == in_bf16
    assert state_bytes(mixer, conv_fmt=BF16, state_fmt=F32) == in_f32


def test_qwen3_next_has_three_recurrent_layers_for_each_attention_layer() -> None:
    architecture = model("Qwen__Qwen3-Next-80B-A3B-Instruct").architecture
    assert "".join(kind(layer) for layer in architecture.layers) == "MEMEME*E" * 12
    assert fixed_bytes(architecture, fmt=BF16) == 36 * 1_097_728
    assert bytes_per_token(architecture, BF16) == 12 * 2 * 2 * 256 * 2


def test_the_layers_of_nemotron_3_are_those_of_its_pattern() -> None:
    pattern = config_of("nvidia__NVIDIA-Nemotron-3-Nano-30B-A3B-BF16")["hybrid_override_pattern"]
    layers = model("nvidia__NVIDIA-Nemotron-3-Nano-30B-A3B-BF16").architecture.layers
    assert "".join(kind(layer) for layer in layers) == pattern


def test_nemotron_layers_have_either_a_mixer_or_a_feed_forward_part() -> None:
    for name in ("nvidia__Nemotron-H-56B-Base-8K", "nvidia__NVIDIA-Nemotron-3-Ultra-550B-A55B-BF16"):
        layers = model(name).architecture.layers
        assert all(bool(layer.mixers) != (layer.feed_forward is not None) for layer in layers)


def test_an_unknown_letter_in_the_pattern_is_refused_by_name() -> None:
    with pytest.raises(UnsupportedModelError, match="hybrid_override_pattern has 'X'"):
        changed("nvidia__Nemotron-H-8B-Base-8K", hybrid_override_pattern="M-X")


def test_experts_of_nemotron_3_super_work_on_a_narrower_latent() -> None:
    tensors = model("nvidia__NVIDIA-Nemotron-3-Super-120B-A12B-FP8").tensors
    first = next(tensor for tensor in tensors if tensor.role is Role.EXPERT_UP)
    assert (first.shape, first.copies) == ((2688, 1024), 512)
    latents = [tensor.shape for tensor in tensors if tensor.role is Role.EXPERT_LATENT]
    assert latents == [(1024, 4096), (4096, 1024)] * 40


def test_the_draft_head_of_nemotron_3_super_is_the_1040_tensors_of_its_checkpoint_and_not_counted() -> None:
    blueprint = model("nvidia__NVIDIA-Nemotron-3-Super-120B-A12B-FP8")
    drafts = [tensor for tensor in blueprint.tensors if tensor.role is Role.MTP]
    # One more in the checkpoint: the routing bias, a buffer and no parameter.
    assert sum(tensor.copies for tensor in drafts) == 1040 - 1
    assert all(tensor.layer is None for tensor in drafts)
    assert parameters(blueprint.tensors) == 120_668_687_360


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("Qwen__Qwen3.5-9B", "float32"),
        ("nvidia__NVIDIA-Nemotron-3-Nano-30B-A3B-BF16", "float32"),
        ("nvidia__Nemotron-H-8B-Base-8K", "float32"),  # the class's default
        ("Qwen__Qwen3-Next-80B-A3B-Instruct", None),
    ],
)
def test_a_state_is_kept_in_the_dtype_the_file_asks_for(name: str, wanted: str | None) -> None:
    assert recurrent(model(name)).state_dtype == wanted


def test_a_state_dtype_without_a_known_size_is_refused() -> None:
    with pytest.raises(UnsupportedModelError, match="'float12'"):
        changed("nvidia__Nemotron-H-8B-Base-8K", mamba_ssm_cache_dtype="float12")


def test_jamba_attends_in_one_layer_of_eight_and_routes_in_every_other() -> None:
    assert "".join(kind(layer) for layer in model("ai21labs__Jamba-v0.1").architecture.layers) == "M-MEM-ME*-MEM-ME" * 4


def test_a_mamba_layer_of_jamba_keeps_three_inputs_and_sixteen_numbers_for_each_channel() -> None:
    mixer = recurrent(model("ai21labs__Jamba-v0.1"))
    assert (mixer.conv_elements, mixer.state_elements) == (3 * 8192, 16 * 8192)


def test_every_layer_of_falcon_h1_keeps_a_cache_and_a_state() -> None:
    layers = model("tiiuae__Falcon-H1-0.5B-Instruct").architecture.layers
    assert {kind(layer) for layer in layers} == {"*M-"}
    assert recurrent(model("tiiuae__Falcon-H1-0.5B-Instruct")).inner_dim == 24 * 64


def test_falcon_h1_refuses_heads_that_do_not_make_up_the_stated_width() -> None:
    with pytest.raises(UnsupportedModelError, match="mamba_d_ssm is 2048"):
        changed("tiiuae__Falcon-H1-0.5B-Instruct", mamba_d_ssm=2048)


def test_zamba2_stores_two_shared_blocks_and_keeps_a_cache_for_each_of_thirteen_uses() -> None:
    blueprint = model("Zyphra__Zamba2-7B")
    attending = [layer for layer in blueprint.architecture.layers if any(isinstance(mixer, FullAttention) for mixer in layer.mixers)]
    stored = [tensor.layer for tensor in blueprint.tensors if tensor.role is Role.Q]
    assert (len(attending), stored) == (13, [6, 11])
    assert bytes_per_token(blueprint.architecture, BF16) == 13 * 2 * 32 * 224 * 2
    adapters = [tensor for tensor in blueprint.tensors if "adapter_list" in tensor.name and tensor.name.endswith(".0.weight")]
    assert len(adapters) == 13


def test_more_shared_blocks_in_zamba2_cost_weights_and_no_cache() -> None:
    two, three = model("Zyphra__Zamba2-7B"), changed("Zyphra__Zamba2-7B", num_mem_blocks=3)
    one_block = sum(t.elements for t in two.tensors if t.layer == 6 and ".shared_transformer." in t.name and "adapter" not in t.name)
    assert parameters(three.tensors) - parameters(two.tensors) == one_block
    assert bytes_per_token(three.architecture, BF16) == bytes_per_token(two.architecture, BF16)


def test_kimi_linear_keeps_latents_in_six_layers_and_states_in_the_others() -> None:
    layers = model("moonshotai__Kimi-Linear-48B-A3B-Instruct").architecture.layers
    latent = [index for index, layer in enumerate(layers) if isinstance(layer.mixers[0], LatentAttention)]
    assert latent == [4, 8, 12, 16, 20, 24]
    assert recurrent(model("moonshotai__Kimi-Linear-48B-A3B-Instruct")).state_elements == 32 * 128 * 128


def test_kimi_linear_counts_the_layers_of_its_nested_lists_from_one() -> None:
    nested: Json = {"full_attn_layers": [4, 8], "kda_layers": [1, 2], "num_heads": 16, "head_dim": 128, "short_conv_kernel_size": 4}
    layers = changed("moonshotai__Kimi-Linear-48B-A3B-Instruct", linear_attn_config=nested).architecture.layers
    assert [index for index, layer in enumerate(layers) if isinstance(layer.mixers[0], LatentAttention)] == [3, 7]
    assert isinstance(layers[0].mixers[0], Recurrent)
    assert layers[0].mixers[0].heads == 16


def test_minimax_text_01_keeps_a_cache_in_every_eighth_layer_only() -> None:
    architecture = model("MiniMaxAI__MiniMax-Text-01").architecture
    assert "".join(kind(layer) for layer in architecture.layers) == ("ME" * 7 + "*E") * 10
    assert recurrent(model("MiniMaxAI__MiniMax-Text-01")).state_elements == 64 * 128 * 128


def test_granite_4_takes_the_layer_kinds_it_lists_in_either_generation_of_words() -> None:
    for words in (["mamba", "attention"], ["linear_attention", "full_attention"]):
        layers = changed("ibm-granite__granite-4.0-h-small", num_hidden_layers=2, layer_types=words).architecture.layers
        assert [kind(layer) for layer in layers] == ["ME", "*E"]


def test_granite_4_without_routed_experts_is_dense() -> None:
    layers = changed("ibm-granite__granite-4.0-h-small", num_local_experts=0).architecture.layers
    assert layers[0].feed_forward == DenseFeedForward(intermediate=1536)


def test_an_unknown_kind_of_layer_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UnsupportedModelError, match=r"layer_types has 'rwkv'; only .*mamba"):
        changed("ibm-granite__granite-4.0-h-small", num_hidden_layers=1, layer_types=["rwkv"])


def test_lfm2_rounds_two_thirds_of_its_stated_width_up_to_a_multiple_of_256() -> None:
    raw: dict[str, Json] = {
        "model_type": "lfm2",
        "hidden_size": 1024,
        "num_hidden_layers": 2,
        "num_attention_heads": 16,
        "vocab_size": 65536,
        "block_ff_dim": 6656,
        "layer_types": ["conv", "full_attention"],
    }
    layers = read(Hyperparameters(raw)).architecture.layers
    assert layers[0].feed_forward == DenseFeedForward(intermediate=4608)
    assert layers[0].mixers[0] == Recurrent(kind="short_convolution", heads=1024, conv_elements=2 * 1024, state_elements=0, inner_dim=1024)


def test_recurrent_gemma_keeps_a_window_in_every_third_layer_and_one_number_a_channel_in_the_others() -> None:
    raw: dict[str, Json] = {"model_type": "recurrent_gemma", "hidden_size": 2560, "num_hidden_layers": 26, "num_attention_heads": 10}
    layers = read(Hyperparameters(raw)).architecture.layers
    windows = [index for index, layer in enumerate(layers) if isinstance(layer.mixers[0], SlidingAttention)]
    assert windows == list(range(2, 26, 3))
    assert layers[0].mixers[0] == Recurrent(kind="rg_lru", heads=10, conv_elements=3 * 2560, state_elements=2560, inner_dim=2560)


# The published draft of Qwen3.8-Flash-Next has 2,607,150,848 elements; the file of Qwen3.5-9B has 9.653e9, 0.243e9 more than are counted.
DRAFTS = [
    ("Qwen__Qwen3.8-Flash-Next", {"mtp": {"num_hidden_layers": 1}}, 2_607_150_848),
    ("Qwen__Qwen3.5-9B", {}, 243_290_624),
]


@pytest.mark.parametrize(("name", "more", "elements"), DRAFTS)
def test_draft_layers_of_the_qwen_hybrids_stand_beside_the_count(name: str, more: dict[str, Json], elements: int) -> None:
    whole = config_of(name)
    inner = whole["text_config"]
    assert isinstance(inner, dict)
    drafted = read(Hyperparameters({**whole, "text_config": {**inner, **more}}))
    assert parameters(drafted.tensors, drafts=True) == elements
    assert parameters(drafted.tensors) == parameters(model(name).tensors)


def test_the_ngram_table_of_qwen3_8_is_one_table_in_128_parts_of_the_second_layer() -> None:
    tables = [tensor for tensor in model("Qwen__Qwen3.8-Flash-Next").tensors if "ngram_embedding" in tensor.name]
    assert [(tensor.layer, tensor.shape, tensor.copies) for tensor in tables] == [(1, (2_500_012, 160), 128)]


def test_a_sparse_layer_of_qwen3_8_keeps_an_index_key_beside_keys_and_values() -> None:
    assert bytes_per_token(model("Qwen__Qwen3.8-Flash-Next").architecture, BF16) == 12 * (2 * 2 * 256 + 128) * 2


@given(st.integers(0, 5000), st.integers(0, 12))
def test_primes_from_a_start_are_the_next_ones_and_none_is_missed(start: int, count: int) -> None:
    found = primes_from(start, count)
    end = found[-1] if found else start
    assert found == tuple(n for n in range(start, end + 1) if n > 1 and all(n % d for d in range(2, int(n**0.5) + 1)))[:count]


def test_more_ngram_tables_than_a_model_can_mean_are_refused_at_once() -> None:
    asked: dict[str, Json] = {"ple_layer_ids": [1], "ngram_size": 3, "heads_per_ngram": MOST_TABLES, "ple_embed_dim": 2 * MOST_TABLES}
    with pytest.raises(MalformedFileError, match="4096 at most"):
        ngrams_of(Hyperparameters(asked), 64)
