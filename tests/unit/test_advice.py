"""Formats, cards and models: what each would free, and what fits."""

from functools import cache

import pytest
from syrupy.assertion import SnapshotAssertion
from tests.exllama_cases import cards, quantised

from ullage.catalog.devices import devices
from ullage.catalog.devices import find as card
from ullage.catalog.models import bundled
from ullage.commands.machine import parse_devices
from ullage.domain.advice import Advice, FormatAdvice, ModelAdvice
from ullage.domain.case import Case, Model
from ullage.domain.machine import Machine
from ullage.domain.plan import Plan, Verdict
from ullage.domain.workload import Workload
from ullage.engines import find
from ullage.planning.advise_formats import advise_formats
from ullage.planning.advise_hardware import COUNTS, advise_hardware
from ullage.planning.advise_models import MOST_ROWS, advise_models, size_in_name
from ullage.planning.search import solve
from ullage.report.advice_document import advice_document
from ullage.report.as_text import Look, plain_text


def question(name: str, machine: Machine, context: int | None, engine: str, scheme: str | None = None) -> tuple[Case, Plan]:
    case = Case(
        model=quantised(name, scheme),
        engine=engine,
        version=find(engine).profile.default,
        machine=machine,
        workload=Workload(context_tokens=context),
        stated=frozenset({"context"}) if context is not None else frozenset(),
    )
    return case, solve(find(engine), case, remedies=False)


@cache
def formats(name: str, gpu: str, context: int | None, engine: str, scheme: str | None = None) -> FormatAdvice:
    machine = cards(3) if gpu == "three cards" else Machine(devices=parse_devices(gpu))
    return advise_formats(find(engine), *question(name, machine, context, engine, scheme))


