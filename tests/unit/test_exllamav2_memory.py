"""ExLlamaV2 against figures that others measured and against its own placement rule."""

import pytest
from tests.exllama_cases import cards, exllama_case, loaded_mib, quantised

from ullage import formats
from ullage.catalog import models
from ullage.domain.case import Case, Model, Value
from ullage.domain.family import Blueprint
from ullage.domain.hyperparameters import Hyperparameters
from ullage.domain.ledger import Phase, Purpose
from ullage.domain.plan import Limit, Plan, Verdict
from ullage.domain.weight_format import Header, StoredTensor
from ullage.engines import find
from ullage.engines.exllamav2.capacity import token_bytes
from ullage.engines.exllamav2.place import layer_counts, placing, resolve, variants
from ullage.engines.exllamav2.units import units
from ullage.errors import InputError
from ullage.formulas.blocks import BlockKind, table_bytes
from ullage.frozen import replace
from ullage.planning.answer import answer
from ullage.planning.search import solve
from ullage.units import GiB, MiB

ENGINE = find("exllamav2")


def smaug(bits: str = "3.0", *, context: int = 8192, version: str = "0.0.13", **settings: Value) -> Case:
    """Smaug-72B on three RTX 4090, as in turboderp-org/exllamav2#339."""
    return exllama_case("exllamav2", "Smaug-72B", f"exl2-{bits}bpw", version, context=context, **settings)


def plan(case: Case) -> Plan:
    return answer(ENGINE, case, remedies=False)


def layers(case: Case) -> tuple[int, ...]:
    named = resolve(case)
    return layer_counts(named, placing(named).spans)


