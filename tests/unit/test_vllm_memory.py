"""The memory model of vLLM against figures that others measured or that vLLM's own code gave."""

import pytest
from tests.cases import GPU_80, RTX_3090, raw_vllm_case, vllm_case

from ullage.domain.ledger import Purpose
from ullage.domain.plan import Verdict
from ullage.engines import find
from ullage.engines.vllm import cache, dual_chunk, needed, ranks, shards
from ullage.engines.vllm.capacity import capacity, model_token_bytes, sequence_blocks
from ullage.engines.vllm.ledger import ledger
from ullage.engines.vllm.objections import objections
from ullage.planning.fit import evaluate
from ullage.units import GiB

VLLM = find("vllm")

# Weights with buffers per rank, block bytes and blocks of an 8 GiB cache, tokens vLLM 0.32 states: its own code on the meta device.
ORACLE = [
    ("Qwen2.5-7B", 14.1852, 917504, 9362, 149792),
    ("Qwen3-8B", 15.2564, 2359296, 3640, 58240),
    ("Qwen3-30B-A3B", 56.8705, 1572864, 5461, 87376),
    ("DeepSeek-V2-Lite", 29.2556, 497664, 17260, 276160),
    ("Qwen3-Next-80B-A3B-Instruct", 148.4051, 13369344, 642, 344869),
]


@pytest.mark.parametrize(("name", "weights_gib", "block_bytes", "blocks", "tokens"), ORACLE)
def test_blocks_and_tokens_are_those_of_vllms_own_code(name: str, weights_gib: float, block_bytes: int, blocks: int, tokens: int) -> None:
    case = vllm_case(name, "0.32.0", total_gib=2000, kv_cache_memory_bytes=8 * GiB)
    rank = ranks.ranks(case)[0]
    assert rank.pool.block_bytes == block_bytes
    assert rank.blocks.expected == blocks
    assert capacity(case, ledger(case)).kv_tokens.expected == tokens
    parameters = shards.rank_weights(case)[0].parameters + shards.rank_weights(case)[0].unfolded
    assert parameters / GiB == pytest.approx(weights_gib, rel=0.005)


@pytest.mark.parametrize(
    ("tokens", "asynchronous", "longest"), [(2048, False, 86304), (2048, True, 74016), (8192, False, 49440), (8192, True, 14960)]
)
def test_a_large_batch_makes_windows_expensive(tokens: int, asynchronous: bool, longest: int) -> None:  # noqa: FBT001
    case = vllm_case(
        "gemma-3-27b-it",
        "0.32.0",
        total_gib=2000,
        kv_cache_memory_bytes=8 * GiB,
        max_num_batched_tokens=tokens,
        async_scheduling=asynchronous,
    )
    assert capacity(case, ledger(case)).max_context_tokens.expected == longest


@pytest.mark.parametrize(
    ("name", "ranks", "gib"),
    [
        ("DeepSeek-V3", 8, 157.9157),
        ("Llama-3.1-70B", 8, 16.4292),
        ("Qwen3-30B-A3B", 8, 7.1531),
        ("Qwen3-Next-80B-A3B-Instruct", 4, 37.1837),
    ],
)
def test_weights_of_a_rank_under_tensor_parallelism(name: str, ranks: int, gib: float) -> None:
    case = vllm_case(name, "0.32.0", total_gib=400, devices=ranks, tensor=ranks)
    weights = shards.rank_weights(case)[0]
    assert (weights.parameters + weights.unfolded) / GiB == pytest.approx(gib, rel=0.003)


@pytest.mark.parametrize(("stages", "counts"), [(2, (31, 30)), (4, (15, 15, 16, 15))])
def test_uneven_layers_go_to_stages_before_the_last(stages: int, counts: tuple[int, ...]) -> None:
    assert tuple(end - start for start, end in shards.stage_layers(61, stages, None)) == counts


def test_the_activation_peak_is_that_of_a_public_log() -> None:
    """vllm#10517: Llama-3.1-8B on an RTX 3090, one batch of 20,000 and of 29,000 tokens."""
    for length, logged in ((20000, 2.071), (29000, 2.991)):
        case = vllm_case("Llama-3.1-8B", "0.6.4", RTX_3090, total_gib=23.58, max_model_len=length)
        seen = ledger(case).of("gpu0", Purpose.ACTIVATIONS).expected / GiB
        assert seen == pytest.approx(logged, rel=0.01)


