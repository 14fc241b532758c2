"""What runs teach the next plan, and which term grew between two releases."""

from datetime import timedelta

import pytest
from tests.cases import GPU_80, bundled, machine, raw_vllm_case
from tests.runs import FIRST_DAY, promised, seen, stored_run

from ullage.catalog.secrets import is_secret_name, scrub
from ullage.domain.baseline import Exit, Growth, MachineMark, OutOfMemory, Run
from ullage.domain.case import Case, Settings
from ullage.domain.ledger import Amount, Phase, Purpose, total
from ullage.domain.machine import HOST, Device
from ullage.domain.placement import Parallel
from ullage.domain.workload import Workload
from ullage.engines import find
from ullage.errors import InputError
from ullage.frozen import replace
from ullage.planning.answer import answer
from ullage.planning.calibrate import comparable, corrections
from ullage.planning.drift import Standing, judge_drift
from ullage.planning.fit import evaluate
from ullage.planning.narrow import calibrated
from ullage.planning.record import architecture_hash, fit_growth, promised_of, run_of, summarise
from ullage.planning.regress import contrast, meant, sides
from ullage.units import GiB, MiB

ENGINE = find("transformers")
PREFILL = Purpose.ACTIVATIONS, Phase.PREFILL


def case(context: int = 4096, name: str = "Qwen3-8B") -> Case:
    host = Device(id=HOST, kind="cpu", name="host memory", total_bytes=128 * GiB)
    return Case(
        model=bundled(name),
        engine="transformers",
        version=ENGINE.profile.default,
        machine=replace(machine(GPU_80, 1), host=host),
        workload=Workload(context_tokens=context),
    )


def ran(number: int, *, share: float = 1.1, reached: bool = True, asked: Case | None = None, **changes: object) -> Run:
    """A run of the case whose prefill peak came out at such a share of what was expected."""
    plan = answer(ENGINE, asked or case(), remedies=False)
    run = run_of(plan, id=f"r{number}", started_at=FIRST_DAY + timedelta(hours=number), driver="1")
    amount = run.promise("gpu0", *PREFILL)
    assert amount is not None
    reading = seen(round(amount.expected * share), *PREFILL, reached=reached)
    return replace(run, **{"seen": (reading,), "exit": Exit.FINISHED, **changes})


def prefill(runs: tuple[Run, ...], asked: Case | None = None) -> Amount:
    entries = evaluate(calibrated(ENGINE, runs), asked or case()).ledger.on("gpu0")
    return total(entry.amount for entry in entries if (entry.purpose, entry.phase) == PREFILL)


RULE = prefill(())


def test_three_runs_narrow_a_term_and_two_do_not() -> None:
    runs = tuple(ran(number, share=1.1 + number / 1000) for number in range(3))
    assert prefill(runs[:2]) == RULE
    taught = prefill(runs)
    assert taught.high - taught.low < RULE.high - RULE.low
    assert taught.expected == pytest.approx(RULE.expected * 1.101, rel=1e-3)


def test_a_factor_learnt_at_one_length_holds_at_another() -> None:
    long = case(16384)
    rule = prefill((), long)
    taught = prefill(tuple(ran(number) for number in range(3)), long)
    assert taught.expected == pytest.approx(rule.expected * 1.1, rel=1e-3)


def test_a_term_that_is_always_so_much_more_is_corrected_by_that_much() -> None:
    contexts = (2048, 4096, 8192)
    runs = []
    for number, context in enumerate(contexts):
        run = ran(number, asked=case(context))
        amount = run.promise("gpu0", *PREFILL)
        assert amount is not None
        runs.append(replace(run, seen=(seen(amount.expected + 300 * MiB, *PREFILL),)))
    rule = prefill((), case(32768))
    assert prefill(tuple(runs), case(32768)).expected == rule.expected + 300 * MiB


def test_a_peak_under_less_than_the_planned_load_teaches_nothing_unless_it_is_above() -> None:
    assert prefill(tuple(ran(number, share=0.5, reached=False) for number in range(3))) == RULE
    assert prefill(tuple(ran(number, share=1.3, reached=False) for number in range(3))).expected > RULE.expected


@pytest.mark.parametrize(
    "other",
    [
        {"engine": "vllm"},
        {"version": "4.1.0"},
        {"parallel": Parallel(tensor=2)},
        {"exit": Exit.OUT_OF_MEMORY},
        {"out_of_memory": (OutOfMemory(at=FIRST_DAY, device="gpu0"),)},
        {"machine": MachineMark(devices=())},
    ],
)
def test_runs_of_another_kind_teach_nothing(other: dict[str, object]) -> None:
    assert prefill(tuple(ran(number, **other) for number in range(3))) == RULE