class TestTheThreeCards:
    """A 72B model without grouped-query attention, and the card that filled at the end of loading."""

    def test_the_published_file_is_met_by_rule(self) -> None:
        found = units(resolve(smaug()))
        weights = sum(unit.resident for unit in found)
        assert weights / MiB == pytest.approx(25910, rel=0.01)
        assert (weights + table_bytes(quantised("Smaug-72B", "exl2-3.0bpw"))) / 1e9 == pytest.approx(29.66, rel=0.01)

    def test_all_three_cards_together_hold_what_was_measured(self) -> None:
        assert sum(loaded_mib(smaug(gpu_split="10,14,23"))) == pytest.approx(53210, rel=0.02)

    def test_the_cache_lies_outside_the_split(self) -> None:
        ledger = plan(smaug(gpu_split="10,14,23")).ledger
        cache = [entry for entry in ledger.entries if entry.purpose is Purpose.KV_CACHE]
        assert sum(entry.amount.expected for entry in cache) == 20480 * MiB
        assert {entry.phase for entry in cache} == {Phase.RESIDENT}
        assert not any(entry.budgeted for entry in cache)
        assert all(ledger.at(f"gpu{at}", Phase.LOAD).expected < ledger.at(f"gpu{at}", Phase.RESIDENT).expected for at in range(3))

    @pytest.mark.parametrize(("at", "measured"), [(0, 19320), (1, 22900), (2, 10990)])
    def test_each_card_was_within_the_range(self, at: int, measured: int) -> None:
        seen = plan(smaug(gpu_split="10,14,23")).ledger.at(f"gpu{at}", Phase.RESIDENT)
        assert seen.low <= measured * MiB <= seen.high

    def test_a_split_that_ran_is_tight(self) -> None:
        assert plan(smaug(gpu_split="10,14,23")).verdict is Verdict.TIGHT

    @pytest.mark.parametrize(("without_flash", "counts"), [(True, (28, 40, 12)), (False, (31, 43, 6))])
    def test_flash_attention_moves_layers_to_the_first_cards(self, without_flash: bool, counts: tuple[int, ...]) -> None:  # noqa: FBT001
        assert layers(smaug(gpu_split="10,14,23", no_flash_attn=without_flash)) == counts

    @pytest.mark.parametrize(
        ("bits", "split", "low", "high"),
        [
            ("3.0", "10,14,23", (16315, 23355, 8088), (18021, 25061, 11500)),
            ("3.0", "16,19,23", (27336, 21520, 0), (29042, 23226, 0)),
            ("5.0", "16,19,23", (22336, 26992, 15679), (23888, 28184, 18423)),
        ],
    )
    def test_the_librarys_own_rule_gives_these_cards(self, bits: str, split: str, low: tuple[int, ...], high: tuple[int, ...]) -> None:
        """Figures of a simulation of set_device_map with and without flash-attn, without contexts."""
        seen = loaded_mib(smaug(bits, gpu_split=split))
        for size, least, most in zip(seen, low, high, strict=True):
            assert 0.99 * least - 1 <= size - 560 <= 1.01 * most + 1

    def test_the_first_card_overflows_where_loading_itself_fits(self) -> None:
        found = plan(smaug(gpu_split="16,19,23"))
        assert found.verdict is Verdict.DOES_NOT_FIT
        assert found.binding.startswith("gpu0")
        assert found.ledger.at("gpu0", Phase.LOAD).expected < 24564 * MiB

    def test_the_balanced_split_is_offered_and_fits(self) -> None:
        found = answer(ENGINE, smaug(gpu_split="16,19,23"))
        best = found.remedies[0]
        assert best.changes == (("gpu_split", resolve(smaug()).settings.get("gpu_split")),)
        assert best.verdict is Verdict.FITS

    @pytest.mark.parametrize(
        ("bits", "context", "counts", "total_mib"),
        [
            ("3.0", 8192, (29, 29, 22), 52665),
            ("4.0", 8192, (29, 29, 22), 60964),
            ("5.0", 4096, (29, 29, 22), 59053),
            ("5.0", 8192, (28, 28, 24), 69293),
            ("3.0", 32768, (28, 28, 24), 114105),
        ],
    )
    def test_balanced_plans(self, bits: str, context: int, counts: tuple[int, ...], total_mib: int) -> None:
        assert layers(smaug(bits, context=context)) == counts
        assert sum(loaded_mib(smaug(bits, context=context))) == pytest.approx(total_mib, rel=0.01)

    @pytest.mark.parametrize("bits", ["3.0", "4.0", "5.0"])
    @pytest.mark.parametrize("version", ["0.0.13", "0.0.18", "0.1.0", "0.3.2"])
    def test_the_library_arrives_at_the_split_that_was_planned(self, bits: str, version: str) -> None:
        found = resolve(smaug(bits, version=version))
        assert str(found.settings.get("gpu_split")).count(",") == 2
        assert not placing(found).missing
        assert sum(layers(found)) == 80

    def test_five_bits_fit_8192_tokens_only_if_balanced(self) -> None:
        assert plan(smaug("5.0")).verdict is Verdict.TIGHT
        assert plan(smaug("5.0", gpu_split="16,19,23")).verdict is Verdict.DOES_NOT_FIT
        assert plan(smaug("5.0", gpu_split="auto")).verdict is Verdict.REFUSED
        assert plan(smaug("5.0", gpu_split="none")).verdict is Verdict.DOES_NOT_FIT

    @pytest.mark.parametrize("split", [None, "auto", "23,23,23"])
    def test_32768_tokens_fit_in_no_way(self, split: str | None) -> None:
        settings = {} if split is None else {"gpu_split": split}
        assert plan(smaug(context=32768, **settings)).verdict in {Verdict.DOES_NOT_FIT, Verdict.REFUSED}

    def test_the_search_finds_the_length_that_fits(self) -> None:
        found = solve(ENGINE, exllama_case("exllamav2", "Smaug-72B", "exl2-3.0bpw", "0.0.13"), remedies=False)
        assert found.verdict is Verdict.FITS
        assert 8192 <= (found.case.workload.context_tokens or 0) < 20480

    def test_a_newer_release_needs_2540_mib_less_for_the_head(self) -> None:
        old, new = (max(unit.scratch for unit in units(resolve(smaug(version=version)))) for version in ("0.0.13", "0.3.2"))
        assert old / MiB == pytest.approx(3564, abs=1)
        assert new / MiB == pytest.approx(1024, abs=1)

    def test_the_scratch_of_a_card_without_the_head_is_608_mib(self) -> None:
        sizes = {unit.block.kind: unit.scratch for unit in units(resolve(smaug()))}
        assert sizes[BlockKind.FEED_FORWARD] / MiB == pytest.approx(608, abs=1)


