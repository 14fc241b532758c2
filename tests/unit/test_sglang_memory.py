"""The memory model of SGLang against figures from its logs, its own rules, and the facts about its releases."""

from dataclasses import replace
from functools import cache

import pytest
from tests.cases import bundled, machine

from ullage import formats, wire
from ullage.architectures import read
from ullage.catalog import models as catalogue
from ullage.domain.case import Case, Model, Settings, Value
from ullage.domain.hyperparameters import Hyperparameters
from ullage.domain.ledger import Phase, Purpose
from ullage.domain.machine import Device, Machine
from ullage.domain.placement import Parallel
from ullage.domain.plan import Verdict
from ullage.domain.workload import Workload
from ullage.engines.sglang import ENGINE
from ullage.engines.sglang import cache as pools
from ullage.engines.sglang.activation import dual_chunk_workspace, request_table
from ullage.engines.sglang.fraction import card_mib, graphed_prompts
from ullage.engines.sglang.ranks import fraction, ranks
from ullage.engines.sglang.shards import stage_layers
from ullage.engines.sglang.versions import version
from ullage.planning.fit import evaluate
from ullage.planning.search import solve
from ullage.units import GiB

Card = tuple[str, float, tuple[int, int]]
H100: Card = ("NVIDIA H100 80GB", 79.19, (9, 0))
H200: Card = ("NVIDIA H200", 139.81, (9, 0))
RTX_4090: Card = ("NVIDIA GeForce RTX 4090", 23.52, (8, 9))


@cache
def model(name: str) -> Model:
    return bundled(name)


def question(
    name: str,
    release: str,
    card: Card = H100,
    *,
    tensor: int = 1,
    pipeline: int = 1,
    context: int | None = None,
    count: int = 1,
    **settings: Value,
) -> Case:
    return Case(
        model=model(name),
        engine="sglang",
        version=version(release),
        machine=machine(card, tensor * pipeline),
        parallel=Parallel(tensor=tensor, pipeline=pipeline),
        workload=Workload(context_tokens=context, concurrent_sequences=count),
        settings=Settings.of(settings),
    )


def resolved(name: str, release: str, card: Card = H100, **more: object) -> Case:
    return ENGINE.resolve(question(name, release, card, **more))  # type: ignore[arg-type]


def test_the_pool_of_a_vision_model_on_an_h200_is_that_of_its_log() -> None:
    """sgl-project/sglang#4826: 8.13 GiB loaded, 834,615 tokens, 108.24 GiB of keys and values."""
    case = resolved("gemma-3-4b-it", "0.4.4", H200)
    rank = ranks(case)[0]
    assert rank.loaded.expected / GiB == pytest.approx(8.13, abs=0.08)
    assert rank.tokens.expected == pytest.approx(834615, rel=0.01)
    assert rank.cache.expected / GiB == pytest.approx(108.24, rel=0.01)


def test_the_pool_of_a_quantised_mixture_on_four_h100_is_that_of_its_log() -> None:
    """vllm-project/vllm#21348: Qwen3-235B-A22B-FP8, --mem-fraction-static 0.93: 367,404 tokens, 16.46 GiB, and it ran."""
    found = catalogue.lookup("Qwen3-235B-A22B-FP8")
    assert found is not None
    config = Hyperparameters(wire.loads(catalogue.configuration(found)))
    plain = question("Qwen3-235B-A22B", "0.4.9", H100, tensor=4, mem_fraction_static=0.93)
    checkpoint = formats.checkpoint(read(config), formats.quantization_of(config))
    stored = Model(
        name="Qwen3-235B-A22B-FP8",
        source="bundled",
        architecture=plain.model.architecture,
        checkpoint=checkpoint,
        parameters=plain.model.parameters,
    )
    outcome = evaluate(ENGINE, replace(plain, model=stored))
    assert outcome.capacity.kv_tokens.expected == pytest.approx(367404, rel=0.02)
    assert outcome.capacity.kv_cache_bytes.expected / GiB == pytest.approx(16.46, rel=0.02)
    assert outcome.verdict in {Verdict.FITS, Verdict.TIGHT}


