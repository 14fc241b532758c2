"""The Transformers ledger, its caches and its capacity."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ullage.architectures import read
from ullage.domain.case import Case, Model, Settings, Value
from ullage.domain.checkpoint import Role
from ullage.domain.hyperparameters import Hyperparameters, Json
from ullage.domain.ledger import Ledger, Phase, Purpose
from ullage.domain.machine import HOST, Device, Machine
from ullage.domain.placement import Parallel
from ullage.domain.workload import Workload
from ullage.engines import find
from ullage.engines.transformers.capacity import token_bytes
from ullage.engines.transformers.placement import shares
from ullage.engines.transformers.versions import version
from ullage.engines.transformers.weights import loaded_tensors
from ullage.formats import checkpoint, named_scheme
from ullage.units import GiB, MiB

CONFIG: dict[str, Json] = {
    "model_type": "qwen2",
    "architectures": ["Qwen2ForCausalLM"],
    "hidden_size": 3584,
    "intermediate_size": 18944,
    "num_hidden_layers": 28,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
    "vocab_size": 152064,
    "max_position_embeddings": 32768,
    "use_sliding_window": False,
    "torch_dtype": "bfloat16",
}
WINDOWED: dict[str, Json] = {**CONFIG, "model_type": "mistral", "architectures": ["MistralForCausalLM"], "sliding_window": 4096}
WINDOWED.pop("use_sliding_window")
ENGINE = find("transformers")


def model(config: dict[str, Json] = CONFIG, scheme: str | None = None) -> Model:
    blueprint = read(Hyperparameters(config))
    plain = checkpoint(blueprint, None)
    stored = checkpoint(blueprint, Hyperparameters(named_scheme(scheme))) if scheme else plain
    count = sum(tensor.elements for tensor in blueprint.tensors)
    return Model(
        name="m", source="", architecture=blueprint.architecture, checkpoint=stored, parameters=count, unquantised=plain if scheme else None
    )


MODEL = model()


def case(
    *,
    of: Model = MODEL,
    release: str = "5.23.0",
    sizes: tuple[int, ...] = (80,),
    host: int | None = None,
    prompt: int = 6144,
    answer: int = 2048,
    rows: int = 1,
    **values: Value,
) -> Case:
    cards = tuple(
        Device(id=f"gpu{index}", kind="cuda", name="card", total_bytes=size * GiB, compute_capability=(8, 0))
        for index, size in enumerate(sizes)
    )
    memory = Device(id=HOST, kind="cpu", name="host", total_bytes=host * GiB) if host else None
    return ENGINE.resolve(
        Case(
            model=of,
            engine="transformers",
            version=version(release),
            machine=Machine(devices=cards, host=memory),
            parallel=Parallel(pipeline=len(cards)),
            workload=Workload(context_tokens=prompt + answer, prompt_tokens=prompt, concurrent_sequences=rows),
            settings=Settings.of({"dtype": "auto", **values}),
        )
    )


def counted(asked: Case) -> float:
    """GiB that the allocator would count at its peak on the first device."""
    entries = tuple(entry for entry in ENGINE.ledger(asked).entries if entry.purpose is not Purpose.RUNTIME)
    return Ledger(entries=entries).peak("gpu0").expected / GiB


def cache_at(asked: Case, phase: Phase) -> int:
    alive = {Phase.RESIDENT, phase}
    return sum(e.amount.expected for e in ENGINE.ledger(asked).on("gpu0") if e.purpose is Purpose.KV_CACHE and e.phase in alive)


def test_a_7b_model_peaks_in_the_mlp_of_its_prompt_as_published() -> None:
    assert counted(case(release="4.46.0", attn_implementation="flash_attention_2")) == pytest.approx(15.38, abs=0.01)


def test_old_releases_add_the_logits_of_every_position_twice() -> None:
    assert counted(case(release="4.38.2", attn_implementation="flash_attention_2")) == pytest.approx(20.26, abs=0.02)


def test_an_old_release_without_a_dtype_loads_float32() -> None:
    loaded = case(release="4.46.0")
    unsaid = ENGINE.resolve(replace(loaded, settings=loaded.settings.without("dtype")))
    assert unsaid.settings.text("dtype") == "float32"
    assert ENGINE.ledger(unsaid).of("gpu0", Purpose.WEIGHTS).expected > 1.9 * ENGINE.ledger(loaded).of("gpu0", Purpose.WEIGHTS).expected


def test_the_cache_purpose_sums_to_what_is_kept_and_not_to_more() -> None:
    asked = case()
    assert ENGINE.ledger(asked).of("gpu0", Purpose.KV_CACHE).expected == 8191 * token_bytes(asked) == cache_at(asked, Phase.DECODE)


def test_every_entry_says_why_and_none_is_budgeted() -> None:
    entries = ENGINE.ledger(case(sizes=(12, 24), host=64)).entries
    assert all(entry.because for entry in entries)
    assert not any(entry.budgeted for entry in entries)


@given(st.integers(1, 30000), st.integers(1, 30000), st.sampled_from(["4.38.2", "4.46.0", "5.23.0"]), st.sampled_from(["eager", "sdpa"]))
@settings(max_examples=25, deadline=None)
def test_a_longer_prompt_never_needs_less(one: int, other: int, release: str, attention: str) -> None:
    short, long = sorted((one, other))
    assert counted(case(prompt=short, release=release, attn_implementation=attention)) <= counted(
        case(prompt=long, release=release, attn_implementation=attention)
    )


@given(st.integers(1, 8), st.integers(1, 8))
@settings(max_examples=10, deadline=None)
def test_more_sequences_never_need_less(one: int, other: int) -> None:
    few, many = sorted((one, other))
    assert counted(case(rows=few)) <= counted(case(rows=many))


@given(st.lists(st.integers(4, 40), min_size=1, max_size=4))
@settings(max_examples=20, deadline=None)
def test_no_weight_is_lost_between_devices_host_and_disk(sizes: list[int]) -> None:
    asked = case(sizes=tuple(sizes), host=16)
    assert sum(share.nbytes for share in shares(asked)) == sum(tensor.nbytes for tensor in loaded_tensors(asked))
    held = [share for share in shares(asked) if share.has_head]
    assert len(held) == 1


def test_a_tied_head_is_not_held_twice() -> None:
    tied = model({**CONFIG, "tie_word_embeddings": True})
    whole = sum(tensor.nbytes for tensor in tied.checkpoint.tensors)
    assert not any(tensor.role is Role.HEAD for tensor in tied.checkpoint.tensors)
    assert ENGINE.ledger(case(of=tied)).of("gpu0", Purpose.WEIGHTS).expected == pytest.approx(whole, rel=1e-4)


def test_the_prompt_of_a_windowed_model_is_kept_whole_until_the_first_new_token() -> None:
    asked = case(of=model(WINDOWED), prompt=16384)
    assert cache_at(asked, Phase.PREFILL) == 4 * cache_at(asked, Phase.DECODE)


def test_before_4_56_a_dynamic_cache_does_not_cut_windows() -> None:
    asked = case(of=model(WINDOWED), prompt=16384, release="4.51.3")
    assert cache_at(asked, Phase.DECODE) > cache_at(asked, Phase.PREFILL)


def test_a_static_cache_is_whole_from_the_first_token_on() -> None:
    asked = case(cache_implementation="static")
    assert cache_at(asked, Phase.PREFILL) == cache_at(asked, Phase.DECODE) == 8192 * token_bytes(asked)


def test_an_offloaded_cache_keeps_two_layers_here_and_the_rest_on_the_host() -> None:
    asked = case(cache_implementation="offloaded", host=64)
    whole = 8191 * token_bytes(asked)
    assert cache_at(asked, Phase.DECODE) == 2 * whole // 28
    assert ENGINE.ledger(asked).of(HOST, Purpose.SWAP).expected == whole - whole // 28


def test_a_4_bit_cache_takes_less_than_a_third() -> None:
    asked = case(cache_implementation="quantized")
    share = cache_at(asked, Phase.DECODE) / (8191 * token_bytes(asked))
    assert 0.28 < share < 0.33


def test_a_smaller_chunk_of_the_prompt_needs_less() -> None:
    assert counted(case(prompt=30000, prefill_chunk_size=2048)) < counted(case(prompt=30000))


def test_eager_attention_needs_eight_bytes_for_every_head_and_pair_of_tokens() -> None:
    asked = case(prompt=8192, attn_implementation="eager")
    peak = next(e for e in ENGINE.ledger(asked).on("gpu0") if e.purpose is Purpose.ACTIVATIONS and e.phase is Phase.PREFILL)
    assert peak.amount.expected > 8192 * 8192 * 28 * 8
    assert "scores" in peak.because


def test_what_is_offloaded_comes_back_to_the_first_device_to_run() -> None:
    asked = case(sizes=(12,), host=64)
    entries = ENGINE.ledger(asked).entries
    assert ENGINE.ledger(asked).of(HOST, Purpose.WEIGHTS).expected > 0
    assert any(e.device == "gpu0" and "brought here" in e.because for e in entries)


def test_the_hopper_workspace_is_32_mebibytes() -> None:
    asked = case()
    card = replace(asked.machine.devices[0], compute_capability=(9, 0))
    hopper = replace(asked, machine=replace(asked.machine, devices=(card,)))
    assert ENGINE.ledger(hopper).of("gpu0", Purpose.WORKSPACE).expected == 32 * MiB


def test_capacity_is_the_last_length_and_the_last_batch_that_fit() -> None:
    asked = case(sizes=(24,))
    found = ENGINE.capacity(asked, ENGINE.ledger(asked))
    longest = found.max_context_tokens.expected
    total = asked.machine.devices[0].total_bytes
    fits = [ENGINE.ledger(case(sizes=(24,), prompt=tokens - 2048)).peak("gpu0").expected <= total for tokens in (longest, longest + 1)]
    assert fits == [True, False]
    assert found.max_context_tokens.low <= longest <= found.max_context_tokens.high
    assert found.max_sequences.expected >= 1


def test_continuous_batching_plans_a_pool_inside_nine_tenths_of_what_is_free() -> None:
    asked = case(continuous_batching=True, attn_implementation="flash_attention_2")
    ledger = ENGINE.ledger(asked)
    weights, pool = ledger.of("gpu0", Purpose.WEIGHTS).expected, ledger.of("gpu0", Purpose.KV_CACHE).expected
    assert 0.7 < pool / (0.9 * (80 * GiB - weights)) < 1
    assert all(entry.budgeted for entry in ledger.entries if entry.purpose is Purpose.KV_CACHE)
    assert ENGINE.capacity(asked, ledger).block_tokens == 256
