"""Whole plans of published cases, one or two for each engine, to the tenth of a MiB and to the last word of the command."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from syrupy.assertion import SnapshotAssertion
from tests.cases import GPU_80, RTX_3090, machine, raw_vllm_case
from tests.exllama_cases import exllama_case, quantised
from tests.golden.plan_text import plan_text
from tests.ipex_cases import arc_case

from ullage.domain.case import Case, Settings, Value, Version
from ullage.domain.machine import HOST, Device, Machine
from ullage.domain.placement import Parallel
from ullage.domain.workload import Workload
from ullage.engines import engines, find
from ullage.planning.answer import answer
from ullage.units import GiB

RTX_4090 = ("NVIDIA GeForce RTX 4090", 23.52, (8, 9))
H100 = ("NVIDIA H100 80GB", 79.19, (9, 0))


def with_host(there: Machine, gib: int) -> Machine:
    return replace(there, host=Device(id=HOST, kind="cpu", name="host memory", total_bytes=gib * GiB))


def asked(
    engine: str,
    release: str,
    model: str,
    scheme: str | None,
    there: Machine,
    *,
    context: int,
    parallel: Parallel,
    **settings: Value,
) -> Case:
    return Case(
        model=quantised(model, scheme),
        engine=engine,
        version=Version(tuple(int(part) for part in release.split(".")), release),
        machine=there,
        parallel=parallel,
        workload=Workload(context_tokens=context),
        settings=Settings.of(settings),
        stated=frozenset(settings),
    )


def a_million_tokens() -> Case:
    """QwenLM/Qwen3 issue 1210: 960,000 tokens with dual chunk attention on eight H800."""
    case = raw_vllm_case(
        "Qwen2.5-14B-Instruct-1M",
        "0.10.2",
        GPU_80,
        devices=8,
        tensor=8,
        context=960_000,
        environment=(("VLLM_ATTENTION_BACKEND", "DUAL_CHUNK_FLASH_ATTN"),),
        gpu_memory_utilization=0.85,
        enforce_eager=True,
        enable_chunked_prefill=True,
        max_num_batched_tokens=131072,
    )
    return replace(case, stated=frozenset(name for name, _ in case.settings.items))


def a_card_that_was_too_small() -> Case:
    """QwenLM/Qwen3 issue 295: Qwen1.5-7B-Chat at its whole length on a 24 GB card."""
    return raw_vllm_case("Qwen1.5-7B-Chat", "0.4.0", RTX_3090, total_gib=23.69)


def one_arc_card() -> Case:
    """intel/ipex-llm issue 12080: packed weights on a 16 GB Arc, a build that sized its cache without the step's peak."""
    return arc_case(
        "Qwen2-7B-Instruct",
        "sym_int4",
        "2.1.0b20240914",
        gpu_memory_utilization=0.7,
        max_model_len=4096,
        max_num_batched_tokens=4096,
        dtype="float16",
        enforce_eager=True,
    )


def three_cards() -> Case:
    """turboderp-org/exllamav2 issue 339: Smaug-72B at 3.0 bits on three RTX 4090."""
    return exllama_case("exllamav2", "Smaug-72B", "exl2-3.0bpw", "0.0.13", context=8192)


def the_cache_after_the_split() -> Case:
    """The same with a split by hand: the cache comes on top of it."""
    return exllama_case("exllamav2", "Smaug-72B", "exl2-3.0bpw", "0.0.13", context=20480, gpu_split="20,21,22")


def a_32b_model_in_four_bits() -> Case:
    """oobabooga/textgen issue 6903."""
    return exllama_case("exllamav3", "cogito-v1-preview-qwen-32B", "exl3-4.0bpw", "1.4.1", count=1, context=8192, cache_mode="4,4")


def experts_on_the_host() -> Case:
    """kvcache-ai/ktransformers issue 101: DeepSeek-Coder-V2 236B, attention on two 24 GB cards."""
    there = with_host(machine(RTX_4090, 2), 512)
    return asked(
        "ktransformers", "0.1.4", "DeepSeek-Coder-V2-Instruct", "q8_0", there, context=8192, parallel=Parallel(pipeline=2), cache_lens=8192
    )


def a_mixture_of_formats_on_two_cards() -> Case:
    there = with_host(machine(RTX_3090, 2), 64)
    return asked("llama_cpp", "11434", "Qwen2.5-32B", "q4_k_m", there, context=32768, parallel=Parallel(pipeline=2))


def a_mixture_of_experts() -> Case:
    return asked("sglang", "0.5.23", "Qwen3-30B-A3B", None, machine(H100, 2), context=32768, parallel=Parallel(tensor=2))


def a_script_around_generate() -> Case:
    there = with_host(machine(RTX_4090, 1), 64)
    return asked("transformers", "5.23.0", "Qwen3-8B", None, there, context=8192, parallel=Parallel())


def a_long_context_on_a_processor() -> Case:
    """Dual chunk attention in our own runtime, on a server without a GPU."""
    server = Machine(devices=(Device(id="cpu", kind="cpu", name="CPU", total_bytes=128 * GiB),))
    return asked("runtime", "0.1.0", "Qwen2.5-7B-Instruct-1M", None, server, context=480_000, parallel=Parallel(), weights="int8")


def a_long_context_on_one_card() -> Case:
    """The same on one H100, the cache in eight bits."""
    there = with_host(machine(H100, 1), 256)
    return asked("runtime", "0.1.0", "Qwen2.5-7B-Instruct-1M", None, there, context=960_000, parallel=Parallel(), kv_dtype="int8")


CASES: tuple[Callable[[], Case], ...] = (
    a_million_tokens,
    a_card_that_was_too_small,
    one_arc_card,
    three_cards,
    the_cache_after_the_split,
    a_32b_model_in_four_bits,
    experts_on_the_host,
    a_mixture_of_formats_on_two_cards,
    a_mixture_of_experts,
    a_script_around_generate,
    a_long_context_on_a_processor,
    a_long_context_on_one_card,
)


@pytest.mark.parametrize("ask", CASES, ids=[ask.__name__ for ask in CASES])
def test_the_plan_of_a_published_case_is_what_it_was(ask: Callable[[], Case], snapshot: SnapshotAssertion) -> None:
    case = ask()
    assert plan_text(answer(find(case.engine), case, remedies=False)) == snapshot


def test_every_engine_has_a_published_case() -> None:
    assert {ask().engine for ask in CASES} == set(engines())
