"""Engines, schemes and layouts in one table."""

import pytest
from syrupy.assertion import SnapshotAssertion
from tests.exllama_cases import cards, quantised

from ullage.commands.machine import parse_devices
from ullage.commands.verb import parse
from ullage.domain.advice import Candidate, Comparison, CostClass, NotPossible
from ullage.domain.case import Case
from ullage.domain.machine import Machine
from ullage.domain.placement import Parallel
from ullage.domain.plan import Verdict
from ullage.domain.workload import Workload
from ullage.engines import engines, find
from ullage.errors import InputError
from ullage.planning.compare import DIMENSIONS, compare
from ullage.report.advice_json import comparison_values
from ullage.report.as_text import Look, plain_text
from ullage.report.compare_document import compare_document
from ullage.units import GiB

EVERYTHING = frozenset(DIMENSIONS)


def asked(name: str, machine: Machine, context: int | None, *, engine: str = "vllm", scheme: str | None = None) -> Case:
    return Case(
        model=quantised(name, scheme),
        engine=engine,
        version=find(engine).profile.default,
        machine=machine,
        workload=Workload(context_tokens=context),
    )


def on(name: str, gpu: str, context: int | None, dimensions: frozenset[str] = EVERYTHING, objective: str = "context") -> Comparison:
    case = asked(name, Machine(devices=parse_devices(gpu)), context)
    return compare(tuple(engines().values()), case, dimensions, objective)


@pytest.fixture(scope="module")
def three_cards() -> Comparison:
    return compare(tuple(engines().values()), asked("Qwen/Qwen1.5-72B", cards(3), 8192), EVERYTHING)


def test_every_engine_is_either_planned_or_refused_with_a_reason(three_cards: Comparison) -> None:
    seen = {row.engine for row in three_cards.candidates} | {one.engine for one in three_cards.refused}
    assert seen == set(engines())
    assert all(one.why for one in three_cards.refused)


@pytest.mark.parametrize(
    ("scheme", "readers"),
    [
        ("exl2 ", {"exllamav2"}),
        ("exl3 ", {"exllamav3"}),
        ("gguf ", {"llama_cpp", "ktransformers"}),
        ("awq ", {"vllm", "sglang", "transformers"}),
        ("fp8 ", {"vllm", "sglang", "transformers"}),
    ],
)
def test_an_engine_is_shown_only_with_formats_it_reads(three_cards: Comparison, scheme: str, readers: set[str]) -> None:
    assert {row.engine for row in three_cards.candidates if row.scheme.startswith(scheme)} <= readers


def test_what_runs_comes_first_and_costs_little_before_it_costs_much(three_cards: Comparison) -> None:
    verdicts = [row.verdict.rank for row in three_cards.candidates]
    assert verdicts == sorted(verdicts)
    costs = [row.cost.rank for row in three_cards.candidates if row.verdict is Verdict.FITS]
    assert costs == sorted(costs)
    assert {row.word for row in three_cards.candidates if row.engine == "exllamav2" and row.verdict is Verdict.FITS} >= {"exl2-5.0bpw"}


def test_devices_that_an_engine_does_not_run_on_refuse_it() -> None:
    refused = {one.engine: one.why for one in on("Qwen/Qwen2.5-7B-Instruct", "MI300X", 4096).refused}
    assert "exllamav3" in refused
    assert "rocm" in refused["exllamav3"]


def test_a_model_already_in_one_engine_s_format_is_refused_by_the_others() -> None:
    case = asked("Qwen/Qwen2.5-7B-Instruct", Machine(devices=parse_devices("4090")), 4096, engine="exllamav2", scheme="exl2-4.0bpw")
    found = compare(tuple(engines().values()), case, frozenset({"engines"}))
    assert {row.engine for row in found.candidates} == {"exllamav2"}
    assert {one.engine for one in found.refused} == set(engines()) - {"exllamav2"}


def test_comparing_layouts_alone_keeps_engine_and_scheme() -> None:
    found = on("Qwen/Qwen2.5-7B-Instruct", "4xH100", 32768, frozenset({"layouts"}))
    assert {(row.engine, row.scheme) for row in found.candidates} == {("vllm", "bfloat16")}
    assert len({row.parallel for row in found.candidates}) == len(found.candidates) > 1


