"""Rules of vLLM's memory that public logs show to the last digit, and the edges of the rest."""

import pytest
from tests.cases import A100, GPU_80, RTX_3090, vllm_case

from ullage.domain.case import Case
from ullage.engines.vllm import activation, drafts, kernels, overhead, ranks, shards, towers
from ullage.engines.vllm.cache import spare_states
from ullage.engines.vllm.capacity import capacity
from ullage.engines.vllm.ledger import ledger
from ullage.units import GiB


def stated(case: Case) -> int:
    return capacity(case, ledger(case)).kv_tokens.expected


class TestStatesBesideAttention:
    def test_a_state_in_float32_makes_blocks_of_1568_tokens(self) -> None:
        """club-3090, Qwen3.8-27B-FP8 on two RTX 3090: block 1568, 302,921 tokens at 131,072."""
        case = vllm_case(
            "Qwen3.5-27B",
            "0.28.0",
            RTX_3090,
            devices=2,
            tensor=2,
            max_model_len=131072,
            kv_cache_dtype="fp8_e4m3",
            enable_prefix_caching=True,
            num_gpu_blocks_override=208,
        )
        assert ranks.ranks(case)[0].pool.block_tokens == 1568
        assert 208 * ranks.ranks(case)[0].pool.block_bytes / GiB == pytest.approx(4.99, abs=0.02)
        assert stated(case) == 302921

    def test_drafted_tokens_widen_the_states_and_the_draft_layer_keeps_a_cache(self) -> None:
        """club-3090, Qwen3.6-27B with three drafted tokens: 622,408 tokens at 262,144."""
        case = vllm_case(
            "Qwen3.5-27B",
            "0.22.0",
            RTX_3090,
            devices=2,
            tensor=2,
            max_model_len=262144,
            kv_cache_dtype="fp8_e5m2",
            enable_prefix_caching=True,
            speculative_config='{"method": "mtp", "num_speculative_tokens": 3}',
            num_gpu_blocks_override=425,
        )
        pool = ranks.ranks(case)[0].pool
        assert pool.block_tokens == 1600
        assert {group.layers for group in pool.groups} == {17}
        assert stated(case) == 622408

    def test_prefixes_of_hybrids_are_cached_on_their_own_only_since_0_25(self) -> None:
        assert [spare_states(vllm_case("Qwen3.5-27B", version, GPU_80)) for version in ("0.24.0", "0.26.0")] == [0, 1]

    def test_before_0_20_1_tokens_are_blocks_by_groups(self) -> None:
        case = vllm_case("Qwen3.5-27B", "0.20.0", RTX_3090, devices=2, tensor=2, max_model_len=180000, num_gpu_blocks_override=352)
        pool = ranks.ranks(case)[0].pool
        assert stated(case) == 352 // 4 * pool.block_tokens


class TestDrafts:
    @pytest.mark.parametrize(
        ("settings", "tokens", "own"),
        [
            ({"speculative_config": '{"method": "mtp", "num_speculative_tokens": 2}'}, 2, 1),
            ({"spec_method": "qwen3_5_mtp", "spec_tokens": 1}, 1, 1),
            ({"speculative_config": '{"method": "ngram", "num_speculative_tokens": 4}'}, 4, 0),
            ({"speculative_config": "not json"}, 0, 0),
            ({"speculative_config": "[1]"}, 0, 0),
            ({}, 0, 0),
        ],
    )
    def test_what_is_drafted_is_read_from_every_spelling(self, settings: dict[str, str | int], tokens: int, own: int) -> None:
        assert drafts.draft(vllm_case("Qwen3.5-27B", "0.28.0", GPU_80, **settings)) == drafts.Draft(tokens=tokens, own_layers=own)

    def test_own_draft_layers_are_loaded_only_for_drafting(self) -> None:
        plain = vllm_case("Qwen3.5-27B", "0.28.0", GPU_80)
        drafting = plain.with_settings(spec_method="mtp", spec_tokens=2)
        more = shards.rank_weights(drafting)[0].nbytes - shards.rank_weights(plain)[0].nbytes
        assert more == pytest.approx(849_388_544, rel=0.001)


def test_a_million_tokens_of_deepseek_v4_need_what_the_refusal_said() -> None:
    """23.32 GiB for 1,048,576 tokens, batches of 16,384 and asynchronous scheduling."""
    case = vllm_case(
        "DeepSeek-V4-Pro",
        "0.28.0",
        total_gib=192,
        devices=8,
        tensor=8,
        kv_cache_dtype="fp8",
        max_model_len=1048576,
        max_num_batched_tokens=16384,
    )
    assert capacity(case, ledger(case)).needed_bytes / GiB == pytest.approx(23.32, abs=0.01)


@pytest.mark.parametrize(
    ("name", "version", "tensor", "gib"),
    [
        ("Qwen2.5-7B-Instruct", "0.19.0", 1, 14.25),  # segments of 2 MiB: 57 MiB more than the parameters
        ("Qwen2.5-72B-Instruct", "0.19.0", 2, 67.80),
        ("Qwen2.5-7B-Instruct", "0.19.0", 4, 3.55),
        ("phi-4", "0.19.0", 1, 27.39),
        ("Kimi-VL-A3B-Instruct", "0.19.0", 1, 30.74),
    ],
)
def test_a_log_prints_the_weights_as_the_allocator_counts_them(name: str, version: str, tensor: int, gib: float) -> None:
    case = vllm_case(name, version, GPU_80, devices=4, tensor=tensor)
    assert shards.rank_weights(case)[0].nbytes / GiB == pytest.approx(gib, rel=0.002)


