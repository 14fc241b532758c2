"""The plan of our own runtime: its words, its refusals, and how it divides memory."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.cases import bundled

from ullage import wire
from ullage.cli import main
from ullage.domain.case import Case, Settings, Value
from ullage.domain.cause import Kind, Stage
from ullage.domain.ledger import Phase, Purpose
from ullage.domain.machine import Device, Machine
from ullage.domain.plan import Limit, Verdict
from ullage.domain.workload import Workload
from ullage.engines.runtime import ENGINE
from ullage.engines.runtime.first_aid import FIRST_AID
from ullage.engines.runtime.read_command import read_words
from ullage.engines.runtime.sizing import choose_chunk
from ullage.errors import InputError
from ullage.frozen import replace
from ullage.planning.answer import answer
from ullage.planning.diagnose import diagnose
from ullage.planning.diagnose_gather import gather
from ullage.planning.fit import evaluate
from ullage.planning.step_down import next_remedies
from ullage.units import GiB, MiB

MODEL = "Qwen3-8B"


def asked(model: str = MODEL, context: int | None = 4096, gib: int = 64, kind: str = "cpu", **settings: Value) -> Case:
    device = Device(id="cpu" if kind == "cpu" else "gpu0", kind=kind, name="a device", total_bytes=gib * GiB)
    return ENGINE.resolve(
        Case(
            model=bundled(model),
            engine="runtime",
            version=ENGINE.profile.default,
            machine=Machine(devices=(device,)),
            workload=Workload(context_tokens=context),
            settings=Settings.of(settings),
            stated=frozenset(settings),
        )
    )


def chunk(gib: float) -> int:
    architecture = bundled(MODEL).architecture
    return choose_chunk(architecture, context=32_768, sequences=4, element=2, left_bytes=int(gib * GiB), device="cuda")


def test_a_misspelt_flag_is_named_with_the_right_one() -> None:
    found = read_words(("model", "--page-token", "64", "--chunk", "auto", "--kv-dtype", "int3"))
    assert found.settings.get("chunk") == "auto"
    assert ["--page-tokens" in finding.text for finding in found.findings] == [True, False]
    assert "int8" in found.findings[1].text


def test_a_flag_without_its_value_is_said_to_lack_it() -> None:
    assert "--max-len lacks its value" in read_words(("model", "--max-len")).findings[0].text


@pytest.mark.parametrize(
    ("name", "value"), [("dtype", "int4"), ("chunk", "0"), ("dual_chunk", "1024,8192"), ("device", "cpu,cuda"), ("memory", "much")]
)
def test_a_wrong_value_is_refused(name: str, value: str) -> None:
    with pytest.raises(InputError):
        ENGINE.validate(name, value)


def test_keys_and_values_are_told_apart_only_where_they_differ() -> None:
    assert ENGINE.validate("kv_dtype", "k=int8,v=int8") == "int8"
    assert ENGINE.validate("kv_dtype", "v=int4") == "k=native,v=int4"


def test_float16_is_refused_on_a_processor_and_never_chosen() -> None:
    assert ENGINE.objections(asked(dtype="float16"))
    assert not ENGINE.objections(asked(dtype="float16", kind="cuda"))
    assert asked("Qwen1.5-7B-Chat").settings.text("dtype") == "bfloat16"


def test_a_family_that_is_not_run_is_refused_by_name() -> None:
    (objection,) = ENGINE.objections(asked("falcon-mamba-7b"))[:1]
    assert "falcon_mamba" in objection.text


def test_a_longer_prompt_takes_more_pages_and_no_larger_step() -> None:
    short, long = (ENGINE.ledger(asked(context=context)) for context in (16_384, 65_536))
    assert long.of("cpu", Purpose.ACTIVATIONS).expected == short.of("cpu", Purpose.ACTIVATIONS).expected
    assert long.of("cpu", Purpose.KV_CACHE).expected == 4 * short.of("cpu", Purpose.KV_CACHE).expected


def test_a_smaller_chunk_takes_a_smaller_step() -> None:
    steps = [ENGINE.ledger(asked(chunk=size)).at("cpu", Phase.PREFILL).expected for size in (1024, 256, 64)]
    assert steps == sorted(steps, reverse=True)
    assert len(set(steps)) == len(steps)


@given(st.floats(0.1, 200), st.floats(0.1, 200))
def test_more_memory_never_means_a_smaller_chunk(one: float, other: float) -> None:
    assert chunk(min(one, other)) <= chunk(max(one, other))


def test_the_cache_is_bounded_by_what_was_said() -> None:
    case = asked(cache=512 * MiB)
    assert ENGINE.capacity(case, ENGINE.ledger(case)).kv_cache_bytes.expected == 512 * MiB


@pytest.mark.parametrize(
    ("line", "name", "value"),
    [
        ("ullage.runtime: weights: 325653120 bytes (310.57 MiB) as native, computed in bfloat16 on cpu", "weights_bytes", 325653120),
        ("ullage.runtime: cache: up to 94371840 bytes (90.0 MiB), 4096 tokens, pages of 256 tokens", "kv_bytes", 94371840),
        ("ullage.runtime: chunk: 1024 tokens; at most 16 sequences of 4096 tokens at once", "chunk_tokens", 1024),
        ("ullage.runtime: listening on http://127.0.0.1:8000 after 3.10 s", "listening", "http://127.0.0.1:8000"),
        ("ullage.runtime: loading: /models/small.gguf", "loading", "/models/small.gguf"),
        ("ullage.runtime: running: 8 sequences at once", "requests_running", 8),
    ],
)
def test_the_lines_of_a_start_are_read(line: str, name: str, value: Value) -> None:
    fact = ENGINE.read_log_line(line)
    assert fact is not None
    assert (fact.name, fact.value) == (name, value)


@pytest.mark.parametrize(
    ("where", "stage"),
    [
        ("while loading the weights: MemoryError", Stage.LOAD),
        ("while reserving the cache of 4 sequences of 4096 tokens: MemoryError", Stage.CACHE),
        ("in a step of 1024 rows: MemoryError; a long prompt of 4000 tokens alone in the batch", Stage.FIRST_PROMPT),
        ("in a step of 1 rows: MemoryError; generation of 90 tokens alone in the batch", Stage.FIRST_PROMPT),
        ("in a step of 64 rows: MemoryError; under load, 8 sequences in the batch, the longest of 90 tokens", Stage.UNDER_LOAD),
    ],
)
def test_a_line_of_a_want_of_memory_tells_how_far_the_run_was(where: str, stage: Stage) -> None:
    lines = ["ullage.runtime: loading: model", f"ullage.runtime: error: out of memory {where}"]
    found = diagnose(gather(lines, {"runtime": ENGINE}, {"runtime": FIRST_AID}), engine=ENGINE, aid=FIRST_AID)
    assert found.stage is stage
    assert found.causes[0].kind is Kind.HOST


RESERVING = (
    "ullage.runtime: error: out of memory while reserving the cache of 16 sequences of 4096 tokens: RuntimeError: DefaultCPUAllocator: "
    "can't allocate memory: you tried to allocate 67108864 bytes. Error code 12 (Cannot allocate memory)"
)


@pytest.mark.parametrize("changed", [{}, {"cache": 2 * GiB}, {"gib": 24}, {"kind": "cuda", "gib": 24}, {"max_seqs": 2}])
def test_the_row_of_the_cache_goes_up_to_what_the_pool_of_the_command_may_grow_to(changed: dict[str, Any]) -> None:
    case = asked(**changed)
    outcome = evaluate(ENGINE, case)
    (row,) = (entry for entry in outcome.ledger.entries if entry.purpose is Purpose.KV_CACHE)
    assert row.amount.expected == outcome.capacity.needed_bytes
    assert row.amount.high == outcome.capacity.kv_cache_bytes.high > row.amount.expected
    assert "1 sequences" in row.because
    assert "the pool may grow to" in row.because
    assert outcome.verdict is Verdict.FITS


def test_a_pool_that_may_pass_the_machine_is_not_said_to_fit() -> None:
    assert evaluate(ENGINE, asked(gib=24, memory=24 * GiB)).verdict is Verdict.TIGHT


@given(st.sampled_from([1, 2, 8]))
def test_a_refused_reservation_is_made_smaller_and_only_what_frees_nearly_all_of_it_is_said_to_fit(concurrency: int) -> None:
    case = asked()
    case = replace(case, workload=replace(case.workload, concurrent_sequences=concurrency))
    pool = ENGINE.capacity(case, ENGINE.ledger(case)).kv_cache_bytes.expected
    found = diagnose(gather([RESERVING], {"runtime": ENGINE}, {"runtime": FIRST_AID}), engine=ENGINE, aid=FIRST_AID, case=case)
    changes = {change.setting: change for change in found.changes}
    assert "chunk" not in changes
    assert "memory" not in changes
    assert isinstance(changes["max_seqs"].value, int)
    assert changes["max_seqs"].value >= concurrency
    assert (found.changes[0].setting == "max_seqs") == (concurrency <= 2)
    for change in found.changes:
        assert change.verdict is not Verdict.FITS or (change.frees_bytes or 0) >= pool * 7 // 8


def test_a_refused_reservation_of_one_caller_comes_down_to_one_sequence_before_it_is_cut_short() -> None:
    case, fact = asked(), ENGINE.read_log_line(RESERVING)
    assert fact is not None
    steps = []
    for _ in range(4):
        remedy, *_ = next_remedies(ENGINE, FIRST_AID)(case, answer(ENGINE, case), (fact,), Limit.HOST)
        steps.append(remedy.changes[0])
        case = remedy.case
    assert steps == [("max_seqs", count) for count in (8, 4, 2, 1)]


def test_a_refused_reservation_is_stepped_down_by_fewer_sequences_first_and_never_by_fewer_than_asked() -> None:
    case = asked()
    case = replace(case, workload=replace(case.workload, concurrent_sequences=4))
    fact = ENGINE.read_log_line(RESERVING)
    assert fact is not None
    steps = []
    for _ in range(3):
        remedy, *_ = next_remedies(ENGINE, FIRST_AID)(case, answer(ENGINE, case), (fact,), Limit.HOST)
        steps.append(remedy.changes[0])
        case = remedy.case
    assert steps[:2] == [("max_seqs", 8), ("max_seqs", 4)]
    assert steps[2][0] == "kv_dtype"  # of what is left to change, what asks no less


@pytest.mark.parametrize(("path", "constant"), [("/models/small", "runtime_token"), ("/models/small.gguf", "runtime_gguf_token")])
def test_a_vocabulary_is_counted_by_the_file_it_is_in_and_says_so(path: str, constant: str) -> None:
    case = asked()
    case = replace(case, model=replace(case.model, path=path))
    kept = [entry for entry in ENGINE.ledger(case).entries if "vocabulary" in entry.because]
    assert {entry.phase for entry in kept} == {Phase.LOAD, Phase.RESIDENT}
    assert {entry.origin.at for entry in kept} == {constant}


@pytest.mark.parametrize(
    ("words", "bound"),
    [
        (("--gpu", "cpu", "--host-memory", "2GiB"), 2 * GiB * 9 // 10),
        (("--gpu", "cpu"), None),
        (("--gpu", "24GiB", "--host-memory", "2GiB"), None),  # the weights lie on the card
        (("--gpu", "24GiB", "--reserve", "4GiB"), 20 * GiB * 9 // 10),
        (("--gpu", "24GiB,16GiB", "--pp", "2", "--reserve", "4GiB"), None),  # one bound would not be that of both
    ],
)
def test_memory_that_somebody_stated_is_a_bound_of_the_command(
    words: tuple[str, ...], bound: int | None, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ("SmolLM2-135M-Instruct", "--engine", "runtime", "--context", "2048", "--offline", "--baselines", "none")
    assert main(("serve", *asked, *words, "--dry-run", "--json")) == 0
    said: Any = wire.loads(capsys.readouterr().out)
    argv = said["command"]["argv"]
    assert (int(argv[argv.index("--memory") + 1]) if "--memory" in argv else None) == bound
