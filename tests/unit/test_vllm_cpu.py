"""vLLM on a processor: its cache, its processes, its refusals and its command, held to real runs of the build for processors."""

from pathlib import Path
from typing import Any

import pytest
from tests.cases import raw_vllm_case
from tests.processor_cases import cpu_case, observed_case, on_processor, refusal, tokens

from ullage import wire
from ullage.domain.case import Settings
from ullage.domain.ledger import Phase, Purpose
from ullage.domain.observation import Observation
from ullage.domain.placement import Parallel
from ullage.domain.plan import Verdict
from ullage.engines.vllm import ENGINE
from ullage.engines.vllm.processor import ALLOCATOR, THRESHOLD, stated_bytes
from ullage.engines.vllm.processor_figures import RECORD
from ullage.engines.vllm.processor_memory import held, step
from ullage.engines.vllm.ranks import ranks
from ullage.errors import InputError, UnsupportedModelError
from ullage.frozen import replace
from ullage.planning.cost_model import cost_model
from ullage.planning.search import find_best
from ullage.units import GiB, MiB

BOUND = (("VLLM_CPU_OMP_THREADS_BIND", "0|1"),)


FILE = Path(__file__).parents[1] / "data" / "observations" / f"{RECORD}.json"
OBSERVED = wire.from_wire(Observation, wire.loads(FILE.read_bytes()))


class TestCache:
    def test_one_gib_holds_what_the_engine_said(self) -> None:
        """Qwen3-0.6B's shape: 114,688 bytes a token, 73 blocks of 128."""
        assert tokens(cpu_case("Qwen3-0.6B", kv_cache_memory_bytes=GiB, max_model_len=4096)) == 9344

    def test_the_environment_goes_before_the_flag(self) -> None:
        case = cpu_case("Qwen3-0.6B", environment=(("VLLM_CPU_KVCACHE_SPACE", "1"),), kv_cache_memory_bytes=2 * GiB, max_model_len=4096)
        assert tokens(case) == 9344

    def test_a_size_that_is_no_whole_number_is_an_input_error(self) -> None:
        case = on_processor(raw_vllm_case("Qwen3-0.6B", "0.32.0", environment=(("VLLM_CPU_KVCACHE_SPACE", "1.5"),)))
        with pytest.raises(InputError, match="whole number"):
            stated_bytes(case)

    @pytest.mark.parametrize(
        ("name", "block", "page_of_a_layer"),
        [
            ("Qwen2.5-7B", 128, 262144),
            ("Qwen3-8B", 128, 524288),
            ("DeepSeek-V2-Lite", 128, 147456),
            ("Qwen3-Next-80B-A3B-Instruct", 1152, 2359296),
        ],
    )
    def test_blocks_are_cut_as_the_engine_cuts_them(self, name: str, block: int, page_of_a_layer: int) -> None:
        pool = ranks(cpu_case(name, kv_cache_memory_bytes=8 * GiB, max_model_len=4096, memory=(4096, 0)))[0].pool
        assert pool.block_tokens == block
        assert pool.block_bytes // pool.groups[0].layers == page_of_a_layer

    def test_windows_of_gemma_leave_what_the_engine_computed(self) -> None:
        case = cpu_case("gemma-3-27b-it", kv_cache_memory_bytes=8 * GiB, max_num_batched_tokens=2048, max_model_len=4096, memory=(256, 0))
        assert ENGINE.capacity(case, ENGINE.ledger(case)).max_context_tokens.expected == pytest.approx(85504, abs=128)

    @pytest.mark.parametrize(("tensor", "pipeline"), [(2, 1), (1, 2)])
    def test_each_of_two_workers_has_a_pool_of_its_own(self, tensor: int, pipeline: int) -> None:
        case = cpu_case("Qwen3-0.6B", kv_cache_memory_bytes=GiB, max_model_len=4096, environment=BOUND, tensor=tensor, pipeline=pipeline)
        assert tokens(case) == 2 * 9344
        entry = next(entry for entry in ENGINE.ledger(case).entries if entry.purpose is Purpose.KV_CACHE)
        assert 2 * GiB - 64 * MiB < entry.amount.expected <= 2 * GiB
        assert ENGINE.objections(case) == ()

    @pytest.mark.parametrize(("version", "size"), [("0.12.0", 4 * GiB), ("0.19.1", 12 * GiB)])
    def test_before_0_20_nothing_but_the_environment_sizes_it(self, version: str, size: int) -> None:
        rank = ranks(cpu_case("Qwen3-0.6B", version, max_model_len=4096, kv_cache_memory_bytes=GiB))[0]
        assert rank.blocks.expected == size // rank.pool.block_bytes

    def test_unsized_it_takes_the_share_less_what_the_worker_holds(self) -> None:
        case = cpu_case("Qwen3-0.6B", gpu_memory_utilization=0.25, max_model_len=4096)
        rank = ranks(case)[0]
        assert rank.blocks.expected == (6 * GiB - held(case, rank.weights).expected) // rank.pool.block_bytes

    def test_releases_before_those_that_were_read_are_refused(self) -> None:
        with pytest.raises(UnsupportedModelError, match=r"0\.11\.0"):
            cpu_case("Qwen3-0.6B", "0.10.2")