def test_a_word_among_the_settings_chooses_other_kernels_and_a_number_does_not() -> None:
    eager, more = (replace(case(), settings=Settings.of(said)) for said in ({"attn_implementation": "eager"}, {"max_new_tokens": 99}))
    runs = tuple(ran(number) for number in range(3))
    assert prefill(runs, eager) == prefill((), eager)
    assert prefill(runs, more) != prefill((), more)


def test_another_family_is_not_taught() -> None:
    other = case(name="gemma-3-27b-it")
    rule = evaluate(ENGINE, other).ledger
    assert evaluate(calibrated(ENGINE, tuple(ran(number) for number in range(3))), other).ledger == rule


def test_a_new_driver_starts_anew() -> None:
    old = [ran(number) for number in range(3)]
    new = replace(ran(3), machine=replace(old[0].machine, driver="2"))
    assert [run.id for run in comparable(ENGINE.resolve(case()), [new, *reversed(old)])] == ["r3"]


def test_a_run_that_goes_on_or_whose_end_nobody_saw_teaches_nothing() -> None:
    ended = [ran(number) for number in range(2)]
    assert comparable(ENGINE.resolve(case()), [replace(ran(2), exit=Exit.RUNNING, ended_at=None), *ended]) == ended


def test_a_devices_whole_reading_teaches_what_was_not_seen_by_itself() -> None:
    runs = []
    for number in range(3):
        run = ran(number)
        amount = run.promise("gpu0", None, Phase.RESIDENT)
        assert amount is not None
        runs.append(replace(run, seen=(seen(amount.expected + 200 * MiB, None, Phase.RESIDENT),)))
    before, after = (evaluate(engine, case()).ledger for engine in (ENGINE, calibrated(ENGINE, tuple(runs))))
    off = after.at("gpu0", Phase.RESIDENT).expected - before.at("gpu0", Phase.RESIDENT).expected
    assert off == 200 * MiB
    assert after.of("gpu0", Purpose.WEIGHTS) == before.of("gpu0", Purpose.WEIGHTS)


def test_a_run_stores_what_the_rules_promise_even_where_the_plan_was_narrowed() -> None:
    runs = tuple(ran(number) for number in range(3))
    plan = answer(calibrated(ENGINE, runs), case(), remedies=False)
    assert prefill(runs) != RULE
    assert run_of(plan, id="x", started_at=FIRST_DAY).promise("gpu0", *PREFILL) == RULE


def test_a_narrowed_plan_says_so() -> None:
    plan = answer(calibrated(ENGINE, tuple(ran(number) for number in range(3))), case(), remedies=False)
    entry = next(entry for entry in plan.ledger.on("gpu0") if (entry.purpose, entry.phase) == PREFILL)
    assert "measured here (3 runs): 1.100 of what the rule expects" in entry.because
    assert str(entry.origin) == "measured: 3 runs stored here"
    assert any("3 stored runs of transformers narrow activations" in note for note in plan.notes)


def test_a_budget_that_the_cache_fills_is_not_blamed_on_its_parts() -> None:
    """What a whole device shows beyond its budget lies outside the budget."""
    asked = raw_vllm_case("Qwen3-8B", "0.19.0")
    plan = answer(find("vllm"), asked, remedies=False)
    runs = []
    for number in range(3):
        run = run_of(plan, id=str(number), started_at=FIRST_DAY)
        amount = run.promise("gpu0", None, Phase.RESIDENT)
        assert amount is not None
        runs.append(replace(run, exit=Exit.FINISHED, seen=(seen(amount.expected + 100 * MiB, None, Phase.RESIDENT),)))
    (term,) = corrections(find("vllm").resolve(asked), runs)
    assert term[1:] == (None, Phase.RESIDENT)
    after = evaluate(calibrated(find("vllm"), runs), asked).ledger
    changed = [now for then, now in zip(plan.ledger.entries, after.entries, strict=True) if then != now]
    assert changed
    assert not any(entry.budgeted for entry in changed)


def test_percentiles_are_of_the_nearest_rank() -> None:
    found = summarise("gpu0", None, Phase.DECODE, range(1, 21), peak_bytes=40, reached=True)
    assert found is not None
    assert (found.p50_bytes, found.p95_bytes, found.max_bytes, found.most_bytes, found.samples) == (10, 19, 20, 40, 20)
    assert summarise("gpu0", None, Phase.DECODE, ()) is None


def test_growth_is_fitted_through_readings_of_which_some_are_off() -> None:
    readings = [(tokens, GiB + 131072 * tokens + (GiB if tokens % 7 == 0 else 0)) for tokens in range(0, 4000, 10)]
    found = fit_growth("gpu0", readings)
    assert found is not None
    assert found.bytes_per_token == pytest.approx(131072, rel=0.02)
    assert (found.from_tokens, found.to_tokens) == (0, 3990)
    assert fit_growth("gpu0", [(1, 1), (1, 2), (2, 2)]) is None