def test_the_fewest_devices_come_first_where_devices_are_the_objective() -> None:
    found = on("Qwen/Qwen2.5-7B-Instruct", "4xH100", 32768, frozenset({"layouts"}), objective="devices")
    counts = [row.parallel.devices for row in found.candidates if row.verdict is Verdict.FITS]
    assert counts == sorted(counts)


def test_a_stated_layout_is_kept() -> None:
    case = asked("Qwen/Qwen2.5-7B-Instruct", Machine(devices=parse_devices("2xH100")), 4096)
    stated = Case(
        model=case.model,
        engine="vllm",
        version=case.version,
        machine=case.machine,
        parallel=Parallel(tensor=2),
        workload=case.workload,
        stated=frozenset({"parallel"}),
    )
    found = compare((find("vllm"),), stated, EVERYTHING)
    assert {row.parallel for row in found.candidates} == {Parallel(tensor=2)}


@pytest.mark.parametrize("words", [frozenset(), frozenset({"cards"})])
def test_an_unknown_dimension_is_an_input_error(words: frozenset[str]) -> None:
    with pytest.raises(InputError):
        on("Qwen/Qwen2.5-7B-Instruct", "H100", 4096, words)


def test_a_comparison_is_bounded() -> None:
    found = on("Qwen/Qwen2.5-72B-Instruct", "4xH100", 32768)
    assert len(found.candidates) + len(found.refused) <= 300


@pytest.mark.parametrize(
    ("words", "value"),
    [
        (("M", "--compare"), "all"),
        (("--compare", "M"), "all"),
        (("M", "--compare", "--json"), "all"),
        (("M", "--compare", "engines,quants"), "engines,quants"),
        (("M", "--compare=layouts"), "layouts"),
    ],
)
def test_the_option_may_stand_alone_or_name_what_is_compared(words: tuple[str, ...], value: str) -> None:
    from ullage.commands.plan import VERB  # noqa: PLC0415 - the verb belongs to this test alone

    flags = parse(VERB, words)
    assert flags is not None
    assert flags.text("compare") == value
    assert flags.text("model") == "M"


def by_hand() -> Comparison:
    row = Candidate(
        engine="engine",
        version="1.2",
        word="",
        scheme="bfloat16",
        cost=CostClass.NONE,
        parallel=Parallel(tensor=4, pipeline=2),
        verdict=Verdict.FITS,
        weight_bytes=15 * GiB,
        kv_bytes_per_token=131_072,
        max_context_tokens=147_456,
        max_sequences=4,
        room_bytes=2 * GiB,
        changes=(),
    )
    other = Candidate(
        engine="other",
        version="0.9",
        word="q4",
        scheme="gguf q4",
        cost=CostClass.QUALITY,
        parallel=Parallel(),
        verdict=Verdict.DOES_NOT_FIT,
        weight_bytes=4 * GiB,
        kv_bytes_per_token=131_072,
        max_context_tokens=1024,
        max_sequences=0,
        room_bytes=-GiB,
        changes=(("chunk", 512),),
    )
    return Comparison(
        context_tokens=32_768,
        concurrent_sequences=2,
        objective="context",
        candidates=(row, other),
        refused=tuple(NotPossible(engine="third", version="3", scheme=scheme, why="it reads no such weights") for scheme in ("a", "b")),
    )


@pytest.mark.parametrize("look", [Look(width=140, is_ascii=False), Look(width=60, is_ascii=True)], ids=["wide", "narrow ascii"])
def test_the_table_looks_as_it_did(look: Look, snapshot: SnapshotAssertion) -> None:
    assert plain_text(compare_document(by_hand()), look) == snapshot


def test_the_json_says_the_same() -> None:
    values = comparison_values(by_hand())
    assert set(values) == {"context_tokens", "concurrent_sequences", "objective", "candidates", "refused"}
    assert isinstance(values["candidates"], list)
    assert values["candidates"][0]["quant"] is None  # type: ignore[index, call-overload]
