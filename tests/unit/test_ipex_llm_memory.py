"""The public case of one Arc card (intel/ipex-llm issue 12080) and the other reports, predicted by rule."""

import pytest
from tests.ipex_cases import arc_case, outcome, packed_model

from ullage.domain.case import Case, Version
from ullage.domain.ledger import Phase, Purpose
from ullage.domain.plan import Limit, Verdict
from ullage.domain.workload import Workload
from ullage.engines.ipex_llm import ENGINE
from ullage.engines.ipex_llm.requests import candidates
from ullage.engines.ipex_llm.versions import release_day, rules_of
from ullage.engines.ipex_llm.weights import packed
from ullage.planning.answer import answer
from ullage.planning.fit import evaluate
from ullage.units import GiB, MiB

ISSUE, FIXED = "2.1.0b20240914", "2.1.0b20240920"


def issue(version: str, tokens: int = 4096) -> Case:
    return arc_case(
        "Qwen2-7B-Instruct",
        "sym_int4",
        version,
        gpu_memory_utilization=0.7,
        max_model_len=4096,
        max_num_batched_tokens=tokens,
        dtype="float16",
        enforce_eager=True,
    )


def unbudgeted_step(case: Case) -> int:
    entries = outcome(case).ledger.entries
    return sum(e.amount.expected for e in entries if e.purpose is Purpose.ACTIVATIONS and not e.budgeted)


def test_the_budget_is_the_fraction_of_what_the_card_reports() -> None:
    (join,) = outcome(issue(ISSUE)).ledger.joins
    assert join.nbytes / GiB == pytest.approx(10.577, abs=0.001)


def test_the_weights_in_blocks_of_64_are_more_than_four_gigabytes() -> None:
    weights = outcome(issue(ISSUE)).ledger.of("gpu0", Purpose.WEIGHTS).expected
    assert 4.51 * GiB <= weights <= 4.72 * GiB


def test_a_build_of_the_issues_day_passes_its_budget_by_one_step() -> None:
    assert unbudgeted_step(issue(ISSUE)) / GiB == pytest.approx(0.513, abs=0.01)
    ledger = outcome(issue(ISSUE)).ledger
    (join,) = ledger.joins
    held = [e for e in ledger.entries if e.purpose in {Purpose.WEIGHTS, Purpose.BUFFERS, Purpose.KV_CACHE, Purpose.ACTIVATIONS}]
    assert sum(e.amount.expected for e in held) - join.nbytes == pytest.approx(0.513 * GiB, abs=0.01 * GiB)


def test_a_build_with_the_fix_keeps_within_its_budget() -> None:
    fixed = outcome(issue(FIXED))
    assert unbudgeted_step(issue(FIXED)) == 0
    assert fixed.verdict is Verdict.FITS
    (join,) = fixed.ledger.joins
    inside = [e for e in fixed.ledger.entries if e.budgeted and e.phase in {Phase.RESIDENT, Phase.PREFILL}]
    assert sum(e.amount.expected for e in inside) <= join.nbytes


def test_the_build_of_the_issues_day_is_tight_and_a_later_one_is_a_remedy() -> None:
    plan = answer(ENGINE, issue(ISSUE))
    assert plan.verdict is Verdict.TIGHT
    assert plan.limit is Limit.WORKSPACE
    assert ("engine_version", "2.2.0") in [change for remedy in plan.remedies for change in remedy.changes]
    assert any("before 2024-09-20" in note and "528.0 MiB" in note for note in plan.notes)
    assert any("1,772 to 1,798 tokens" in note for note in plan.notes)


def test_the_cache_was_not_scarce() -> None:
    held = outcome(issue(ISSUE)).capacity
    assert held.kv_bytes_per_token == 57344
    assert held.max_sequences.expected == 27


def test_a_step_shorter_than_the_model_length_is_refused_in_the_forks_words() -> None:
    refused = outcome(issue(ISSUE, tokens=2048))
    assert refused.verdict is Verdict.REFUSED
    assert "max_num_batched_tokens (2048) is smaller than max_model_len (4096)" in refused.objections[0].text
    assert "4096" in refused.objections[0].next_step