def test_a_mixture_on_one_card_loads_what_its_log_says() -> None:
    """sgl-project/sglang#18263: 56.98 GiB for Qwen3-30B-A3B, 287.18 GiB free before, 204.63 GiB for the pool at 0.911."""
    rank = ranks(resolved("Qwen3-30B-A3B", "0.5.15", ("MI355X", 287.98, (9, 0)), mem_fraction_static=0.911))[0]
    assert rank.loaded.expected / GiB == pytest.approx(56.98, abs=0.05)
    assert rank.rest.expected / GiB == pytest.approx(204.63, rel=0.003)


@pytest.mark.parametrize(
    ("name", "tensor", "tokens", "gib"),
    [("Qwen3-235B-A22B", 4, 367404, 2 * 8.23), ("Qwen3-30B-A3B", 1, 122420, 11.2)],
)
def test_bytes_of_a_token_are_those_that_logs_divide_to(name: str, tensor: int, tokens: int, gib: float) -> None:
    (pool,) = pools.pools(resolved(name, "0.5.8", tensor=tensor))
    assert pool.full * tokens / GiB == pytest.approx(gib, rel=0.005)


@pytest.mark.parametrize(
    ("release", "card", "tensor", "settings", "expected"),
    [
        ("0.4.0", H100, 1, {}, 0.88),
        ("0.4.3", H100, 8, {}, 0.81),
        ("0.4.6", H100, 4, {}, 0.85),
        ("0.4.6", H200, 8, {}, 0.872),
        ("0.4.9", RTX_4090, 1, {}, 0.879),
        ("0.4.9", H100, 1, {}, 0.877),
        ("0.4.9", H100, 8, {}, 0.834),
        ("0.5.3", RTX_4090, 1, {}, 0.842),
        ("0.5.8", H100, 1, {}, 0.835),
        ("0.5.8", H100, 8, {"speculative_algorithm": "EAGLE"}, 0.793),
        ("0.5.23", RTX_4090, 1, {}, 0.704),
    ],
)
def test_the_default_fraction_follows_the_rule_of_the_release(
    release: str, card: Card, tensor: int, settings: dict[str, Value], expected: float
) -> None:
    case = resolved("Qwen3-8B", release, card, tensor=tensor, **settings)
    assert case.settings.number("mem_fraction_static") == pytest.approx(expected, abs=0.007)


def test_the_example_of_a_4090_reserves_chunk_graphs_ranks_and_prompt_graphs() -> None:
    """0.5.23: 512 + 1.5 x 4096 + 2 x 48 + 128 MiB, and 8 MiB for every captured prompt length up to 4096."""
    case = resolved("Qwen3-8B", "0.5.23", RTX_4090)
    mib = card_mib(case.devices[0])
    reserved = 512 + 6144 + 96 + 128 + 8 * graphed_prompts(4096)
    assert case.settings.number("mem_fraction_static") == round((mib - reserved) / mib, 3)
    assert case.settings.integer("chunked_prefill_size") == 4096
    assert case.settings.integer("cuda_graph_max_bs") == 48


@pytest.mark.parametrize(
    ("release", "gib", "tensor", "chunk", "batch"),
    [
        ("0.4.0", 23.5, 4, 2048, 8),
        ("0.4.3", 23.5, 4, 2048, 80),
        ("0.4.9", 139.8, 1, 8192, 256),
        ("0.5.3", 23.5, 1, 2048, 16),
        ("0.5.8", 15.5, 1, 2048, 8),
        ("0.5.8", 44.0, 1, 4096, 32),
        ("0.5.8", 79.2, 4, 8192, 512),
        ("0.5.8", 178.0, 1, 16384, 512),
    ],
)
def test_chunk_and_captured_batch_follow_the_card(release: str, gib: float, tensor: int, chunk: int, batch: int) -> None:
    case = resolved("Qwen3-8B", release, ("some card", gib, (8, 0)), tensor=tensor)
    assert (case.settings.integer("chunked_prefill_size"), case.settings.integer("cuda_graph_max_bs")) == (chunk, batch)