@pytest.mark.parametrize(("name", "kib"), [("Smaug-72B", 2560), ("Qwen1.5-72B", 2560), ("Llama-2-70b-hf", 320)])
def test_cache_of_a_token(name: str, kib: int) -> None:
    case = resolve(exllama_case("exllamav2", name, "exl2-3.0bpw", "0.3.2", context=4096))
    assert token_bytes(case) == kib * 1024
    assert plan(case).capacity.kv_bytes_per_token == kib * 1024  # type: ignore[union-attr]


@pytest.mark.parametrize(("mode", "measured"), [("FP16", 15162), ("FP8", 14202), ("Q4", 13882)])
def test_three_caches_of_llama_2_7b(mode: str, measured: int) -> None:
    """oobabooga/textgen#5645; the length is not stated, 4096 is the loader's default for this model."""
    case = exllama_case("exllamav2", "Llama-2-7b-hf", None, "0.0.15", count=1, context=4096, cache_mode=mode)
    (seen,) = loaded_mib(case)
    assert seen == pytest.approx(measured, rel=0.02)
    ends = plan(case).ledger.peak("gpu0")
    assert ends.low <= measured * MiB <= ends.high


def test_a_quantised_cache_keeps_one_layer_in_16_bits_on_every_card() -> None:
    entries = plan(smaug(version="0.3.2", cache_mode="Q4")).ledger.entries
    temporary = [entry for entry in entries if "one whole layer of the cache" in entry.because]
    assert [entry.device for entry in temporary] == ["gpu0", "gpu1", "gpu2"]
    assert {entry.amount.expected for entry in temporary} == {256 * MiB}
    kept = sum(entry.amount.expected for entry in entries if entry.purpose is Purpose.KV_CACHE)
    assert kept == 20480 * MiB * 9 // 32


@pytest.mark.parametrize(("mode", "per_32"), [("FP16", 128), ("FP8", 64), ("Q4", 36), ("Q6", 52), ("Q8", 68)])
def test_bytes_of_32_elements_of_keys_and_values(mode: str, per_32: int) -> None:
    case = resolve(exllama_case("exllamav2", "Llama-2-7b-hf", None, "0.3.2", count=1, context=4096, cache_mode=mode))
    assert token_bytes(case) == 32 * 4096 // 32 * per_32


def test_a_split_too_small_for_the_weights_is_refused_in_the_librarys_words() -> None:
    found = plan(smaug(gpu_split="5,5,5"))
    assert found.verdict is Verdict.REFUSED
    assert found.objections[0].text == "AssertionError: Insufficient space in device allocation"
    assert found.objections[0].limit is Limit.WEIGHTS


def test_a_length_no_card_holds_is_refused_while_filling() -> None:
    """turboderp-org/exui#11: Llama-2-7B with 32768 tokens on 8 GB."""
    found = plan(exllama_case("exllamav2", "Llama-2-7b-hf", "gptq", "0.0.13", count=1, mib=8192, gpu_split="auto", max_seq_len=32768))
    assert found.objections[0].text == "RuntimeError: Insufficient VRAM for model and cache"
    assert found.limit is Limit.CACHE


@pytest.mark.parametrize(
    ("settings", "version", "text"),
    [
        ({"cache_mode": "Q4"}, "0.0.13", "ExLlamaV2Cache_Q4"),
        ({"cache_mode": "Q6"}, "0.1.0", "ExLlamaV2Cache_Q6"),
        ({"tensor_parallel": True}, "0.1.9", "load_tp"),
        ({"gpu_split": "5,5,5,5"}, "0.3.2", "Too many entries in gpu_split. 3 CUDA devices are available."),
    ],
)
def test_what_a_release_does_not_have_is_refused(settings: dict[str, Value], version: str, text: str) -> None:
    assert text in plan(smaug(version=version, **settings)).objections[0].text


def test_other_formats_and_mixers_are_refused() -> None:
    assert plan(exllama_case("exllamav2", "Llama-2-7b-hf", "awq", "0.3.2", count=1)).verdict is Verdict.REFUSED
    assert plan(exllama_case("exllamav2", "DeepSeek-V2-Lite", "exl2-4.0bpw", "0.3.2", count=2)).verdict is Verdict.REFUSED