def test_a_shape_has_one_hash_and_another_shape_another() -> None:
    shapes = [bundled(name).architecture for name in ("Qwen3-8B", "Qwen3-8B", "SmolLM2-135M-Instruct")]
    first, again, other = map(architecture_hash, shapes)
    assert first == again != other


def test_promises_tell_what_lies_in_a_budget() -> None:
    found = promised_of(evaluate(find("vllm"), raw_vllm_case("Qwen3-8B", "0.19.0")).ledger)
    runtime = [one.joined for one in found if one.purpose is Purpose.RUNTIME]
    assert sorted(runtime) == [False, True]


def test_a_page_of_a_driver_is_no_drift() -> None:
    promise = Amount.exactly(GiB)
    assert judge_drift(promise, GiB + 2 * MiB).standing is Standing.WITHIN
    assert judge_drift(promise, GiB + 3 * MiB).beyond_bytes == 3 * MiB
    assert judge_drift(promise, GiB - 3 * MiB).standing is Standing.BELOW


def upgraded(grew: int, **changes: object) -> tuple[Run, Run]:
    terms = (promised(GiB), promised(2 * GiB, Purpose.ACTIVATIONS, Phase.PREFILL), promised(4 * GiB, None, Phase.PREFILL))
    before = stored_run(1, promised=terms, seen=(seen(GiB), seen(2 * GiB, *PREFILL), seen(4 * GiB, None, Phase.PREFILL)))
    after = stored_run(
        2,
        "0.20.0",
        promised=terms,
        seen=(seen(GiB + MiB), seen(2 * GiB + grew, *PREFILL), seen(4 * GiB + grew, None, Phase.PREFILL)),
        **changes,
    )
    return before, after


def test_the_term_that_grew_after_an_upgrade_is_named_before_the_whole() -> None:
    before, after = upgraded(300 * MiB)
    found = contrast([before], [after])
    assert found.is_regression
    assert [change.purpose for change in found.grown] == [Purpose.ACTIVATIONS, None]
    assert found.grown[0].grew_bytes == 300 * MiB


def test_growth_within_the_tolerance_is_chance() -> None:
    assert not contrast(*([run] for run in upgraded(30 * MiB))).is_regression
    assert contrast(*([run] for run in upgraded(30 * MiB)), tolerance=0.01).is_regression
    assert not contrast(*([run] for run in upgraded(-GiB))).is_regression


def test_the_scatter_of_the_runs_before_is_allowed() -> None:
    before, after = upgraded(200 * MiB)
    scattered = [replace(before, id=f"b{off}", seen=(seen(2 * GiB + off * MiB, *PREFILL),)) for off in (-150, 0, 150)]
    assert not contrast(scattered, [after]).is_regression


def test_a_longer_context_is_no_regression_where_the_rules_foresaw_it() -> None:
    before, after = upgraded(GiB)
    longer = replace(
        after,
        workload=Workload(context_tokens=8192, concurrent_sequences=4),
        promised=(promised(3 * GiB, *PREFILL),),
        seen=(seen(3 * GiB, *PREFILL),),
    )
    found = contrast([before], [longer])
    assert "workload differs" in found.differences
    assert not found.is_regression


def test_a_peak_that_only_the_later_run_reached_is_not_compared() -> None:
    before, after = upgraded(GiB)
    found = contrast([replace(before, seen=(seen(GiB, *PREFILL, reached=False),))], [after])
    assert PREFILL not in {(change.purpose, change.phase) for change in found.changes}


def test_what_other_processes_held_is_no_growth_of_the_engine() -> None:
    before, after = (
        replace(run, promised=(promised(others, Purpose.OTHERS), promised(GiB + others, None)), seen=(seen(GiB + others, None),))
        for run, others in zip(upgraded(0), (0, 3 * GiB), strict=True)
    )
    found = contrast([before], [after])
    assert [change.grew_bytes for change in found.changes] == [0]
    assert after.peak_bytes("gpu0") == before.peak_bytes("gpu0") == GiB


def test_a_cache_that_stayed_empty_is_not_brought_to_another_question() -> None:
    cache = (Purpose.KV_CACHE, Phase.RESIDENT)
    before, after = (
        replace(
            run,
            settings=Settings.of({"kv_cache_dtype": word}),
            promised=(promised(full, *cache),),
            seen=(seen(held, *cache, reached=False),),
        )
        for run, word, full, held in zip(upgraded(0), ("fp8", "auto"), (2 * GiB, 4 * GiB), (2 * GiB, MiB), strict=True)
    )
    assert contrast([before], [after]).is_empty
    full = replace(after, seen=(seen(4 * GiB, *cache, reached=False),))
    assert [change.base_bytes for change in contrast([before], [full]).changes] == [4 * GiB]


