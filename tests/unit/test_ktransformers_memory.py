"""The figures of KTransformers: issue 101, its own documents, and the fork's logs."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.cases import bundled, machine

from ullage import formats
from ullage.architectures import read
from ullage.catalog import models
from ullage.domain.case import Case, Model, Settings, Value, Version
from ullage.domain.hyperparameters import Hyperparameters
from ullage.domain.ledger import Phase, Purpose
from ullage.domain.machine import Device, Machine
from ullage.domain.placement import Parallel
from ullage.domain.plan import Limit, Verdict
from ullage.domain.workload import Workload
from ullage.engines.ktransformers import ENGINE
from ullage.engines.ktransformers.classic_prefill import scores
from ullage.engines.ktransformers.kernel_pool import pool
from ullage.engines.ktransformers.kernel_weights import gpu_bytes, host_bytes, weights
from ullage.engines.ktransformers.placement import expert_bytes
from ullage.planning.answer import answer
from ullage.planning.fit import Outcome, evaluate
from ullage.planning.search import solve
from ullage.units import GB, GiB, MiB
from ullage.wire import loads

RTX_4090 = ("NVIDIA GeForce RTX 4090", 23.52, (8, 9))
CODER = "DeepSeek-Coder-V2-Instruct"


def quantised(name: str, scheme: str | None = None) -> Model:
    """A bundled model as stored, or in a named scheme."""
    found = models.lookup(name)
    assert found is not None
    config = Hyperparameters(loads(models.configuration(found)))
    blueprint = read(config)
    stated = Hyperparameters(formats.named_scheme(scheme), "test") if scheme else formats.quantization_of(config)
    plain = bundled(name)
    return Model(
        name=name,
        source="bundled",
        architecture=blueprint.architecture,
        checkpoint=formats.checkpoint(blueprint, stated),
        parameters=plain.parameters,
        unquantised=plain.checkpoint,
    )


def question(
    release: str,
    *,
    model: str | Model = CODER,
    gpus: int = 1,
    gib: float | None = None,
    host: int | None = None,
    tensor: int = 1,
    context: int | None = None,
    prompt: int | None = None,
    **settings: Value,
) -> Case:
    there = machine(RTX_4090, gpus, gib)
    memory = Device(id="host", kind="cpu", name="host", total_bytes=host * GiB) if host else None
    return Case(
        model=bundled(model) if isinstance(model, str) else model,
        engine="ktransformers",
        version=Version(tuple(int(part) for part in release.split(".")), release),
        machine=Machine(devices=there.devices, host=memory),
        parallel=Parallel(tensor=tensor, pipeline=gpus // tensor),
        workload=Workload(context_tokens=context, prompt_tokens=prompt),
        settings=Settings.of(settings),
        stated=frozenset(settings),
    )


def seen(case: Case) -> Outcome:
    return evaluate(ENGINE, case)


def at(outcome: Outcome, device: str, phase: Phase) -> int:
    return outcome.ledger.at(device, phase).expected


def test_two_cards_of_issue_101_use_19_gb_in_the_prompt_and_5_to_8_while_generating() -> None:
    outcome = seen(question("0.1.4", gpus=2, context=8192))
    assert outcome.verdict is Verdict.FITS
    assert at(outcome, "gpu0", Phase.PREFILL) / GB == pytest.approx(19.4, abs=0.2)
    decode = outcome.ledger.at("gpu0", Phase.DECODE)
    assert decode.low > 4.5 * GB
    assert 5 * GB < decode.expected < 8 * GB


def test_at_16384_the_scores_pass_the_card_and_not_the_cache() -> None:
    outcome = seen(question("0.1.4", gpus=2, context=16384))
    assert outcome.verdict is Verdict.DOES_NOT_FIT
    assert outcome.limit is Limit.WORKSPACE
    assert outcome.ledger.at("gpu0", Phase.PREFILL).low / GiB == pytest.approx(24.2, abs=0.15)
    assert sum(outcome.ledger.of(f"gpu{i}", Purpose.KV_CACHE).expected for i in range(2)) == 1080 * MiB


@pytest.mark.parametrize(("tokens", "gib", "cache_mib"), [(4096, 0.977, 270), (8192, 1.953, 540), (16384, 3.906, 1080)])
def test_scores_and_cache_are_those_of_the_source(tokens: int, gib: float, cache_mib: int) -> None:
    case = ENGINE.resolve(question("0.1.4", context=tokens))
    assert scores(case).nbytes / GiB == pytest.approx(gib, abs=0.001)
    assert ENGINE.ledger(case).of("gpu0", Purpose.KV_CACHE).expected == cache_mib * MiB


def test_a_stated_cache_is_planned_full_even_where_the_length_is_searched() -> None:
    plan = solve(ENGINE, question("0.1.4", gpus=2, cache_lens=16384))
    assert (plan.verdict, plan.limit) == (Verdict.DOES_NOT_FIT, Limit.WORKSPACE)
    assert ("cache_lens", 8192) in {remedy.changes[0] for remedy in plan.remedies}


def test_the_remedies_of_16384_are_smaller_pieces_a_later_release_and_shorter_sequences() -> None:
    plan = answer(ENGINE, question("0.1.4", gpus=2, context=16384))
    assert {remedy.changes[0] for remedy in plan.remedies} >= {("chunk_size", 256), ("engine_version", "0.2.4"), ("context", 8192)}
    assert any("chunk_size 256" in note for note in plan.notes)
    assert any("cache 1.05 GiB" in note for note in plan.notes)


@pytest.mark.parametrize(("release", "settings"), [("0.1.4", {"chunk_size": 256}), ("0.2.4", {}), ("0.3.2", {})])
def test_16384_fits_in_pieces_of_256_and_in_later_releases(release: str, settings: dict[str, Value]) -> None:
    assert seen(question(release, gpus=2, context=16384, **settings)).verdict is Verdict.FITS


def test_more_cards_do_not_divide_the_scores() -> None:
    verdicts = {count: seen(question("0.1.4", gpus=count, context=16384)).verdict for count in (1, 2)}
    assert set(verdicts.values()) == {Verdict.DOES_NOT_FIT}
    two, four = (seen(question("0.1.4", gpus=count, context=8192)) for count in (2, 4))
    assert two.ledger.of("gpu0", Purpose.WORKSPACE) == four.ledger.of("gpu0", Purpose.WORKSPACE)
    assert four.ledger.of("gpu0", Purpose.WEIGHTS).expected < two.ledger.of("gpu0", Purpose.WEIGHTS).expected


def test_the_allocator_gives_freed_scores_back_before_it_fails() -> None:
    outcome = seen(question("0.1.4", context=8192))
    assert outcome.verdict is Verdict.TIGHT
    assert outcome.ledger.peak("gpu0").expected <= outcome.case.devices[0].total_bytes


@pytest.mark.parametrize(
    ("release", "tokens"), [("0.1.0", 4096), ("0.1.4", 4096), ("0.2.0", 8192), ("0.2.4", 8192), ("0.3.1", 16384), ("0.3.2", 16384)]
)
def test_the_default_cache_is_the_releases(release: str, tokens: int) -> None:
    assert ENGINE.resolve(question(release)).settings.integer("cache_lens") == tokens


@pytest.mark.parametrize(
    ("release", "prompt", "text"),
    [
        ("0.1.4", None, "size of tensor a (4096) must match the size of tensor b (6000) at non-singleton dimension 3"),
        ("0.3.2", 5000, "input_ids_length 5000 > cache_lens 4096"),
        ("0.3.2", 4000, "seq_length bigger than cache_lens, killed"),
    ],
)
def test_prompt_and_new_tokens_beyond_the_cache_are_refused(release: str, prompt: int | None, text: str) -> None:
    outcome = seen(question(release, context=6000, prompt=prompt, cache_lens=4096))
    assert outcome.verdict is Verdict.REFUSED
    assert text in outcome.objections[0].text
    assert "prompt + new tokens > cache_lens" in outcome.objections[0].why
    assert "6144" in outcome.objections[0].next_step


def test_balance_serve_is_refused_on_two_cards_and_for_odd_chunks() -> None:
    two = seen(question("0.3.2", gpus=2, context=4096, backend_type="balance_serve"))
    odd = seen(question("0.3.2", context=4096, backend_type="balance_serve", chunk_size=1500))
    assert "one GPU" in two.objections[0].why
    assert odd.objections[0].text == "chunk_size must <= 1024 or a multiple of 1024"
    assert seen(question("0.3.2", context=4096, backend_type="balance_serve", chunk_size=2048)).objections == ()


def test_local_chat_makes_a_cache_for_its_prompt() -> None:
    outcome = seen(question("0.1.4", context=6000, cache_lens=4096, backend_type="local_chat"))
    assert outcome.objections == ()
    assert outcome.capacity.kv_tokens.expected == 6000


@pytest.mark.parametrize(
    ("release", "settings", "published_gb"),
    [("0.1.0", {}, 21), ("0.1.4", {}, 11)],
)
def test_236b_takes_what_the_readme_says_of_it(release: str, settings: dict[str, Value], published_gb: int) -> None:
    outcome = seen(question(release, context=1024, **settings))
    assert at(outcome, "gpu0", Phase.DECODE) / GB == pytest.approx(published_gb, rel=0.12)


@pytest.mark.parametrize(("release", "context", "fits"), [("0.2.0", 4096, True), ("0.2.1", 8192, True), ("0.2.2", 19_000, True)])
def test_r1_reaches_the_published_lengths_on_one_card(release: str, context: int, *, fits: bool) -> None:
    assert (seen(question(release, model="DeepSeek-R1", context=context)).verdict is Verdict.FITS) is fits


def test_r1_reaches_139000_tokens_only_when_prompts_run_on_the_latent() -> None:
    on_latent = seen(question("0.2.3", model="DeepSeek-R1", context=139_000, absorb_for_prefill=True))
    unpacked = seen(question("0.2.3", model="DeepSeek-R1", context=139_000))
    assert on_latent.ledger.peak("gpu0").expected <= 24 * GiB
    assert unpacked.verdict is Verdict.DOES_NOT_FIT
    assert unpacked.limit is Limit.WORKSPACE


def test_fp8_linears_of_r1_take_the_documents_19_gb() -> None:
    outcome = seen(question("0.2.3", model="DeepSeek-R1", gib=47.5, context=4096, generate_op="KLinearFP8"))
    assert at(outcome, "gpu0", Phase.DECODE) / GB == pytest.approx(19, rel=0.06)


def test_4_bit_experts_of_r1_take_the_documents_382_gb() -> None:
    assert 368 * GB < sum(expert_bytes(bundled("DeepSeek-R1"), "q4_k_m")) < 396 * GB


def test_the_type_of_the_file_changes_the_host_and_not_the_card() -> None:
    eight, four = (seen(question("0.1.4", model=quantised(CODER, word), host=512)) for word in ("q8_0", "q4_k_m"))
    assert eight.ledger.of("gpu0", Purpose.WEIGHTS) == four.ledger.of("gpu0", Purpose.WEIGHTS)
    assert eight.ledger.of("host", Purpose.WEIGHTS).expected > 1.7 * four.ledger.of("host", Purpose.WEIGHTS).expected


def test_a_host_that_is_too_small_is_what_binds() -> None:
    outcome = seen(question("0.2.3", model="DeepSeek-R1", host=256, context=4096, gguf_type="q4_k_m"))
    assert (outcome.verdict, outcome.limit) == (Verdict.DOES_NOT_FIT, Limit.HOST)


def test_a_model_the_release_does_not_know_is_refused() -> None:
    outcome = seen(question("0.1.4", model="DeepSeek-R1"))
    assert outcome.verdict is Verdict.REFUSED
    assert "0.2.0" in outcome.objections[0].next_step


def test_every_layer_lies_on_one_gpu() -> None:
    whole = seen(question("0.1.4", context=4096)).ledger
    split = seen(question("0.1.4", gpus=4, context=4096, transfer_map="10,20,45")).ledger
    for purpose in (Purpose.WEIGHTS, Purpose.KV_CACHE):
        assert sum(split.of(f"gpu{i}", purpose).expected for i in range(4)) == whole.of("gpu0", purpose).expected


# kt-kernel


def test_the_fork_holds_the_weights_its_log_says() -> None:
    case = ENGINE.resolve(question("0.6.1", model="Qwen3-30B-A3B"))
    assert gpu_bytes(case) / GiB == pytest.approx(2.91, rel=0.02)
    assert pool(case, case.devices[0]).token_bytes == 98304


def test_hybrid_state_and_cache_divide_the_pool_as_the_log_says() -> None:
    case = ENGINE.resolve(question("0.5.2", model="Qwen3.5-397B-A17B", gpus=2, tensor=2))
    found = pool(case, case.devices[0])
    assert found.state.expected / (found.state.expected + found.cache.expected) == pytest.approx(7.42 / 15.72, abs=0.01)
    assert found.token_bytes == pytest.approx(8.30 * GiB / 580364, rel=0.01)


@pytest.mark.parametrize(("name", "gib"), [("MiniMax-M2.5", 3.38), ("DeepSeek-V3", 10.5), ("Kimi-K2.5", 8.86)])
def test_a_long_prompt_brings_a_layer_of_experts(name: str, gib: float) -> None:
    case = ENGINE.resolve(question("0.7.2", model=quantised(name), gib=79, context=4096, kt_gpu_prefill_token_threshold=400))
    assert weights(case).whole_layer / GiB == pytest.approx(gib, rel=0.01)
    assert ENGINE.ledger(case).of("gpu0", Purpose.WORKSPACE).low == weights(case).whole_layer
    short = ENGINE.resolve(question("0.7.2", model=quantised(name), gib=79, context=300, kt_gpu_prefill_token_threshold=400))
    assert ENGINE.ledger(short).of("gpu0", Purpose.WORKSPACE).high == 0


def test_one_expert_a_layer_of_v32_leaves_room_in_the_documents_27_gb() -> None:
    case = ENGINE.resolve(question("0.7.2", model=quantised("DeepSeek-V3.2"), gib=47.5, kt_num_gpu_experts=1))
    assert 20.2 * GiB <= gpu_bytes(case) < 27 * GB


def test_experts_of_235b_on_the_card_do_not_fit_24_gib() -> None:
    many = seen(question("0.4.3", model="Qwen3-235B-A22B", kt_num_gpu_experts=32, mem_fraction_static=0.92, kt_method="AMXINT4"))
    one = seen(question("0.4.3", model="Qwen3-235B-A22B", kt_num_gpu_experts=1, mem_fraction_static=0.92, chunked_prefill_size=4096))
    assert (many.verdict, many.limit) == (Verdict.DOES_NOT_FIT, Limit.WEIGHTS)
    assert one.verdict in {Verdict.TIGHT, Verdict.DOES_NOT_FIT}


def test_the_host_keeps_room_for_every_expert() -> None:
    none, some = (
        ENGINE.resolve(question("0.7.2", model="Qwen3-30B-A3B", host=128, kt_method="AMXINT8", kt_num_gpu_experts=n)) for n in (0, 32)
    )
    assert host_bytes(none) == host_bytes(some) > 28.9 * GB


def test_weights_that_leave_no_cache_under_the_share_are_refused_with_a_number() -> None:
    outcome = seen(question("0.7.2", model="Qwen3-235B-A22B", kt_num_gpu_experts=1, mem_fraction_static=0.5))
    assert outcome.verdict is Verdict.REFUSED
    assert outcome.objections[0].text == "Not enough memory. Please try to increase --mem-fraction-static."
    assert outcome.objections[0].next_step.startswith("mem_fraction_static=0.8")


def test_the_ratio_counts_before_the_number() -> None:
    case = ENGINE.resolve(question("0.7.2", model="Qwen3-30B-A3B", kt_num_gpu_experts=1, kt_gpu_experts_ratio=0.25))
    assert gpu_bytes(case) == weights(case).fixed + 32 * weights(case).one_expert


def test_a_flag_that_came_later_is_refused() -> None:
    outcome = seen(question("0.4.2", model="Qwen3-30B-A3B", kt_gpu_experts_ratio=0.1))
    assert "0.5.1" in outcome.objections[0].why


def test_16_experts_a_layer_of_a_4_bit_giant_do_not_fit_24_gib() -> None:
    outcome = seen(question("0.4.2", model=quantised("Kimi-K2.5"), kt_num_gpu_experts=16, mem_fraction_static=0.98, max_total_tokens=3700))
    assert (outcome.verdict, outcome.limit) == (Verdict.DOES_NOT_FIT, Limit.WEIGHTS)


def test_the_formats_on_the_host_are_those_of_the_file_or_the_method() -> None:
    cases = [ENGINE.resolve(question("0.7.2", model=quantised("Kimi-K2.5"), **said)) for said in ({}, {"kt_method": "AMXINT8"})]
    assert [case.settings.text("kt_method") for case in cases] == ["RAWINT4", "AMXINT8"]
    assert host_bytes(cases[0]) / host_bytes(cases[1]) == pytest.approx(0.5625, rel=0.01)


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(["0.1.0", "0.1.4", "0.2.1", "0.2.3", "0.3.2"]), st.integers(256, 60_000), st.integers(1, 40_000), st.integers(1, 2))
def test_a_longer_cache_never_takes_less(release: str, tokens: int, more: int, gpus: int) -> None:
    short, long = (ENGINE.ledger(ENGINE.resolve(question(release, gpus=gpus, context=n))) for n in (tokens, tokens + more))
    for device in (f"gpu{index}" for index in range(gpus)):
        for end in ("low", "high"):
            assert getattr(short.peak(device), end) <= getattr(long.peak(device), end)
        assert short.of(device, Purpose.KV_CACHE).expected <= long.of(device, Purpose.KV_CACHE).expected


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(["0.1.4", "0.2.3", "0.3.2", "0.7.2"]), st.integers(512, 30_000), st.floats(10, 60), st.floats(0, 30))
def test_a_larger_card_is_never_worse(release: str, tokens: int, gib: float, more: float) -> None:
    small, large = (seen(question(release, context=tokens, gib=size)) for size in (gib, gib + more))
    runs = {Verdict.FITS, Verdict.TIGHT}  # which of the two failures it is may change: a larger card may live until it is refused
    assert large.verdict in runs or small.verdict not in runs
    assert large.verdict is Verdict.FITS or small.verdict is not Verdict.FITS


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(["0.1.4", "0.2.0", "0.3.2", "0.7.2"]), st.integers(256, 20_000), st.sampled_from([10.0, 16.0, 23.5, 80.0]))
def test_every_line_is_ordered_and_says_why(release: str, tokens: int, gib: float) -> None:
    for entry in seen(question(release, context=tokens, gib=gib, host=512)).ledger.entries:
        assert 0 <= entry.amount.low <= entry.amount.expected <= entry.amount.high, entry
        assert entry.because