class TestMemory:
    @pytest.mark.parametrize(("stated", "seen_mib"), [(frozenset[str](), 3393.5), (frozenset({THRESHOLD}), 3739.9)])
    def test_a_worker_holds_what_was_seen(self, stated: frozenset[str], seen_mib: float) -> None:
        """Qwen3-0.6B's shape and 1 GiB of cache, eager: with the allocator told to give back, and without."""
        case = replace(cpu_case("Qwen3-0.6B", kv_cache_memory_bytes=GiB, max_model_len=4096, enforce_eager=True), stated=stated)
        rank = ranks(case)[0]
        found = (held(case, rank.weights).expected + rank.cache.expected) / MiB
        assert found == pytest.approx(seen_mib, rel=0.03)

    def test_the_token_table_is_counted_three_times_where_it_is_tied(self) -> None:
        case = cpu_case("Qwen3-0.6B", kv_cache_memory_bytes=GiB, max_model_len=4096)
        table = 151936 * 1024 * 2
        copies = [entry.amount.expected for entry in ENGINE.ledger(case).entries if entry.purpose is Purpose.BUFFERS]
        assert max(copies) == 2 * table

    def test_everything_lies_on_the_one_device(self) -> None:
        assert {entry.device for entry in ENGINE.ledger(cpu_case("Qwen3-0.6B", kv_cache_memory_bytes=GiB)).entries} == {"cpu"}


class TestGuard:
    def test_a_request_costs_whole_blocks_of_128_tokens(self) -> None:
        case = cpu_case("Qwen3-0.6B", kv_cache_memory_bytes=GiB, max_model_len=4096)
        cost, block = cost_model(ENGINE, case, ENGINE.ledger(case)), 114688 * 128
        assert cost.steps[:3] == ((128, block), (256, 2 * block), (384, 3 * block))
        assert cost.longest_tokens == 4096
        assert cost.steps[-1] == (4096, 32 * block)


class TestRefusals:
    def test_a_length_that_the_cache_does_not_hold_names_the_longest_without_the_null_block(self) -> None:
        said = refusal(cpu_case("Qwen2.5-0.5B", kv_cache_memory_bytes=16 * MiB, max_model_len=32768))
        assert "the estimated maximum model length is 1152" in said

    def test_a_share_that_is_not_free_is_refused_at_start(self) -> None:
        case = cpu_case("Qwen3-0.6B", memory=(11.09, 2.31), gpu_memory_utilization=1.0, max_model_len=4096)
        wanted = "Available memory on node 0 (8.78/11.09 GiB) on startup is less than desired CPU memory utilization (1.0, 11.09 GiB)."
        assert refusal(case).startswith(wanted)

    def test_0_33_has_no_such_check_and_says_what_the_worker_uses(self) -> None:
        settings: dict[str, Any] = {"gpu_memory_utilization": 0.02, "max_model_len": 4096}
        assert "requested memory for kv (-" in refusal(cpu_case("Qwen3-0.6B", memory=(11.09, 2), **settings))
        newer = refusal(cpu_case("Qwen3-0.6B", "0.33.0", memory=(11.09, 2), **settings))
        assert newer.startswith("The worker already uses ")
        assert refusal(cpu_case("Qwen3-0.6B", "0.33.0", memory=(24, 4), max_model_len=4096)) == ""

    def test_a_cache_larger_than_what_is_free_is_refused(self) -> None:
        case = cpu_case("Qwen3-0.6B", memory=(11.09, 0), environment=(("VLLM_CPU_KVCACHE_SPACE", "40"),), max_model_len=4096)
        assert "is less than requested memory for kv (40.0 GiB). Decrease --kv-cache-memory-bytes, VLLM_CPU_KVCACHE_SPACE" in refusal(case)

    def test_workers_without_cores_of_their_own_are_refused(self) -> None:
        settings: dict[str, Any] = {"kv_cache_memory_bytes": GiB, "max_model_len": 4096}
        assert "Not enough allowed NUMA nodes" in refusal(cpu_case("Qwen3-0.6B", tensor=2, **settings))
        three = (("VLLM_CPU_OMP_THREADS_BIND", "0|1|2"),)
        assert "doesn't match local world size 2" in refusal(cpu_case("Qwen3-0.6B", tensor=2, environment=three, **settings))


