"""Real runs of vLLM's build for processors, 0.32.0 on two cores: compiled, with two workers, and of other families, held to the plan.

The figures are what the engine said and what its processes had in memory (PSS); models had random weights of the shapes below.
"""

from pathlib import Path
from typing import Any

import pytest
from tests.processor_cases import observed_case, refusal, shaped_case, tokens

from ullage import wire
from ullage.catalog import models
from ullage.domain.case import Case
from ullage.domain.ledger import Phase
from ullage.domain.observation import Observation
from ullage.engines.vllm import ENGINE
from ullage.engines.vllm.processor_figures import COMPILED_RECORD
from ullage.engines.vllm.ranks import ranks
from ullage.units import GiB, MiB

FILE = Path(__file__).parents[1] / "data" / "observations" / f"{COMPILED_RECORD}.json"
COMPILED = wire.from_wire(Observation, wire.loads(FILE.read_bytes()))
BOUND = (("VLLM_CPU_OMP_THREADS_BIND", "0|1"),)


def cut(name: str, **sizes: Any) -> dict[str, Any]:
    """A bundled configuration with other sizes, unquantised."""
    found = models.lookup(name)
    assert found is not None
    whole = wire.loads(models.configuration(found))
    assert isinstance(whole, dict)
    kept = {key: value for key, value in whole.items() if key != "quantization_config"}
    layers = sizes["num_hidden_layers"]
    kinds = whole.get("layer_types")
    return {**kept, **({"layer_types": kinds[:layers]} if isinstance(kinds, list) else {}), **sizes}


QWEN3 = cut("Qwen3-0.6B", num_hidden_layers=12)
GEMMA3 = cut("gemma-3-1b-it", num_hidden_layers=13, vocab_size=65536)
SMALL = {"hidden_size": 1024, "num_attention_heads": 16, "vocab_size": 49152}
QWEN3_MOE = cut("Qwen3-30B-A3B", num_hidden_layers=4, num_experts=16, num_experts_per_tok=4, moe_intermediate_size=512, **SMALL)
GPT_OSS = cut("gpt-oss-20b", num_hidden_layers=6, num_local_experts=8, intermediate_size=1024, num_key_value_heads=4, **SMALL)
QWEN3_NEXT = cut(
    "Qwen3-Next-80B-A3B-Instruct",
    num_hidden_layers=8,
    hidden_size=512,
    num_experts=8,
    num_experts_per_tok=2,
    moe_intermediate_size=256,
    shared_expert_intermediate_size=256,
    vocab_size=49152,
)
DEEPSEEK = cut(
    "DeepSeek-V2-Lite",
    num_hidden_layers=4,
    hidden_size=1024,
    n_routed_experts=16,
    intermediate_size=2816,
    moe_intermediate_size=512,
    vocab_size=49152,
)
EAGER: dict[str, Any] = {"enforce_eager": True, "max_model_len": 4096}
SIZED: dict[str, Any] = {**EAGER, "kv_cache_memory_bytes": 256 * MiB}


def promised(case: Case, *phases: Phase) -> float:
    """MiB of all the engine's processes."""
    return sum(entry.amount.expected for entry in ENGINE.ledger(case).entries if entry.phase in phases) / MiB


class TestCompiled:
    @pytest.mark.parametrize("phase", [Phase.RESIDENT, Phase.PREFILL])
    def test_what_was_seen_lies_within_two_percent_of_the_plan(self, phase: Phase) -> None:
        seen, plan = COMPILED.at(phase), ENGINE.ledger(observed_case(COMPILED))
        assert seen is not None
        assert plan.at("cpu", phase).expected == pytest.approx(seen.peak_allocated_bytes, rel=0.02)

    def test_its_cache_holds_what_the_engine_said(self) -> None:
        assert tokens(observed_case(COMPILED)) == 23296

    def test_code_grows_with_the_layers(self) -> None:
        """Twelve layers of another family: 3,234 MiB after the start."""
        case = shaped_case(QWEN3, kv_cache_memory_bytes=256 * MiB, max_model_len=2048, context=2048)
        assert promised(case, Phase.RESIDENT) == pytest.approx(3233.9, rel=0.02)
        assert tokens(case) == 5376


class TestTwoWorkers:
    def test_halves_of_heads_hold_what_was_seen(self) -> None:
        """Two cores, a worker each: after the start, and at the widest of a prompt of 4,076 tokens."""
        case = shaped_case(QWEN3, tensor=2, environment=BOUND, context=4096, **SIZED)
        assert refusal(case) == ""
        assert tokens(case) == 10880
        assert promised(case, Phase.RESIDENT) == pytest.approx(3843.5, rel=0.02)
        assert promised(case, Phase.RESIDENT, Phase.PREFILL) == pytest.approx(4064.5, rel=0.02)

    def test_the_last_of_two_stages_has_the_table_for_its_embedding_and_its_head(self) -> None:
        """1.40 and 1.69 GiB were held as the cache was sized by a share of 0.09; 18,688 tokens."""
        case = shaped_case(QWEN3, pipeline=2, environment=BOUND, gpu_memory_utilization=0.09, **EAGER)
        assert [round(rank.fixed.expected / GiB, 2) for rank in ranks(case)] == pytest.approx([1.40, 1.69], abs=0.02)
        assert tokens(case) == pytest.approx(18688, rel=0.03)

    def test_eager_stages_are_refused_for_they_end_with_their_first_request(self) -> None:
        said = refusal(shaped_case(QWEN3, pipeline=2, environment=BOUND, **SIZED))
        assert said == "AssertionError: assert self.intermediate_tensors is not None"
        compiled = {**SIZED, "enforce_eager": False}
        assert refusal(shaped_case(QWEN3, pipeline=2, environment=BOUND, **compiled)) == ""
        assert refusal(shaped_case(QWEN3, "0.26.0", pipeline=2, environment=BOUND, **SIZED)) == ""