def test_the_request_table_of_ten_million_positions_does_not_fit_a_card() -> None:
    """sgl-project/sglang#5755: 'Tried to allocate 80.04 GiB' with 2048 requests of 10,485,760 tokens."""
    case = resolved("Llama-4-Scout-17B-16E-Instruct", "0.4.5", H100, tensor=8)
    amount, _ = request_table(case, ranks(case)[0])
    assert amount.expected / GiB == pytest.approx(80.04, abs=0.01)
    outcome = evaluate(ENGINE, question("Llama-4-Scout-17B-16E-Instruct", "0.4.5", H100, tensor=8))
    assert outcome.verdict is Verdict.DOES_NOT_FIT
    assert any(lever.setting == "max_running_requests" for lever in ENGINE.levers(case))


def test_recurrent_state_gets_nine_tenths_of_what_keys_and_values_get() -> None:
    rank = ranks(resolved("Qwen3-Next-80B-A3B-Instruct", "0.5.8", tensor=4))[0]
    assert rank.state.expected / rank.cache.expected == pytest.approx(0.9, rel=0.01)
    assert rank.sizes.requests == rank.sizes.slots // 3


def test_windows_have_a_pool_of_their_own_only_where_the_release_lists_the_family() -> None:
    listed = resolved("gpt-oss-20b", "0.5.8")
    (before,), (after,) = pools.pools(resolved("gpt-oss-20b", "0.4.9")), pools.pools(listed)
    (gemma,) = pools.pools(resolved("gemma-3-27b-it", "0.5.23"))
    assert before.window == 0 < after.window
    assert before.full == after.full + after.window
    assert gemma.window == 0
    sizes = ranks(listed)[0].sizes
    assert sizes.window_tokens == pytest.approx(0.8 * sizes.tokens, rel=0.001)


def test_a_latent_cache_is_whole_on_every_rank_and_an_indexer_adds_132_bytes() -> None:
    (latent,) = pools.pools(resolved("DeepSeek-V3", "0.5.8", H200, tensor=8))
    (sparse,) = pools.pools(resolved("DeepSeek-V3.2", "0.5.8", H200, tensor=8))
    assert latent.full == 61 * 576 * 2
    assert sparse.full == 61 * (576 * 2 + 132)
    (fp8,) = pools.pools(resolved("DeepSeek-V3.2", "0.5.8", H200, tensor=8, kv_cache_dtype="fp8_e4m3"))
    assert fp8.full == 61 * (656 + 132)


def test_data_parallel_attention_keeps_heads_whole_and_shares_the_experts() -> None:
    plain = ranks(resolved("Qwen3-30B-A3B", "0.5.8", tensor=4))[0]
    inner = ranks(resolved("Qwen3-30B-A3B", "0.5.8", tensor=4, enable_dp_attention=True, dp_size=4))[0]
    assert inner.pool.full == 4 * plain.pool.full
    attention = inner.weights.parameters - plain.weights.parameters
    assert 0 < attention < plain.weights.parameters


def test_a_draft_lies_outside_the_fraction_until_0_5_14() -> None:
    def outside(release: str) -> int:
        case = resolved(
            "Qwen3-8B", release, tensor=1, speculative_algorithm="EAGLE3", speculative_draft_model_path="d", mem_fraction_static=0.8
        )
        return sum(e.amount.expected for e in ENGINE.ledger(case).entries if e.purpose is Purpose.WEIGHTS and not e.budgeted)

    assert outside("0.5.8") > 0 == outside("0.5.14")


def test_a_stated_number_of_tokens_caps_the_pool_and_leaves_the_rest_free() -> None:
    case = resolved("Qwen3-8B", "0.5.8", max_total_tokens=50000)
    assert ranks(case)[0].sizes.tokens == 50000
    assert ENGINE.ledger(case).joins == ()
    assert ENGINE.ledger(case).peak("gpu0").high < 40 * GiB


def test_pages_are_whole() -> None:
    case = resolved("Qwen3-8B", "0.5.8", page_size=64)
    assert ranks(case)[0].sizes.tokens % 64 == 0


@pytest.mark.parametrize(("even", "layers"), [(False, (15, 15, 17)), (True, (15, 16, 16))])
def test_extra_layers_go_to_the_last_stages(even: bool, layers: tuple[int, ...]) -> None:  # noqa: FBT001
    assert tuple(end - start for start, end in stage_layers(47, 3, None, even=even)) == layers