def test_tensor_parallelism_divides_weights_and_cache() -> None:
    found = plan(
        exllama_case("exllamav2", "Llama-2-70b-hf", "exl2-4.0bpw", "0.3.2", count=2, context=8192, tensor_parallel=True, host=True)
    )
    layered = plan(exllama_case("exllamav2", "Llama-2-70b-hf", "exl2-4.0bpw", "0.3.2", count=2, context=8192))
    for purpose in (Purpose.KV_CACHE, Purpose.WEIGHTS):
        one, other = (found.ledger.of(f"gpu{at}", purpose).expected for at in range(2))
        whole = sum(layered.ledger.of(f"gpu{at}", purpose).expected for at in range(2))
        assert one + other == pytest.approx(whole, rel=0.001)
        assert one == pytest.approx(other, rel=0.01)
    assert found.ledger.of("host", Purpose.COMMUNICATION).expected > 0


def test_unequal_cards_are_left_with_as_much_each() -> None:
    case = smaug(version="0.3.2")
    small = replace(cards(1, 12288).devices[0], id="gpu2")
    uneven = replace(case, machine=replace(case.machine, devices=(*case.machine.devices[:2], small)))
    first, second, third = loaded_mib(uneven)
    assert first == pytest.approx(second, rel=0.05)
    assert abs((24564 - first) - (12288 - third)) < 1500


def test_a_published_fine_tune_is_found_by_its_name_and_keeps_it() -> None:
    found = models.lookup("smaug-72b-v0.1")
    assert found is not None
    assert found.id == "abacusai/Smaug-72B-v0.1"
    assert "Qwen1.5-72B" in models.origin(found)
    assert {alias.shape_of for alias in models.ALIASES} <= {model.id for model in models.bundled()}


def test_the_first_four_thousand_tokens_cost_ten_gib_and_the_whole_length_eighty() -> None:
    for tokens, gib in ((4096, 10), (32768, 80)):
        ledger = plan(smaug(context=tokens)).ledger
        assert sum(ledger.of(f"gpu{at}", Purpose.KV_CACHE).expected for at in range(3)) == gib * GiB


@pytest.mark.parametrize(("name", "value"), [("gpu_splits", "1,2"), ("gpu_split", "a,b"), ("cache_mode", "q5"), ("max_seq_len", "-1")])
def test_a_wrong_setting_names_what_is_right(name: str, value: str) -> None:
    with pytest.raises(InputError):
        ENGINE.validate(name, value)


def test_file_headers_make_the_bits_of_each_layer_known() -> None:
    """With headers only flash-attn is unsure; once that is said, the placement is one and its weights are exact."""
    by_rule = quantised("Llama-2-7b-hf", "exl2-4.0bpw")
    words = {"int32": "I32", "int16": "I16", "float16": "F16", "bfloat16": "BF16"}
    stored = tuple(
        StoredTensor(name=tensor.name, dtype=words[tensor.format.name], shape=tensor.shape, nbytes=tensor.nbytes)
        for tensor in by_rule.checkpoint.tensors
    )
    plain = quantised("Llama-2-7b-hf", None)
    blueprint = Blueprint(architecture=plain.architecture, tensors=plain.checkpoint.tensors)
    scheme = Hyperparameters(formats.named_scheme("exl2-4.0bpw"))
    checkpoint, _ = formats.checkpoint_from_headers(blueprint, (Header(tensors=stored, metadata=()),), scheme)
    model = Model(name="M", source="headers", architecture=plain.architecture, checkpoint=checkpoint, parameters=plain.parameters)
    case = replace(exllama_case("exllamav2", "Llama-2-7b-hf", None, "0.3.2", count=2, context=4096, gpu_split="2.5,6"), model=model)
    assert len(variants(resolve(case))) == 2
    sure = resolve(case.with_settings(no_flash_attn=False))
    assert len(variants(sure)) == 1
    weights = [entry for entry in plan(sure).ledger.entries if entry.purpose is Purpose.WEIGHTS]
    assert {entry.origin.kind for entry in weights} == {"exact"}
    assert all(entry.amount.low == entry.amount.high for entry in weights)