def test_the_failed_request_was_gate_and_up_of_a_prefill_batch() -> None:
    found = {item.name: item for item in candidates(ENGINE.resolve(issue(ISSUE)), 130 * MiB)}
    assert found["gate_up"].tokens == (1772, 1798)
    assert found["gate_up"].possible
    assert not found["hidden"].possible
    assert found["gate"].tokens == (3543, 3597)


def test_the_whole_prompts_logits_explain_a_small_model_on_a_large_card() -> None:
    """intel/ipex-llm issue 9809: 3.1, 7.4 and 11.6 GiB; 8,192 tokens failed."""
    for prompt, answer_tokens, seen in ((32, 32, 3.1), (2048, 512, 7.4), (4096, 1024, 11.6)):
        work = Workload(context_tokens=prompt + answer_tokens, prompt_tokens=prompt)
        (device,) = outcome(arc_case("Qwen-1_8B-Chat", "sym_int4", "2.5.0b20231218", workload=work)).devices
        assert device.peak.expected / GiB == pytest.approx(seen, rel=0.05)
    work = Workload(context_tokens=10240, prompt_tokens=8192)
    failed = outcome(arc_case("Qwen-1_8B-Chat", "sym_int4", "2.5.0b20231218", workload=work))
    assert failed.verdict is Verdict.REFUSED


def test_scores_of_8197_tokens_pass_four_gigabytes_and_8192_do_not() -> None:
    """intel/ipex-llm issue 10513."""

    def verdict(prompt: int) -> Verdict:
        work = Workload(context_tokens=prompt + 1, prompt_tokens=prompt)
        return outcome(arc_case("Llama-2-7b-hf", "sym_int4", "2.5.0b20240318", workload=work, dtype="float16", total_gib=60)).verdict

    assert verdict(8197) is Verdict.REFUSED
    assert verdict(8192) is Verdict.FITS


def test_sixteen_bit_weights_of_a_large_vocabulary_do_not_fit_where_a_small_one_does() -> None:
    """intel/ipex-llm issue 11219."""
    work = Workload(context_tokens=1152, prompt_tokens=1024)
    large = outcome(arc_case("Qwen-7B-Chat", None, "2.1.0b20240605", workload=work, mode="api"))
    small = outcome(arc_case("Llama-2-7b-hf", None, "2.1.0b20240605", workload=work, mode="api"))
    assert large.verdict is Verdict.DOES_NOT_FIT
    assert small.verdict in {Verdict.FITS, Verdict.TIGHT}


def test_the_old_forks_scores_are_the_forty_gigabytes_of_the_report() -> None:
    """intel/ipex-llm issue 11798: 10 heads x 32,768 x 32,768 x 4 bytes."""
    found = outcome(arc_case("Qwen1.5-32B", "sym_int4", "2.1.0b20240716", cards=4, gpu_memory_utilization=0.66, dtype="float16"))
    assert "Tried to allocate 40.00 GiB (GPU  0; 15.11 GiB" in found.objections[0].text
    assert "--max-model-len 10362" in found.objections[0].next_step


def test_four_cards_run_out_where_the_peak_is_not_counted() -> None:
    """intel/ipex-llm issue 11956."""
    assert outcome(arc_case("Qwen1.5-32B", "fp8", "2.1.0", cards=4)).verdict is Verdict.DOES_NOT_FIT


def test_a_schemes_usual_word_is_taken_in_the_librarys_own_blocks() -> None:
    case = ENGINE.resolve(arc_case("Qwen2-7B-Instruct", "fp8", "2.2.0"))
    assert case.settings.text("load_in_low_bit") == "fp8"
    own = packed_model("Qwen2-7B-Instruct", "ipex_fp8").checkpoint.nbytes
    assert packed(case).checkpoint.nbytes == own


def test_packing_by_setting_and_by_scheme_are_the_same() -> None:
    by_setting = outcome(arc_case("Qwen2-7B-Instruct", None, "2.2.0", load_in_low_bit="sym_int4", max_model_len=4096))
    by_scheme = outcome(arc_case("Qwen2-7B-Instruct", "sym_int4", "2.2.0", max_model_len=4096))
    assert by_setting.ledger == by_scheme.ledger


def test_the_mlp_is_padded_per_card_in_the_families_the_fork_pads() -> None:
    one = ENGINE.resolve(arc_case("Qwen1.5-32B", "sym_int4", "2.2.0", max_model_len=4096))
    four = ENGINE.resolve(arc_case("Qwen1.5-32B", "sym_int4", "2.2.0", cards=4, max_model_len=4096))
    assert packed(four).checkpoint.nbytes > packed(one).checkpoint.nbytes  # 27,392 / 4 = 6,848 becomes 6,912