class TestFormats:
    def test_five_bits_are_the_widest_that_fit_on_three_cards(self) -> None:
        advice = formats("Qwen/Qwen1.5-72B", "three cards", 8192, "exllamav2", "exl2-4.0bpw")
        assert [row.word for row in advice.weights if row.is_widest] == ["exl2-5.0bpw"]
        verdicts = {row.word or "as planned": row.verdict for row in advice.weights}
        assert verdicts["exl2-3.0bpw"] is verdicts["as planned"] is verdicts["exl2-5.0bpw"] is Verdict.FITS
        assert verdicts["exl2-6.0bpw"] is Verdict.DOES_NOT_FIT

    @pytest.mark.parametrize(
        ("name", "gpu", "engine"),
        [
            ("Qwen/Qwen2.5-7B-Instruct", "4090", "vllm"),
            ("Qwen/Qwen2.5-7B-Instruct", "4090", "sglang"),
            ("Qwen/Qwen2.5-7B-Instruct", "4090", "transformers"),
            ("Qwen/Qwen2.5-7B-Instruct", "4090", "llama_cpp"),
            ("Qwen/Qwen2.5-7B-Instruct", "4090", "exllamav3"),
            ("google/gemma-2-9b", "2x4090", "vllm"),
        ],
    )
    def test_a_weight_only_scheme_never_shrinks_the_cache(self, name: str, gpu: str, engine: str) -> None:
        advice = formats(name, gpu, 4096, engine)
        assert len(advice.weights) > 2
        assert not any(row.changes_cache for row in advice.weights)
        assert len({row.cache_bytes_per_token for row in advice.weights}) == 1
        assert "frees weights only" in advice.notes[0]

    def test_fewer_bits_free_more_and_never_shorten_the_context(self) -> None:
        advice = formats("Qwen/Qwen1.5-72B", "three cards", 8192, "exllamav2", "exl2-4.0bpw")
        rows = sorted((row for row in advice.weights if row.word.startswith("exl2")), key=lambda row: row.weight_bytes)
        assert [row.freed_bytes for row in rows] == sorted((row.freed_bytes for row in rows), reverse=True)
        assert [row.max_context_tokens for row in rows] == sorted((row.max_context_tokens for row in rows), reverse=True)

    def test_a_narrower_cache_halves_what_a_token_keeps_and_leaves_the_weights(self) -> None:
        advice = formats("Qwen/Qwen2.5-7B-Instruct", "4090", 32768, "vllm")
        before, fp8 = advice.cache[0], next(row for row in advice.cache if row.value == "fp8")
        assert (before.bytes_per_token, fp8.bytes_per_token) == (57344, 28672)
        assert fp8.freed_bytes == 28672 * 32768
        assert fp8.kv_tokens > before.kv_tokens

    def test_four_bits_are_never_said_to_take_more_than_eight(self) -> None:
        sizes = {row.word: row.weight_bytes for row in formats("Qwen/Qwen2.5-7B-Instruct", "4090", 4096, "vllm").weights}
        assert max(sizes["awq"], sizes["gptq-int4"]) < min(sizes["fp8"], sizes["gptq-int8"]) < sizes[""]

    def test_the_parts_add_up_to_the_weights_and_the_cache_stands_beside_them(self) -> None:
        advice = formats("Qwen/Qwen2.5-7B-Instruct", "4090", 4096, "vllm")
        *parts, cache_part = advice.components
        assert sum(part.nbytes for part in parts) == advice.weights[0].weight_bytes
        assert cache_part.nbytes == 57344 * 4096
        assert all(0 <= part.frees_bytes < part.nbytes for part in advice.components)

    def test_a_part_that_no_scheme_touches_says_so(self) -> None:
        parts = {part.name: part for part in formats("Qwen/Qwen2.5-7B-Instruct", "4090", 4096, "vllm").components}
        assert parts["embeddings and head"].narrower == ""
        assert parts["MLP"].bits == 16.0
        assert parts["MLP"].frees_bytes > parts["attention and states"].frees_bytes > 0

    def test_layers_moved_to_the_host_do_not_make_a_scheme_the_widest_that_fits(self) -> None:
        advice = formats("meta-llama/Llama-3.1-8B", "4090", None, "llama_cpp")
        widest = next(row for row in advice.weights if row.is_widest)
        assert "n_gpu_layers" not in dict(widest.changes)

    def test_what_is_freed_on_the_fullest_device_counts_each_weight_once(self) -> None:
        rows = formats("Qwen/Qwen1.5-72B", "three cards", 8192, "exllamav2", "exl2-4.0bpw").weights
        assert all(abs(3 * row.device_freed_bytes - row.freed_bytes) <= 0.2 * abs(row.freed_bytes) for row in rows)

    def test_the_report_looks_as_it_did(self, snapshot: SnapshotAssertion) -> None:
        advice = Advice(formats=formats("Qwen/Qwen2.5-7B-Instruct", "4090", 4096, "vllm"))
        lines = plain_text(advice_document(advice), Look(width=140, is_ascii=True)).splitlines()
        assert [line.split()[:3] for line in lines if line] == snapshot


