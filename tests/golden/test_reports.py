"""What a report looks like, to the letter, for a plan made by hand."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from syrupy.assertion import SnapshotAssertion

from ullage import wire
from ullage.catalog.tensor_formats import BF16
from ullage.domain.architecture import Architecture
from ullage.domain.case import Case, Model, Settings, Version
from ullage.domain.checkpoint import Checkpoint, Role, Tensor
from ullage.domain.ledger import Amount, Entry, Join, Ledger, Phase, Purpose
from ullage.domain.machine import Device, Machine
from ullage.domain.placement import Parallel
from ullage.domain.plan import Capacity, Command, DeviceVerdict, Finding, Limit, Objection, Plan, Remedy, Verdict
from ullage.domain.provenance import ASSUMED, EXACT, Origin
from ullage.domain.workload import Workload
from ullage.frozen import replace
from ullage.report.as_json import plan_values
from ullage.report.as_text import Look, cells, plain_text, wrap
from ullage.report.document import Segment, Table
from ullage.report.plan_document import plan_document, quote
from ullage.units import GiB

WIDE, NARROW = Look(width=110, is_ascii=False), Look(width=60, is_ascii=True)


def gib(size: str) -> int:
    return int(Fraction(size) * GiB)


def about(low: str, expected: str, high: str) -> Amount:
    return Amount(gib(low), gib(expected), gib(high))


def entry(device: str, purpose: Purpose, phase: Phase, amount: Amount, because: str, origin: Origin, *, budgeted: bool = True) -> Entry:
    return Entry(device=device, purpose=purpose, phase=phase, amount=amount, budgeted=budgeted, because=because, origin=origin)


def entries(device: str) -> tuple[Entry, ...]:
    measured = Origin(kind="measured", at="a record")
    return (
        entry(device, Purpose.WEIGHTS, Phase.RESIDENT, Amount.exactly(gib("7.5")), "half of 15 GiB", EXACT),
        entry(device, Purpose.KV_CACHE, Phase.RESIDENT, about("8", "9", "10"), "what is left of the budget", Origin(kind="formula")),
        entry(device, Purpose.ACTIVATIONS, Phase.PREFILL, about("1", "1.5", "2"), "hidden states of 2,048 tokens", Origin(kind="formula")),
        entry(device, Purpose.RUNTIME, Phase.RESIDENT, about("0.3", "0.5", "0.8"), "driver context", measured, budgeted=False),
        entry(device, Purpose.WORKSPACE, Phase.PREFILL, about("2", "3", "4"), "dual chunk attention", ASSUMED, budgeted=False),
    )


def make_plan(verdict: Verdict) -> Plan:
    devices = tuple(Device(id=f"gpu{index}", kind="cuda", name="RTX 3090-24GB", total_bytes=gib("23.58")) for index in range(2))
    ledger = Ledger(
        entries=tuple(line for device in devices for line in entries(device.id)),
        joins=tuple(Join(device=device.id, nbytes=18 * GiB, because="the budget") for device in devices),
    )
    tensor = Tensor(name="w", role=Role.OTHER, layer=None, shape=(15 * GiB // 2,), format=BF16)
    model = Model(
        name="Some/Model",
        source="by hand",
        architecture=Architecture(
            name="Model",
            model_type="model",
            class_name="Model",
            hidden_size=1,
            vocab_size=1,
            layers=(),
            tied_embeddings=False,
            max_context_tokens=None,
            dtype="bfloat16",
        ),
        checkpoint=Checkpoint(tensors=(tensor,), scheme="bfloat16", exact=True),
        parameters=8_050_000_000,
    )
    case = Case(
        model=model,
        engine="engine",
        version=Version((1, 2)),
        machine=Machine(devices=devices),
        parallel=Parallel(tensor=2),
        workload=Workload(context_tokens=32_768, concurrent_sequences=2),
        settings=Settings.of({"max_len": 32_768, "eager": False, "cache": "auto"}),
    )
    fits = verdict is Verdict.FITS
    change = Remedy(changes=(("max_len", 16_384), ("eager", True)), frees_bytes=2 * GiB, cost="speed", verdict=Verdict.FITS, case=case)
    return Plan(
        case=case,
        ledger=ledger,
        verdict=verdict,
        devices=tuple(
            DeviceVerdict(device=one.id, verdict=verdict, peak=ledger.peak(one.id), total_bytes=one.total_bytes) for one in devices
        ),
        capacity=Capacity(
            kv_bytes_per_token=131_072,
            kv_cache_bytes=about("8", "9", "10"),
            kv_blocks=Amount(8192, 9216, 10_240),
            kv_tokens=Amount(131_072, 147_456, 163_840),
            max_context_tokens=Amount(131_072, 147_456, 163_840),
            max_sequences=Amount(4, 4, 5),
            block_tokens=16,
        ),
        limit=None if fits else Limit.WORKSPACE,
        binding="2.08 GiB stay free on gpu0" if fits else "gpu0 needs 21.50 GiB and more in prefill, which its own budget does not know",
        objections=() if fits else (Objection(text="the model is too long", why="32,768 is too much", next_step="--max-len 16384"),),
        command=Command(
            argv=("engine", "serve", "Some/Model", "--name", "it's here"), environment=(("A", "b c"),), files=(("a.yaml", "x: 1\ny: 2\n"),)
        ),
        remedies=() if fits else (change,),
        notes=("CUDA graphs are not in the budget",),
        findings=() if fits else (Finding(text="--max-lenn is no flag; --max-len is"), Finding(text="-q is old", wrong=False)),
    )


@pytest.mark.parametrize("verdict", [Verdict.FITS, Verdict.REFUSED])
@pytest.mark.parametrize("look", [WIDE, NARROW], ids=["wide", "narrow ascii"])
def test_a_report_looks_as_it_did(verdict: Verdict, look: Look, snapshot: SnapshotAssertion) -> None:
    assert plain_text(plan_document(make_plan(verdict)), look) == snapshot


def test_an_explanation_looks_as_it_did(snapshot: SnapshotAssertion) -> None:
    assert plain_text(plan_document(make_plan(Verdict.TIGHT), explain=True), WIDE) == snapshot


@pytest.mark.parametrize("verdict", [Verdict.FITS, Verdict.DOES_NOT_FIT])
def test_the_json_is_as_it_was(verdict: Verdict, snapshot: SnapshotAssertion) -> None:
    assert wire.dumps(plan_values(make_plan(verdict)), indent=2) == snapshot


def test_no_line_is_wider_than_the_screen_but_the_command() -> None:
    text = plain_text(plan_document(make_plan(Verdict.REFUSED)), NARROW)
    assert text.isascii()
    assert all(len(line) <= 60 or "engine serve" in line for line in text.splitlines())


def test_what_is_alive_in_several_phases_is_one_row_and_two_things_alike_in_one_phase_are_two() -> None:
    plan = make_plan(Verdict.FITS)
    entry = replace(plan.ledger.entries[0], phase=Phase.LOAD, because="the same in both")
    twice = (entry, replace(entry, phase=Phase.RESIDENT), replace(entry, because="another"), replace(entry, because="another"))
    table = next(block for block in plan_document(replace(plan, ledger=replace(plan.ledger, entries=twice))) if isinstance(block, Table))
    assert [(row[1], row[-1]) for row in table.rows] == [("load, resident", "the same in both"), ("load", "another"), ("load", "another")]
    assert len(table.marks) == len(table.rows)


def test_alike_devices_are_shown_once_and_unequal_ones_each() -> None:
    plan = make_plan(Verdict.FITS)
    assert "gpu0-gpu1 (2 alike)" in plain_text(plan_document(plan), WIDE)


@given(st.lists(st.integers(0, 1 << 40), max_size=8), st.integers(1, 1 << 40), st.integers(1, 200))
def test_the_parts_of_a_bar_never_pass_its_width(sizes: list[int], total: int, width: int) -> None:
    counts = cells(tuple(Segment("part", size) for size in sizes), total, width)
    assert all(count >= 0 for count in counts)
    assert sum(counts) == min(round(sum(sizes) * width / total), width)


@given(st.text(max_size=200), st.integers(1, 50))
def test_wrapping_loses_no_letter_and_keeps_the_width(text: str, width: int) -> None:
    wrapped = wrap(text, width)
    assert "".join("".join(line.split()) for line in wrapped) == "".join(text.split())
    assert all(len(line) <= width for line in wrapped)


@pytest.mark.parametrize(("word", "quoted"), [("plain", "plain"), ("", "''"), ("a b", "'a b'"), ("it's", "'it'\"'\"'s'"), ("$x", "'$x'")])
def test_a_word_is_quoted_for_the_shell_where_it_has_to_be(word: str, quoted: str) -> None:
    assert quote(word) == quoted