@pytest.mark.parametrize(
    ("version", "day", "fork", "counted"),
    [
        ("2.5.0b20231218", "2023-12-18", "0.3.3", False),
        ("2.1.0b20240716", "2024-07-16", "0.3.3", False),
        ("2.1.0.20240914", "2024-09-14", "0.5.4", False),
        ("2.1.0", "2024-08-22", "0.5.4", False),
        ("0.5.4", "2024-09-05", "0.5.4", False),
        ("2.1.0b20240920", "2024-09-20", "0.5.4", True),
        ("0.6.6", "2025-01-31", "0.6.6", True),
        ("2.2.0", "2025-04-07", "0.6.6", True),
    ],
)
def test_a_version_has_a_day_and_the_day_has_rules(version: str, day: str, fork: str, counted: bool) -> None:  # noqa: FBT001 - a figure
    parts = tuple(int(part) for part in version.partition("b")[0].split("."))
    assert release_day(Version(parts, version)) == day
    assert (rules_of(day).fork, rules_of(day).peak_counted) == (fork, counted)


def test_a_stated_day_goes_before_the_versions() -> None:
    assert unbudgeted_step(issue("2.2.0").with_settings(build_date="2024-09-14")) > 0
    assert unbudgeted_step(issue("2.1.0").with_settings(build_date="2024-09-20")) == 0


def test_a_cache_that_grows_keeps_a_block_in_hand_and_copies_one_layer() -> None:
    work = Workload(context_tokens=1600, prompt_tokens=1024)
    planned = outcome(arc_case("Qwen2-7B-Instruct", "sym_int4", "2.2.0", workload=work, mode="api", dtype="float16")).ledger
    cache = {e.phase: e.amount.expected for e in planned.entries if e.purpose is Purpose.KV_CACHE}
    assert cache[Phase.PREFILL] == (1024 + 256) * 57344
    assert cache[Phase.DECODE] == (1024 + 256 + 2 * 257) * 57344
    assert planned.of("gpu0", Purpose.WORKSPACE).expected == (1024 + 256 + 257) * 2048


def test_a_batch_on_arc_keeps_its_cache_in_eight_bits() -> None:
    work = Workload(context_tokens=1024, concurrent_sequences=4)
    case = ENGINE.resolve(arc_case("Qwen2-7B-Instruct", "sym_int4", "2.2.0", workload=work, mode="api"))
    assert case.settings.text("kv_cache_dtype") == "fp8"
    off = arc_case("Qwen2-7B-Instruct", "sym_int4", "2.2.0", workload=work, mode="api", environment=(("IPEX_LLM_QUANTIZE_KV_CACHE", "0"),))
    assert ENGINE.resolve(off).settings.text("kv_cache_dtype") == "auto"


def test_the_host_holds_the_model_in_sixteen_bits_while_it_is_packed() -> None:
    case = arc_case("Qwen2-7B-Instruct", "sym_int4", "2.2.0", max_model_len=4096, host_gib=64)
    staging = outcome(case).ledger.of("host", Purpose.STAGING)
    assert staging.low == 2 * 7_615_616_512
    small = arc_case("Qwen2-7B-Instruct", "sym_int4", "2.2.0", max_model_len=4096, host_gib=8)
    assert evaluate(ENGINE, small).limit is Limit.HOST


def test_an_eight_bit_cache_is_refused_by_the_early_forks() -> None:
    old = outcome(arc_case("Qwen2-7B-Instruct", "sym_int4", ISSUE, kv_cache_dtype="fp8", max_model_len=4096))
    assert "does not support FP8 KV cache" in old.objections[0].text
    assert not outcome(arc_case("Qwen2-7B-Instruct", "sym_int4", "2.2.0", kv_cache_dtype="fp8", max_model_len=4096)).objections


def test_eight_bits_take_more_than_four() -> None:
    notes = answer(ENGINE, arc_case("Qwen2-7B-Instruct", "sym_int8", "2.2.0", max_model_len=4096)).notes
    assert any("sym_int4 would take 3.5" in note for note in notes)