def test_a_release_means_those_of_its_runs_that_tell_of_memory() -> None:
    old, new, blind = stored_run(1, seen=(seen(GiB),)), stored_run(2, "0.20.0", seen=(seen(GiB),)), stored_run(3, "0.20.0")
    found = sides([blind, new, old], ("vllm@0.19.0", "vllm@0.20.0"))
    assert [[run.id for run in side] for side in found] == [["run-001"], ["run-002"]]


def test_more_bytes_a_token_and_running_out_of_memory_are_regressions() -> None:
    one, other = (Growth(device="gpu0", bytes_per_token=size, from_tokens=0, to_tokens=9, points=9) for size in (1000.0, 1100.0))
    before, after = upgraded(0)
    assert contrast([replace(before, growth=(one,))], [replace(after, growth=(other,))]).grown[0].per_token
    broken = replace(after, out_of_memory=(OutOfMemory(at=FIRST_DAY, device="gpu0"),))
    assert contrast([before], [broken]).failures == ("run-002 ran out of memory on gpu0",)
    assert contrast([broken], [broken]).failures == ()


def test_runs_are_meant_by_id_by_its_beginning_and_by_release() -> None:
    runs = [stored_run(3, "0.20.0"), stored_run(2), stored_run(1)]
    assert [run.id for run in meant(runs, "run-002")] == ["run-002"]
    assert [run.id for run in meant(runs, "vllm@0.19.0")] == ["run-002", "run-001"]
    before, after = sides(runs, ())
    assert ([run.id for run in before], [run.id for run in after]) == (["run-002", "run-001"], ["run-003"])
    assert sides(runs, ("vllm@0.19.0", "vllm@0.20.0")) == (before, after)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("run",), "beginning of 3 runs"),
        (("nothing", "run-001"), "is no stored run"),
        (("a", "b", "c"), "takes two"),
        (("vllm@0.1", "run-001"), "is no stored run"),
        (("last", "run-003"), "mean the same runs"),
        (("vllm@0.19.0", "vllm@0.19.0"), "mean the same runs"),
    ],
)
def test_words_that_mean_no_two_runs_are_refused(words: tuple[str, ...], said: str) -> None:
    with pytest.raises(InputError, match=said):
        sides([stored_run(3, "0.20.0"), stored_run(2), stored_run(1)], words)


def test_an_upgrade_that_brought_other_defaults_is_still_compared() -> None:
    runs = [stored_run(2, "0.20.0", settings=Settings.of({"max_num_seqs": 512})), stored_run(1)]
    before, after = sides(runs, ())
    assert contrast(before, after).differences == ("max_model_len: 4096 then None", "max_num_seqs: None then 512")
    with pytest.raises(InputError, match="no run of another release"):
        sides([stored_run(2), stored_run(1)], ())


@pytest.mark.parametrize("name", ["api_key", "--api-key", "hf_token", "HF_TOKEN", "apiKey", "password", "ssl_keyfile", "aws.secret.id"])
def test_the_name_of_a_secret_is_known(name: str) -> None:
    assert is_secret_name(name)


@pytest.mark.parametrize("name", ["max_num_batched_tokens", "kv_bytes_per_token", "tokenizer", "cache_type_k", "max_tokens", "block_size"])
def test_a_count_is_no_secret(name: str) -> None:
    assert not is_secret_name(name)


@pytest.mark.parametrize(
    "text", ["Bearer abcdefgh123", "hf_abcdefghijklmnop", "http://me:pass@host/x", "api_key=abc", "sk-abcdefghijklmnop"]
)
def test_a_secret_is_taken_out_of_a_text(text: str) -> None:
    assert "[removed]" in scrub(f"before {text} after")
    assert scrub("allocate 2.00 GiB with 1024 tokens per key") == "allocate 2.00 GiB with 1024 tokens per key"


def test_the_newest_run_is_the_newest_that_ended_and_one_that_goes_on_is_named_by_its_id() -> None:
    runs = [stored_run(3, "0.20.0", Exit.RUNNING, ended_at=None), stored_run(2, "0.20.0"), stored_run(1, "0.19.0")]
    assert [run.id for run in meant(runs, "last")] == ["run-002"]
    assert [[run.id for run in side] for side in sides(runs, ())] == [["run-001"], ["run-002"]]
    assert [run.id for run in meant(runs, "run-003")] == ["run-003"]
    assert [run.id for run in meant(runs[:1], "last")] == ["run-003"]