class TestKernels:
    @pytest.mark.parametrize(
        ("at", "able", "expected"),
        [
            ((0, 19, 0), (9, 0), kernels.Tiles(256, 256, 256, 1)),
            ((0, 11, 0), (9, 0), kernels.Tiles(256, 64, 256, 1)),
            ((0, 19, 0), (8, 6), kernels.Tiles(256, 256, 128, 256)),
            ((0, 19, 0), (10, 0), kernels.Tiles(256, 512, 256, 256)),
            ((0, 10, 0), (9, 0), kernels.NO_TILES),
            ((0, 19, 0), None, kernels.NO_TILES),
        ],
    )
    def test_tiles_follow_release_and_card(self, at: tuple[int, ...], able: tuple[int, int] | None, expected: kernels.Tiles) -> None:
        assert kernels.tiles(at, able) == expected


class TestTowers:
    @pytest.mark.parametrize(
        ("name", "settings", "items", "tokens"),
        [
            ("Mistral-Small-3.1-24B-Instruct-2503", {}, 2, 3080),
            ("gemma-3-27b-it", {}, 32, 256),
            ("gemma-3-27b-it", {"max_num_seqs": 3, "max_model_len": 512}, 6, 256),
            ("Qwen2.5-VL-7B-Instruct", {"max_model_len": 128000}, 1, 7 * 16384),
            ("Qwen2.5-VL-7B-Instruct", {"max_model_len": 40000}, 1, 2 * 16384),
            ("Qwen3-VL-8B-Instruct", {}, 1, 16384),
        ],
    )
    def test_the_profile_tries_as_many_items_as_the_batch_holds(self, name: str, settings: dict[str, int], items: int, tokens: int) -> None:
        found = towers.trial(vllm_case(name, "0.19.0", GPU_80, **settings))
        assert found is not None
        assert (found.items, found.tokens) == (items, tokens)

    @pytest.mark.parametrize(
        "settings", [{"language_model_only": True}, {"limit_mm_per_prompt": '{"image": 0}'}, {"skip_mm_profiling": True}]
    )
    def test_no_tower_is_tried_where_none_is_wanted(self, settings: dict[str, bool | str]) -> None:
        case = vllm_case("gemma-3-27b-it", "0.24.0", GPU_80, **settings)
        assert towers.trial(case) is None
        assert towers.seen(case, 2) == towers.NOTHING_SEEN

    def test_every_sequence_brings_an_image_where_the_text_attends_to_it(self) -> None:
        found = towers.trial(vllm_case("Llama-3.2-11B-Vision-Instruct", "0.6.6", GPU_80, max_num_seqs=128, max_model_len=65536))
        assert found is not None
        assert found.items == 128


class TestExpertsBuffers:
    def test_they_stay_under_the_sampler_since_0_12(self) -> None:
        """Mixtral on two H100: 1.21 GiB at 0.19."""
        case = vllm_case("Mixtral-8x7B-Instruct-v0.1", "0.19.0", GPU_80, devices=2, tensor=2, max_model_len=8192)
        assert activation.profile_peak(case).amount.expected / GiB == pytest.approx(1.21, rel=0.01)
        old = vllm_case("Mixtral-8x7B-Instruct-v0.1", "0.11.0", GPU_80, devices=2, tensor=2, max_model_len=8192)
        assert activation.expert_workspace(old, 8192).expected == 0

    def test_a_token_of_more_experts_needs_more(self) -> None:
        case = vllm_case("Qwen3-30B-A3B", "0.19.0", GPU_80)
        assert activation.expert_workspace(case, 8192).expected == 8192 * 8 * (2048 + 2048) * 2


class TestRunners:
    @pytest.mark.parametrize(
        ("name", "version", "second"),
        [
            ("Qwen3-8B", "0.22.0", True),
            ("Llama-3.1-8B", "0.22.0", False),
            ("Llama-3.1-8B", "0.24.0", True),
            ("gemma-3-27b-it", "0.26.0", True),
            ("Mixtral-8x7B-v0.1", "0.28.0", False),
            ("Qwen3.5-27B", "0.28.0", False),
            ("Qwen3.5-27B", "0.30.0", True),
        ],
    )
    def test_families_move_to_the_second_runner_release_by_release(self, name: str, version: str, *, second: bool) -> None:
        assert overhead.uses_second_runner(vllm_case(name, version, GPU_80)) is second

    def test_the_environment_decides(self) -> None:
        case = vllm_case("Qwen3-8B", "0.30.0", GPU_80, environment=(("VLLM_USE_V2_MODEL_RUNNER", "0"),))
        assert not overhead.uses_second_runner(case)
        assert overhead.runner_buffers(case) == 0


def test_cards_without_a_fast_link_keep_fewer_buffers() -> None:
    linked = vllm_case("Llama-3.1-8B", "0.19.0", A100, devices=2, tensor=2)
    apart = vllm_case("Llama-3.1-8B", "0.19.0", RTX_3090, devices=2, tensor=2)
    assert overhead.network_inside(apart).expected < overhead.network_inside(linked).expected / 10
    assert overhead.network_inside(vllm_case("Llama-3.1-8B", "0.19.0", A100)).high == 0
