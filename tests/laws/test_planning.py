"""What must hold for every plan, whatever the model, the card and the settings."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.cases import bundled, machine

from ullage.domain.case import Case, Settings, Value, Version
from ullage.domain.ledger import Purpose
from ullage.domain.placement import Parallel
from ullage.domain.plan import Verdict
from ullage.domain.workload import Workload
from ullage.engines import find
from ullage.planning.answer import answer
from ullage.planning.fit import evaluate
from ullage.planning.search import solve
from ullage.units import GiB

VLLM = find("vllm")
MODELS = (
    "Qwen3-8B",
    "Qwen1.5-7B-Chat",
    "gemma-3-27b-it",
    "DeepSeek-V2-Lite",
    "Qwen3-Next-80B-A3B-Instruct",
    "gpt-oss-20b",
    "SmolLM2-135M-Instruct",
)
VERSIONS = ("0.3.3", "0.4.2", "0.6.3", "0.6.6", "0.9.2", "0.11.0", "0.19.0", "0.21.0", "0.33.0")

models = st.sampled_from(MODELS)
versions = st.sampled_from(VERSIONS)
sizes = st.integers(min_value=4, max_value=400)
degrees = st.sampled_from((1, 2, 4))
fractions = st.integers(min_value=50, max_value=98).map(lambda percent: percent / 100)


def question(name: str, version: str, gib: float, tensor: int = 1, context: int | None = None, **values: Value) -> Case:
    return Case(
        model=bundled(name),
        engine="vllm",
        version=Version(tuple(int(part) for part in version.split(".")), version),
        machine=machine(("card", gib, (9, 0)), tensor),
        parallel=Parallel(tensor=tensor),
        workload=Workload(context_tokens=context),
        settings=Settings.of(values),
        stated=frozenset(values),
    )


@settings(max_examples=80, deadline=None)
@given(models, versions, sizes, degrees, fractions)
def test_the_parts_of_a_budget_never_pass_it_when_the_engine_starts(
    name: str, version: str, gib: int, tensor: int, fraction: float
) -> None:
    outcome = evaluate(VLLM, question(name, version, gib, tensor, gpu_memory_utilization=fraction))
    if outcome.verdict in {Verdict.REFUSED, Verdict.DOES_NOT_FIT}:
        return
    for device in outcome.case.devices:
        inside = [entry.amount for entry in outcome.ledger.on(device.id) if entry.budgeted]
        assert sum(amount.expected for amount in inside) <= device.total_bytes * fraction + 1


@settings(max_examples=80, deadline=None)
@given(models, versions, sizes, degrees)
def test_every_amount_is_a_range(name: str, version: str, gib: int, tensor: int) -> None:
    for entry in evaluate(VLLM, question(name, version, gib, tensor)).ledger.entries:
        assert 0 <= entry.amount.low <= entry.amount.expected <= entry.amount.high, entry
        assert entry.because


@settings(max_examples=60, deadline=None)
@given(models, versions, sizes, st.integers(min_value=1, max_value=100))
def test_more_memory_never_turns_fits_into_does_not_fit(name: str, version: str, gib: int, more: int) -> None:
    """With the batch stated: what a release defaults to on a larger card is another question."""
    values: dict[str, Value] = {"max_num_batched_tokens": 2048, "max_num_seqs": 64, "max_model_len": 2048, "block_size": 16}
    small = evaluate(VLLM, question(name, version, gib, **values))
    large = evaluate(VLLM, question(name, version, gib + more, **values))
    runs = {Verdict.FITS, Verdict.TIGHT}
    assert large.verdict in runs or small.verdict not in runs
    assert large.verdict is Verdict.FITS or small.verdict is not Verdict.FITS


@settings(max_examples=60, deadline=None)
@given(models, versions, st.integers(min_value=16, max_value=2000), st.integers(min_value=16, max_value=2000))
def test_a_longer_sequence_never_needs_less_cache(name: str, version: str, a: int, b: int) -> None:
    short, long = sorted((a, b))
    values: dict[str, Value] = {"max_num_batched_tokens": 4096, "max_num_seqs": 64, "max_model_len": 4096}
    needs = [evaluate(VLLM, question(name, version, 400, context=length, **values)).capacity.needed_bytes for length in (short, long)]
    assert needs[0] <= needs[1]


@settings(max_examples=60, deadline=None)
@given(models, versions, degrees)
def test_no_byte_is_lost_between_ranks(name: str, version: str, tensor: int) -> None:
    """The shares of the weights cover the whole; what repeats makes them more, never less. The allocator's rounding differs a little."""
    case = evaluate(VLLM, question(name, version, 2000, tensor)).case
    ledger = VLLM.ledger(case)
    shares = sum(ledger.of(device.id, Purpose.WEIGHTS).expected for device in case.devices)
    whole = VLLM.ledger(VLLM.resolve(replace(case, parallel=Parallel()))).of("gpu0", Purpose.WEIGHTS).expected
    assert whole <= shares * 1.002
    assert shares <= whole * tensor * 1.002


@settings(max_examples=30, deadline=None)
@given(models, st.sampled_from(("0.6.6", "0.19.0", "0.33.0")), sizes)
def test_the_length_that_is_solved_for_fits(name: str, version: str, gib: int) -> None:
    plan = solve(VLLM, question(name, version, gib), remedies=False)
    again = answer(VLLM, plan.case, remedies=False)
    assert again.verdict is plan.verdict
    if plan.verdict is Verdict.FITS:
        assert plan.capacity is not None
        assert plan.capacity.max_context_tokens.low >= (plan.case.settings.integer("max_model_len") or 0)


@settings(max_examples=40, deadline=None)
@given(models, versions, sizes, fractions)
def test_every_remedy_leads_where_it_says(name: str, version: str, gib: int, fraction: float) -> None:
    plan = answer(VLLM, question(name, version, gib, gpu_memory_utilization=fraction))
    for remedy in plan.remedies:
        assert remedy.verdict in {Verdict.FITS, Verdict.TIGHT}
        assert evaluate(VLLM, remedy.case).verdict is remedy.verdict
        assert remedy.verdict.rank < plan.verdict.rank


@pytest.mark.parametrize("version", VERSIONS)
def test_opposite_remedies_are_kept_apart(version: str) -> None:
    """A cache that is too small is never answered with a smaller fraction."""
    plan = answer(VLLM, question("Qwen1.5-7B-Chat", version, 23.69))
    assert plan.verdict is Verdict.REFUSED
    for remedy in plan.remedies:
        changes = dict(remedy.changes)
        assert float(str(changes.get("gpu_memory_utilization", 1.0))) > 0.9
        assert "num_gpu_blocks_override" not in changes


def test_a_longer_length_can_fit_where_a_shorter_does_not() -> None:
    """vllm#10517: above 32,768 chunked prefill switches itself on and the profile shrinks."""
    verdicts = {length: evaluate(VLLM, question("Llama-3.1-8B", "0.6.4", 23.58, max_model_len=length)).verdict for length in (29000, 35000)}
    assert verdicts == {29000: Verdict.REFUSED, 35000: Verdict.FITS} or verdicts[35000].rank < verdicts[29000].rank


def test_the_cards_memory_is_counted_in_bytes() -> None:
    outcome = evaluate(VLLM, question("Qwen3-8B", "0.33.0", 80))
    assert outcome.devices[0].total_bytes == 80 * GiB