class TestHardware:
    def test_the_count_is_the_smallest_that_fits(self) -> None:
        engine = find("vllm")
        case, plan = question("Qwen/Qwen2.5-72B-Instruct", Machine(devices=parse_devices("8xH100")), 32768, "vllm")
        advice = advise_hardware(engine, case, plan, [card("H100"), card("4090"), card("H200")])
        for row in advice.cards:
            assert row.room_bytes >= 0
            assert row.count in COUNTS
            fewer = row.count // 2
            if fewer:
                machine = Machine(devices=tuple(card(row.names[0]).device(f"gpu{index}") for index in range(fewer)))
                assert question("Qwen/Qwen2.5-72B-Instruct", machine, 32768, "vllm")[1].verdict is not Verdict.FITS

    def test_cards_are_in_order_of_their_memory_together(self) -> None:
        case, plan = question("Qwen/Qwen2.5-7B-Instruct", Machine(devices=parse_devices("4090")), 32768, "vllm")
        totals = [row.total_nominal_gb for row in advise_hardware(find("vllm"), case, plan, devices()).cards]
        assert len(totals) > 10
        assert totals == sorted(totals)

    def test_a_seven_billion_model_wants_one_card_of_24_gb_in_sixteen_bits_and_one_of_16_in_four(self) -> None:
        wanted = [card("4090"), card("V100-16GB"), card("4080")]
        full = advise_hardware(find("vllm"), *question("Qwen/Qwen2.5-7B-Instruct", cards(1), 8192, "vllm"), wanted)
        four = advise_hardware(find("vllm"), *question("Qwen/Qwen2.5-7B-Instruct", cards(1), 8192, "vllm", "awq"), wanted)
        counts = [{name: row.count for row in advice.cards for name in row.names} for advice in (full, four)]
        assert counts[0]["RTX 4090-24GB"] == 1
        assert counts[0]["RTX 4080-16GB"] == 2
        assert counts[1]["RTX 4080-16GB"] == 1

    def test_cards_of_a_kind_that_the_engine_does_not_run_on_are_left_out(self) -> None:
        case, plan = question("Qwen/Qwen2.5-7B-Instruct", cards(1), 4096, "exllamav3", "exl3-4.0bpw")
        names = {name for row in advise_hardware(find("exllamav3"), case, plan, devices()).cards for name in row.names}
        assert names <= {known.name for known in devices() if known.kind == "cuda"}


class TestModels:
    @cache  # noqa: B019 - a class without state
    def advice(self) -> ModelAdvice:
        case, plan = question("Qwen/Qwen1.5-72B", cards(3), 8192, "exllamav2", "exl2-4.0bpw")

        def of(name: str) -> Model:
            return quantised(name, "exl2-4.0bpw")

        return advise_models(find("exllamav2"), case, plan, (model.id for model in bundled()), of)

    def test_a_relative_with_grouped_heads_comes_first(self) -> None:
        first = self.advice().models[0]
        assert first.name.startswith("Qwen/Qwen2")
        assert first.is_related
        assert first.kv_bytes_per_token * 8 == self.advice().kv_bytes_per_token

    def test_every_row_fits_and_there_are_at_most_ten(self) -> None:
        rows = self.advice().models
        assert 0 < len(rows) <= MOST_ROWS
        assert all(row.verdict in {Verdict.FITS, Verdict.TIGHT} for row in rows)

    def test_the_model_itself_is_no_advice(self) -> None:
        assert "Qwen/Qwen1.5-72B" not in {row.name for row in self.advice().models}

    def test_the_others_are_ranked_by_size(self) -> None:
        others = [row.parameters for row in self.advice().models if not row.is_related and row.verdict is Verdict.FITS]
        assert others == sorted(others, reverse=True)


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("Qwen/Qwen2.5-72B-Instruct", 72e9),
        ("mistralai/Mixtral-8x7B-v0.1", 56e9),
        ("Qwen/Qwen3-235B-A22B", 235e9),
        ("Qwen/Qwen2.5-0.5B", 0.5e9),
        ("deepseek-ai/DeepSeek-V3", None),
        ("Qwen/Qwen2.5-7B-Instruct-1M", 7e9),
    ],
)
def test_a_name_tells_its_size_or_nothing(name: str, size: float | None) -> None:
    assert size_in_name(name) == size


class TestBalance:
    def test_devices_filled_unevenly_are_noted_with_the_measure(self) -> None:
        _, plan = question("Qwen/Qwen2.5-7B-Instruct", Machine(devices=parse_devices("4090,3090")), 8192, "vllm")
        assert not any("not evenly filled" in note for note in plan.notes)
        case = Case(
            model=quantised("Qwen/Qwen2.5-7B-Instruct", "exl2-4.0bpw"),
            engine="exllamav2",
            version=find("exllamav2").profile.default,
            machine=cards(2),
            workload=Workload(context_tokens=4096),
        ).with_settings(gpu_split="3,20")
        notes = solve(find("exllamav2"), case, remedies=False).notes
        assert any("not evenly filled" in note and "above the mean" in note for note in notes)