LONG = "Qwen2.5-7B-Instruct-1M"


@pytest.mark.parametrize(
    ("release", "text"), [("0.4.10", "not read by this release"), ("0.5.20", "no native path"), ("0.5.23", "no native path")]
)
def test_dual_chunk_models_are_refused_before_0_5_1_and_after_0_5_19(release: str, text: str) -> None:
    outcome = evaluate(ENGINE, question(LONG, release, tensor=4, context=1_010_000))
    assert outcome.verdict is Verdict.REFUSED
    assert text in outcome.objections[0].text
    assert "0.5.19" in outcome.objections[0].next_step


@pytest.mark.parametrize("release", ["0.5.1", "0.5.8", "0.5.19"])
def test_dual_chunk_workspace_lies_outside_the_budget(release: str) -> None:
    case = resolved(LONG, release, tensor=4, context=1_010_000, chunked_prefill_size=131072, mem_fraction_static=0.7)
    assert ENGINE.objections(case) == ()
    work = dual_chunk_workspace(case)
    assert work is not None
    assert work.workspace.expected / GiB == pytest.approx(8.43, abs=0.02)  # 1280 B x 7 heads x 1,010,000 tokens
    (entry,) = [e for e in ENGINE.ledger(case).on("gpu0") if e.purpose is Purpose.WORKSPACE and e.phase is Phase.PREFILL]
    assert not entry.budgeted
    argv = ENGINE.command(case).argv
    assert argv[argv.index("--attention-backend") + 1] == "dual_chunk_flash_attn"


def test_another_backend_is_refused_for_a_dual_chunk_model() -> None:
    outcome = evaluate(ENGINE, question(LONG, "0.5.8", tensor=4, context=500_000, attention_backend="fa3"))
    assert "Please set it to 'dual_chunk_flash_attn'" in outcome.objections[0].text


def test_a_short_context_of_a_dual_chunk_model_runs_before_the_backend_came() -> None:
    assert evaluate(ENGINE, question(LONG, "0.4.9", tensor=1, context=100_000)).verdict is not Verdict.REFUSED


def test_weights_that_fill_the_fraction_want_a_higher_one() -> None:
    early = evaluate(ENGINE, question("Qwen3-32B", "0.5.8", mem_fraction_static=0.75))
    late = evaluate(ENGINE, question("Qwen3-32B", "0.5.23", mem_fraction_static=0.75))
    assert early.objections[0].text.startswith("RuntimeError: Not enough memory. Please try to increase --mem-fraction-static.")
    assert "Loaded weights leave no GPU memory for the KV cache under --mem-fraction-static=0.75" in late.objections[0].text
    assert late.objections[0].next_step.startswith("--mem-fraction-static above 0.7")


def test_a_million_tokens_are_planned_on_eight_cards() -> None:
    plan = solve(ENGINE, question(LONG, "0.5.19", H100, tensor=4, context=1_010_000))
    assert plan.verdict in {Verdict.FITS, Verdict.TIGHT}, plan.binding


def test_early_releases_lower_a_stated_fraction_of_vision_models() -> None:
    assert fraction(resolved("gemma-3-4b-it", "0.4.4", H200, mem_fraction_static=0.8)) == pytest.approx(0.76)
    assert fraction(resolved("Qwen2.5-VL-7B-Instruct", "0.4.9", H200, mem_fraction_static=0.8)) == pytest.approx(0.8)


def test_aiter_kernels_lower_the_fraction_of_long_contexts() -> None:
    device = Device(id="gpu0", kind="rocm", name="AMD MI300X", total_bytes=192 * GiB)
    asked = question("Qwen3-8B", "0.5.8", mem_fraction_static=0.8)
    case = ENGINE.resolve(Case(**{**{f: getattr(asked, f) for f in asked.__slots__}, "machine": Machine(devices=(device,))}))
    assert fraction(case) == pytest.approx(0.8 * 0.85)


def test_more_memory_never_holds_fewer_tokens() -> None:
    tokens = [
        ranks(resolved("Qwen3-8B", "0.5.8", ("a card", gib, (8, 0)), mem_fraction_static=0.8))[0].sizes.tokens for gib in (24, 32, 48, 80)
    ]
    assert tokens == sorted(tokens)