class TestFamilies:
    def test_windows_fill_a_share_as_the_engine_said(self) -> None:
        """0.15 of 23.54 GiB: 191,630 tokens; 4,582 MiB after the start and 4,720 under a load of two."""
        case = shaped_case(GEMMA3, context=4096, gpu_memory_utilization=0.15, **EAGER)
        assert tokens(case) == pytest.approx(191630, rel=0.005)
        assert promised(case, Phase.RESIDENT) == pytest.approx(4582.2, rel=0.02)
        assert promised(case, Phase.RESIDENT, Phase.PREFILL) == pytest.approx(4720.1, rel=0.02)

    @pytest.mark.parametrize(
        ("shape", "said", "started", "widest"),
        [
            pytest.param(QWEN3_MOE, 116096, 3140.3, 3246.7, id="experts"),
            pytest.param(GPT_OSS, 132002, 3140.1, 3216.3, id="experts beside windows"),
            pytest.param(QWEN3_NEXT, 64256, 3146.1, 3499.0, id="states"),
        ],
    )
    def test_families_of_other_kinds_hold_what_was_seen(self, shape: dict[str, Any], said: int, started: float, widest: float) -> None:
        """A share of 0.09: tokens as said, after the start, and at the widest of a prompt of 2,028 tokens."""
        case = shaped_case(shape, context=2048, enforce_eager=True, gpu_memory_utilization=0.09, max_model_len=2048)
        assert tokens(case) == pytest.approx(said, rel=0.02)
        assert promised(case, Phase.RESIDENT) == pytest.approx(started, rel=0.02)
        assert promised(case, Phase.RESIDENT, Phase.PREFILL) == pytest.approx(widest, rel=0.02)

    def test_latents_without_tiles_hold_whole_scores_of_a_prompt(self) -> None:
        """Blocks of 16, 202,336 tokens; 3,862 MiB at the widest of a prompt of 2,028 tokens, and 5,600 of one of 4,076."""
        said: dict[str, Any] = {"enforce_eager": True, "gpu_memory_utilization": 0.09}
        for length, widest in ((2048, 3862.0), (4096, 5600.4)):
            case = shaped_case(DEEPSEEK, tiles=False, context=length, max_model_len=length, **said)
            assert ranks(case)[0].pool.block_tokens == 16
            assert tokens(case) == pytest.approx(202336, rel=0.03)
            assert promised(case, Phase.RESIDENT, Phase.PREFILL) == pytest.approx(widest, rel=0.02)
        assert refusal(shaped_case(DEEPSEEK, tiles=False, disable_hybrid_kv_cache_manager=True, **SIZED)) == ""
        assert ranks(shaped_case(DEEPSEEK, tiles=True, max_model_len=2048, **said))[0].pool.block_tokens == 128

    def test_a_prompt_of_latents_is_one_batch_where_tiles_are_not_multiplied(self) -> None:
        lengths = [
            shaped_case(DEEPSEEK, tiles=tiles, max_model_len=8192).settings.integer("max_num_batched_tokens") for tiles in (False, True)
        ]
        assert lengths == [8192, 2048]

    def test_logits_out_of_the_embeddings_own_module_need_no_table_of_a_head(self) -> None:
        buffers = [
            max(promised_copies(shaped_case({**GEMMA3, "model_type": kind, "architectures": [name]}, **SIZED)))
            for kind, name in (("gemma3_text", "Gemma3ForCausalLM"), ("gemma2", "Gemma2ForCausalLM"))
        ]
        assert buffers == [2 * 65536 * 1152 * 2, 65536 * 1152 * 2]


def promised_copies(case: Case) -> list[int]:
    return [entry.amount.expected for entry in ENGINE.ledger(case).entries if "token table" in entry.because]


class TestBlocks:
    @pytest.mark.parametrize(
        ("version", "block", "said"),
        [
            ("0.32.0", 16, "No common block size for 16 (CPU_ATTN: [MultipleOf(32)])."),
            ("0.30.0", 48, "No common block size for 48."),
            ("0.28.0", 16, ""),
            ("0.32.0", 96, ""),
        ],
    )
    def test_the_kernel_reads_whole_multiples_of_32_tokens(self, version: str, block: int, said: str) -> None:
        assert refusal(shaped_case(QWEN3, version, block_size=block, **SIZED)) == said

    @pytest.mark.parametrize(("block", "taken"), [(16, 32), (48, 32), (96, 96)])
    def test_windows_take_what_the_kernel_reads_whatever_was_said(self, block: int, taken: int) -> None:
        mistral = {**QWEN3, "model_type": "mistral", "architectures": ["MistralForCausalLM"], "sliding_window": 1024}
        case = shaped_case(mistral, block_size=block, **SIZED)
        assert ranks(case)[0].pool.block_tokens == taken
        assert refusal(case) == ""

    def test_scales_of_tokens_and_heads_have_no_room_there_and_a_note_says_what_comes_of_it(self) -> None:
        """SmolLM2-135M with 128 MiB of int8_per_token_head: 11,648 tokens, and noise for an answer."""
        smollm: Any = COMPILED.run.configuration
        said: dict[str, Any] = {"kv_cache_memory_bytes": 128 * MiB, "max_model_len": 1024}
        case = shaped_case(smollm, kv_cache_dtype="int8_per_token_head", **said)
        assert tokens(case) == 11648
        assert any("make no sense" in note for note in ENGINE.notes(case, ENGINE.ledger(case)))
        plain = shaped_case(smollm, kv_cache_dtype="fp8", **said)
        assert not any("make no sense" in note for note in ENGINE.notes(plain, ENGINE.ledger(plain)))