class TestTheCardThatWasTooSmall:
    """Qwen1.5-7B-Chat with its whole length on a 24 GB card: 7344 tokens of cache."""

    @pytest.mark.parametrize("version", ["0.3.0", "0.3.3", "0.4.0", "0.4.2"])
    def test_the_cache_holds_7344_tokens(self, version: str) -> None:
        case = vllm_case("Qwen1.5-7B-Chat", version, RTX_3090, total_gib=23.69)
        tokens = capacity(case, ledger(case)).kv_tokens
        assert tokens.expected == pytest.approx(7344, rel=0.02)
        assert tokens.low <= 7344 <= tokens.high

    def test_the_engine_says_so_in_its_own_words(self) -> None:
        case = vllm_case("Qwen1.5-7B-Chat", "0.4.0", RTX_3090, total_gib=23.69)
        (objection,) = objections(case)
        assert objection.text.startswith(
            "The model's max seq len (32768) is larger than the maximum number of tokens that can be stored in KV cache (7"
        )

    def test_a_larger_fraction_does_not_help(self) -> None:
        case = vllm_case("Qwen1.5-7B-Chat", "0.4.0", RTX_3090, total_gib=23.69, gpu_memory_utilization=0.95)
        assert capacity(case, ledger(case)).kv_tokens.expected == pytest.approx(9760, rel=0.02)
        assert objections(case)

    def test_a_shorter_length_starts_because_the_profile_shrinks(self) -> None:
        case = vllm_case("Qwen1.5-7B-Chat", "0.4.0", RTX_3090, total_gib=23.69, max_model_len=8192)
        assert not objections(case)
        assert capacity(case, ledger(case)).kv_tokens.expected == pytest.approx(11584, rel=0.06)

    def test_a_token_takes_512_kib(self) -> None:
        assert model_token_bytes(vllm_case("Qwen1.5-7B-Chat", "0.4.0", RTX_3090)) == 524288


class TestAMillionTokens:
    """Qwen2.5-14B-Instruct-1M with dual chunk attention on eight 80 GB cards."""

    def test_the_workspace_grows_by_6400_bytes_a_token(self) -> None:
        case = vllm_case("Qwen2.5-14B-Instruct-1M", "0.10.2", GPU_80, devices=8, tensor=8, context=960_000, max_num_batched_tokens=131072)
        work = dual_chunk.workspace(case)
        assert work.workspace.expected == 6400 * 960_000
        assert work.live_bytes / GiB == pytest.approx(3.66, abs=0.01)
        assert work.steps == 8

    @pytest.mark.parametrize("batch", [2048, 131072])
    @pytest.mark.parametrize(("fraction", "expected_fits", "high_fits"), [(0.95, False, False), (0.9, True, False), (0.85, True, True)])
    def test_only_a_smaller_fraction_leaves_room_for_it(self, batch: int, fraction: float, *, expected_fits: bool, high_fits: bool) -> None:
        case = vllm_case(
            "Qwen2.5-14B-Instruct-1M",
            "0.10.2",
            GPU_80,
            devices=8,
            tensor=8,
            context=960_000,
            max_num_batched_tokens=batch,
            gpu_memory_utilization=fraction,
        )
        peak = ledger(case).peak("gpu0")
        assert (peak.expected <= case.devices[0].total_bytes) is expected_fits
        assert (peak.high <= case.devices[0].total_bytes) is high_fits

    @pytest.mark.parametrize(
        ("name", "ranks", "vendor_gb"),
        [("Qwen2.5-14B-Instruct-1M", 8, 320), ("Qwen2.5-14B-Instruct-1M", 4, 320), ("Qwen2.5-7B-Instruct-1M", 4, 120)],
    )
    def test_the_vendors_totals_are_reproduced(self, name: str, ranks: int, vendor_gb: int) -> None:
        case = vllm_case(name, "0.10.2", total_gib=200, devices=ranks, tensor=ranks, context=1_010_000, max_num_batched_tokens=131072)
        assert needed.need(case).nbytes * ranks / 1e9 == pytest.approx(vendor_gb, rel=0.08)

    def test_63125_blocks_hold_1010000_tokens(self) -> None:
        case = vllm_case("Qwen2.5-14B-Instruct-1M", "0.10.2", GPU_80, devices=8, tensor=8, context=1_010_000)
        pool = cache.pools(case)[0]
        assert sequence_blocks(case, pool, 1_010_000) == 63125
        assert 63125 * pool.block_bytes / GiB == pytest.approx(23.12, abs=0.01)

    def test_newer_releases_refuse_the_model(self) -> None:
        (objection, *_) = objections(vllm_case("Qwen2.5-14B-Instruct-1M", "0.28.0", GPU_80, devices=8, tensor=8))
        assert "layer_idx" in objection.text
        assert "0.10.2" in objection.next_step


def test_an_automatic_length_is_the_longest_that_fits() -> None:
    plan = evaluate(VLLM, raw_vllm_case("Qwen3-8B", "0.33.0", RTX_3090, max_model_len=-1))
    length = plan.case.settings.integer("max_model_len") or 0
    assert 0 < length < 40960
    assert plan.verdict is not Verdict.REFUSED
    longer = evaluate(VLLM, raw_vllm_case("Qwen3-8B", "0.33.0", RTX_3090, max_model_len=length + 16))
    assert longer.verdict is Verdict.REFUSED
