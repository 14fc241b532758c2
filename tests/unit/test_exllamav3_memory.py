"""ExLlamaV3 and TabbyAPI against figures that others measured and against their own defaults."""

import pytest
from tests.exllama_cases import exllama_case, loaded_mib

from ullage.domain.case import Case, Value
from ullage.domain.ledger import Phase, Purpose
from ullage.domain.plan import Plan, Verdict
from ullage.engines import find
from ullage.engines.exllamav3.capacity import token_bytes
from ullage.engines.exllamav3.place import balanced_split, placing
from ullage.engines.exllamav3.settings import resolve
from ullage.engines.exllamav3.units import units
from ullage.errors import InputError
from ullage.frozen import replace
from ullage.planning.answer import answer
from ullage.planning.search import solve
from ullage.units import GiB, MiB

ENGINE = find("exllamav3")


def cogito(version: str = "1.4.1", *, count: int = 1, context: int | None = 8192, **settings: Value) -> Case:
    """A 32B model in 4.0 bits a weight, as in oobabooga/textgen#6903."""
    return exllama_case("exllamav3", "cogito-v1-preview-qwen-32B", "exl3-4.0bpw", version, count=count, context=context, **settings)


def plan(case: Case) -> Plan:
    return answer(ENGINE, case, remedies=False)


@pytest.mark.parametrize(("mode", "measured"), [("FP16", 18665), ("q4", 16827), ("q4_q8", 17097)])
def test_what_was_in_use_with_three_caches(mode: str, measured: int) -> None:
    case = cogito("0.0.1", cache_mode=ENGINE.validate("cache_type", mode))
    peak = plan(case).ledger.peak("gpu0")
    assert peak.expected == pytest.approx(measured * MiB, rel=0.02)
    assert peak.low <= measured * MiB <= peak.high


@pytest.mark.parametrize(("mode", "per_32"), [("FP16", 128), ("8,8", 68), ("6,6", 52), ("4,4", 36), ("4,8", 52), ("2,3", 24)])
def test_bytes_of_32_elements_of_keys_and_values(mode: str, per_32: int) -> None:
    assert token_bytes(resolve(cogito(cache_mode=mode))) == 64 * 8 * 128 // 32 * per_32


def test_an_unsaid_cache_is_the_models_whole_length_and_not_4096() -> None:
    found = resolve(cogito(context=None))
    assert found.settings.integer("cache_size") == found.model.architecture.max_context_tokens == 131072
    assert any("4096" in note for note in plan(cogito(context=None)).notes)


def test_a_cache_of_whole_pages_bounds_the_length() -> None:
    found = resolve(cogito(context=None, max_seq_len=9000, cache_size=8000)).settings
    assert (found.integer("cache_size"), found.integer("max_seq_len")) == (8192, 8192)


def test_the_split_counts_the_cache() -> None:
    found = plan(cogito(count=2, gpu_split="12,12"))
    assert found.verdict is Verdict.FITS
    for at in range(2):
        alive = [entry for entry in found.ledger.on(f"gpu{at}") if entry.phase is Phase.LOAD and entry.purpose is not Purpose.RUNTIME]
        assert sum(entry.amount.expected for entry in alive) <= 12 * GiB
    assert plan(cogito(count=2, gpu_split="8,8")).objections[0].text == "RuntimeError: Insufficient VRAM in split for model and cache"


def test_filling_takes_the_first_card_first_and_leaves_the_reserve() -> None:
    first, second = loaded_mib(cogito(count=2, context=65536))
    assert first > 23000 - 96
    assert first <= 24564 - 96
    assert second < first
    assert loaded_mib(cogito(count=2, context=65536, autosplit_reserve="8192"))[0] <= 24564 - 8192


def test_the_balanced_split_evens_the_cards() -> None:
    case = resolve(cogito(count=2, context=32768))
    numbers = balanced_split(case)
    first, second = loaded_mib(replace(case, settings=case.settings.with_(gpu_split=numbers)))
    assert first == pytest.approx(second, rel=0.05)
    assert not placing(case.with_settings(gpu_split=numbers)).missing


def test_a_model_too_large_for_five_cards_is_refused() -> None:
    """turboderp-org/exllamav3#61: a 300B model at 2.25 bits on five cards of 20 GB."""
    case = exllama_case("exllamav3", "ERNIE-4.5-300B-A47B-PT", "exl3-2.25bpw", "0.0.5", count=5, mib=20470)
    assert plan(case).verdict is Verdict.REFUSED


def test_windows_take_slots_since_0_0_30_and_pages_before() -> None:
    def kept(version: str) -> tuple[int, int]:
        found = units(resolve(exllama_case("exllamav3", "gemma-3-27b-it", "exl3-4.0bpw", version, count=1, context=32768)))
        return sum(unit.cache_bytes for unit in found), sum(unit.state_bytes for unit in found)

    (pages, slots), (old_pages, old_slots) = kept("1.4.1"), kept("0.0.20")
    assert old_slots == 0
    assert 0 < pages < old_pages
    assert slots == 52 * 4 * (1024 + 512) * 2 * 16 * 128 * 2


def test_experts_on_the_host_leave_the_cards() -> None:
    name = "Qwen3-30B-A3B"
    here, away = (
        plan(exllama_case("exllamav3", name, "exl3-4.0bpw", "1.4.1", count=1, context=8192, host=True, cpu_moe_offload_layers=count)).ledger
        for count in (0, 24)
    )
    moved = here.of("gpu0", Purpose.WEIGHTS).expected - away.of("gpu0", Purpose.WEIGHTS).expected
    assert moved > 0
    assert away.of("host", Purpose.WEIGHTS).expected - here.of("host", Purpose.WEIGHTS).expected == moved


def test_other_formats_and_old_cards_are_refused() -> None:
    assert plan(exllama_case("exllamav3", "Llama-2-7b-hf", "awq", "1.4.1", count=1)).verdict is Verdict.REFUSED
    case = cogito()
    old = replace(case, machine=replace(case.machine, devices=(replace(case.machine.devices[0], compute_capability=(7, 5)),)))
    assert "unsupported GPU" in plan(old).objections[0].text


def test_the_search_finds_a_length_and_says_it() -> None:
    found = solve(ENGINE, cogito(count=2, context=None), remedies=False)
    assert found.verdict is Verdict.FITS
    assert (found.case.workload.context_tokens or 0) > 65536


@pytest.mark.parametrize(("name", "value"), [("cache_mod", "FP16"), ("cache_mode", "9,9"), ("gpu_split", "x"), ("chunk_size", "0")])
def test_a_wrong_setting_is_an_error(name: str, value: str) -> None:
    with pytest.raises(InputError):
        ENGINE.validate(name, value)
