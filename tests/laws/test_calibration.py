"""What must hold of amounts narrowed by runs, whatever was promised and seen."""

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.cases import GPU_80, bundled, machine, raw_vllm_case
from tests.runs import FIRST_DAY, seen

from ullage.domain.baseline import Exit, Run
from ullage.domain.case import Case
from ullage.domain.ledger import Amount, Purpose
from ullage.domain.workload import Workload
from ullage.engines import find
from ullage.frozen import replace
from ullage.planning.answer import answer
from ullage.planning.calibrate import FEWEST_RUNS, _interval, student
from ullage.planning.drift import RESOLUTION_BYTES, Standing, judge_drift
from ullage.planning.fit import evaluate
from ullage.planning.narrow import _shares, between, calibrated, corrected
from ullage.planning.record import run_of
from ullage.units import GiB

sizes = st.integers(min_value=0, max_value=64 * GiB)
amounts = st.tuples(sizes, sizes, sizes).map(lambda three: Amount(*sorted(three)))
offsets = st.lists(st.integers(min_value=-4 * GiB, max_value=4 * GiB).map(float), min_size=FEWEST_RUNS, max_size=12)
ratios = st.lists(st.floats(min_value=0.01, max_value=8), min_size=FEWEST_RUNS, max_size=12)
TRANSFORMERS = find("transformers")
VLLM = find("vllm")


@given(amounts, st.one_of(offsets.map(lambda some: (some, False)), ratios.map(lambda some: (some, True))))
def test_a_corrected_amount_is_no_wider_than_the_promise_and_what_was_seen(amount: Amount, found: tuple[list[float], bool]) -> None:
    values, is_ratio = found
    made = corrected(amount, correction := _interval(values, is_ratio=is_ratio))
    shown = [round(correction.of(value, amount.expected)) for value in values]
    assert 0 <= made.low <= made.expected <= made.high
    assert min(amount.low, *shown) <= made.low <= min(shown)
    assert max(shown) <= made.high <= max(amount.high, *shown)


@given(amounts, offsets, st.integers(min_value=2, max_value=5))
def test_the_same_readings_again_never_widen(amount: Amount, values: list[float], times: int) -> None:
    once, often = (corrected(amount, _interval(values * count, is_ratio=False)) for count in (1, times))
    assert once.low <= often.low <= often.high <= once.high


@given(amounts, st.floats(min_value=-GiB, max_value=GiB), st.integers(min_value=FEWEST_RUNS, max_value=40))
def test_more_runs_alike_never_widen(amount: Amount, value: float, count: int) -> None:
    fewer, more = (corrected(amount, _interval([value] * number, is_ratio=False)) for number in (count, count + 1))
    assert more.high - more.low <= fewer.high - fewer.low <= 2 * RESOLUTION_BYTES + 2


def test_few_runs_are_trusted_less() -> None:
    assert [student(freedom) for freedom in (1, 2, 11, 1000)] == [12.706, 4.303, 2.228, 2.0]
    assert all(student(freedom) >= student(freedom + 1) for freedom in range(1, 100))


@given(st.integers(min_value=0, max_value=10**12), st.lists(st.integers(min_value=1, max_value=10**11), min_size=1, max_size=9))
def test_no_byte_is_lost_when_a_sum_is_shared(nbytes: int, weights: list[int]) -> None:
    shares = _shares(nbytes, weights)
    assert sum(shares) == nbytes
    assert min(shares) >= 0


@given(st.lists(st.tuples(sizes, sizes), min_size=3, max_size=3), sizes, sizes)
def test_a_larger_pool_never_holds_less(pairs: list[tuple[int, int]], one: int, other: int) -> None:
    steps = tuple(zip(sorted(size for size, _ in pairs), sorted(content for _, content in pairs), strict=True))
    assert between(steps, min(one, other)) <= between(steps, max(one, other))


@given(amounts, sizes)
def test_a_reading_is_within_above_or_below(amount: Amount, nbytes: int) -> None:
    drift = judge_drift(amount, nbytes)
    inside = amount.low - RESOLUTION_BYTES <= nbytes <= amount.high + RESOLUTION_BYTES
    assert (drift.standing is Standing.WITHIN) == inside
    assert (drift.beyond_bytes > 0) == (not inside)
    assert drift.off_bytes == nbytes - amount.expected


def transformers_case(context: int = 4096) -> Case:
    return Case(
        model=bundled("Qwen3-8B"),
        engine="transformers",
        version=TRANSFORMERS.profile.default,
        machine=machine(GPU_80, 1),
        workload=Workload(context_tokens=context),
    )


def runs_of(case: Case, shares: list[float], engine: str = "transformers") -> tuple[Run, ...]:
    """Runs in which every uncertain term came out at such a share of what was expected."""
    plan = answer(find(engine), case, remedies=False)
    found = []
    for number, share in enumerate(shares):
        run = run_of(plan, id=f"{number}", started_at=FIRST_DAY)
        terms = {(one.purpose, one.phase) for one in run.promised if one.purpose is not None}
        readings = []
        for purpose, phase in terms:
            amount = run.promise("gpu0", purpose, phase)
            assert amount is not None
            readings.append(seen(round(amount.expected * share), purpose, phase))
        found.append(replace(run, seen=tuple(readings), exit=Exit.FINISHED))
    return tuple(found)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(min_value=0.3, max_value=2), min_size=3, max_size=8), st.sampled_from((1024, 4096, 16384)))
def test_exact_entries_stay_and_no_device_or_purpose_is_lost(shares: list[float], context: int) -> None:
    runs = runs_of(transformers_case(), shares)
    case = transformers_case(context)
    plain, taught = evaluate(TRANSFORMERS, case).ledger, evaluate(calibrated(TRANSFORMERS, runs), case).ledger
    assert len(plain.entries) == len(taught.entries)
    for before, after in zip(plain.entries, taught.entries, strict=True):
        assert (before.device, before.purpose, before.phase, before.budgeted) == (after.device, after.purpose, after.phase, after.budgeted)
        assert 0 <= after.amount.low <= after.amount.expected <= after.amount.high
        if before.amount.low == before.amount.high or before.purpose in {Purpose.WEIGHTS, Purpose.KV_CACHE, Purpose.STATE}:
            assert before == after
        else:
            assert f"measured here ({len(shares)} runs)" in after.because
            assert after.origin.kind == "measured"


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(min_value=0.5, max_value=1.5), min_size=3, max_size=6), st.sampled_from(("0.9.2", "0.11.0", "0.19.0")))
def test_a_budget_stays_filled_and_the_cache_takes_what_is_left(shares: list[float], version: str) -> None:
    case = raw_vllm_case("Qwen3-8B", version, context=4096)
    runs = runs_of(case, shares, "vllm")
    plain, taught = evaluate(VLLM, case), evaluate(calibrated(VLLM, runs), case)
    budget = plain.ledger.joins[0].nbytes
    inside = [sum(entry.amount.expected for entry in seen.ledger.entries if entry.budgeted) for seen in (plain, taught)]
    block = plain.capacity.kv_cache_bytes.expected // plain.capacity.kv_blocks.expected
    assert all(budget - 2 * block <= filled <= budget for filled in inside)
    pool = taught.ledger.of("gpu0", Purpose.KV_CACHE)
    assert pool == taught.capacity.kv_cache_bytes
    assert 0 <= pool.low <= pool.expected <= pool.high
    assert taught.capacity.kv_tokens.expected == taught.capacity.kv_blocks.expected * taught.capacity.block_tokens