class TestCommand:
    def test_it_starts_the_module_with_an_allocator_that_gives_back(self) -> None:
        command = ENGINE.command(cpu_case("Qwen3-0.6B", kv_cache_memory_bytes=GiB))
        assert command.argv[:3] == ("python", "-m", "vllm.entrypoints.openai.api_server")
        assert set(ALLOCATOR) <= set(command.environment)

    def test_an_allocator_of_ones_own_is_left_alone(self) -> None:
        own = (("LD_PRELOAD", "libtcmalloc_minimal.so.4"),)
        assert ENGINE.command(cpu_case("Qwen3-0.6B", environment=own)).environment == own

    def test_a_command_with_the_processors_variables_reads_back(self) -> None:
        environment = {"VLLM_CPU_KVCACHE_SPACE": "4", "VLLM_CPU_OMP_THREADS_BIND": "0|1", "MALLOC_TRIM_THRESHOLD_": "131072"}
        request = ENGINE.read_command(("vllm", "serve", "m", "-tp", "2", "--enforce-eager"), environment, None)
        assert request is not None
        assert [finding.text.partition(":")[0] for finding in request.findings] == [
            "where vLLM is installed as vllm-cpu, `vllm serve` stops with PackageNotFoundError"
        ]
        assert dict(request.environment) == environment
        assert request.parallel == Parallel(tensor=2)

    def test_what_somebody_wrote_without_the_thresholds_keeps_what_was_freed(self) -> None:
        request = ENGINE.read_command(("vllm", "serve", "m"), {}, None)
        assert request is not None
        plain = cpu_case("Qwen3-0.6B", kv_cache_memory_bytes=GiB)
        theirs = replace(plain, stated=plain.stated | request.stated)
        more = sum(entry.amount.expected for entry in ENGINE.ledger(theirs).entries)
        assert more > sum(entry.amount.expected for entry in ENGINE.ledger(plain).entries) + 300 * MiB

    def test_unasked_the_cache_is_sized_in_bytes_and_not_by_a_share_of_what_others_use(self) -> None:
        found = find_best(ENGINE, on_processor(raw_vllm_case("Qwen3-0.6B", "0.32.0"), 24, 8))
        assert found.verdict is Verdict.FITS
        assert found.case.settings.integer("kv_cache_memory_bytes")
        assert found.case.settings.number("gpu_memory_utilization") == 0.92


class TestObservation:
    @pytest.mark.parametrize("phase", [Phase.RESIDENT, Phase.PREFILL])
    def test_what_was_seen_lies_within_two_percent_of_the_plan(self, phase: Phase) -> None:
        seen, promised = OBSERVED.at(phase), ENGINE.ledger(observed_case(OBSERVED))
        assert seen is not None
        assert promised.at("cpu", phase).expected == pytest.approx(seen.peak_allocated_bytes, rel=0.02)

    def test_a_step_over_all_tokens_lies_near_what_the_prompt_added(self) -> None:
        """With the code that it touched first, which the worker's own figure knows, and without."""
        before, after = OBSERVED.at(Phase.RESIDENT), OBSERVED.at(Phase.PREFILL)
        assert before is not None
        assert after is not None
        added = after.peak_allocated_bytes - before.peak_allocated_bytes
        code = sum(one.nbytes for one in after.held) - sum(one.nbytes for one in before.held)
        found = ENGINE.ledger(observed_case(OBSERVED)).of("cpu", Purpose.ACTIVATIONS)
        assert found == step(observed_case(OBSERVED), 2048)
        assert found.low <= added - code < added <= found.high
        assert found.expected == pytest.approx(added, rel=0.15)

    def test_weights_copies_and_cache_are_exact(self) -> None:
        seen, promised = OBSERVED.at(Phase.RESIDENT), ENGINE.ledger(observed_case(OBSERVED))
        assert seen is not None
        for purpose in (Purpose.WEIGHTS, Purpose.KV_CACHE):
            assert promised.of("cpu", purpose).expected == seen.of(purpose)

    def test_a_cache_that_fills_a_share_is_as_large_as_the_engine_made_it(self) -> None:
        """The same model with 0.15 of 23.54 GiB: 0.98 GiB held by the worker, 118,912 tokens."""
        said = Settings.of({"dtype": "bfloat16", "enforce_eager": True, "gpu_memory_utilization": 0.15, "max_model_len": 2048})
        case = ENGINE.resolve(replace(observed_case(OBSERVED), settings=said))
        assert tokens(case) == pytest.approx(118912, rel=0.005)
