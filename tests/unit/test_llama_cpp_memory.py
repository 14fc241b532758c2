"""Figures that llama.cpp itself logged or projected, and what a plan says of them."""

import pytest
from tests.llama_cpp_cases import asked, cpu, devices, settled

from ullage.domain.case import Case, Value
from ullage.domain.ledger import Purpose
from ullage.domain.plan import Verdict
from ullage.engines.llama_cpp import ENGINE
from ullage.engines.llama_cpp.cache import by_device, cells
from ullage.engines.llama_cpp.compute import buffer_on, host_inputs
from ullage.engines.llama_cpp.placement import ON_HOST, place
from ullage.planning.fit import evaluate
from ullage.units import GiB, MiB

SMALL = "HuggingFaceTB/SmolLM2-135M-Instruct"
# b11434 on a CPU of 24152 MiB, SmolLM2-135M Q4_1: settings, cache and compute buffer in MiB as logged.
LOGGED: tuple[tuple[dict[str, Value], float, float], ...] = (
    ({}, 180.00, 22.64),
    ({"ctx_size": 512, "n_parallel": 1}, 11.25, 15.14),
    ({"ctx_size": 2048, "n_parallel": 1}, 45.00, 16.64),
    ({"ctx_size": 8192, "n_parallel": 1}, 180.00, 22.64),
    ({"ctx_size": 32768, "n_parallel": 1}, 720.00, 46.64),
    ({"ctx_size": 8192, "n_parallel": 1, "cache_type": "q8_0"}, 95.62, 22.67),
    ({"ctx_size": 8192, "n_parallel": 1, "cache_type": "q4_0"}, 50.62, 22.67),
    ({"ctx_size": 8192, "n_parallel": 1, "cache_type_k": "q8_0", "cache_type_v": "q4_0"}, 73.12, 22.67),
    ({"ctx_size": 8192, "n_parallel": 1, "cache_type": "f32"}, 360.00, 22.64),
    ({"ctx_size": 8192, "n_parallel": 4}, 180.00, 16.64),
    ({"ctx_size": 8192, "n_parallel": 4, "kv_unified": True}, 180.00, 22.64),
    ({"ctx_size": 8192, "n_parallel": 3}, 185.62, 17.43),
    ({"ctx_size": 8192, "n_parallel": 1, "flash_attn": "off"}, 180.00, 167.51),
    ({"ctx_size": 8192, "n_parallel": 1, "ubatch_size": 2048}, 180.00, 90.57),
    ({"ctx_size": 8192, "n_parallel": 1, "ubatch_size": 64}, 180.00, 2.83),
    ({"ctx_size": 2048, "n_parallel": 1, "load_mode": "none"}, 45.00, 16.64),
)


def mib(nbytes: int) -> float:
    return nbytes / MiB


@pytest.mark.parametrize(("said", "cache", "compute"), LOGGED)
def test_cache_and_compute_buffer_are_what_a_server_logged(said: dict[str, Value], cache: float, compute: float) -> None:
    case = settled(SMALL, "q4_1", cpu(24152 / 1024), **said)
    assert mib(sum(by_device(case)[ON_HOST])) == pytest.approx(cache, abs=0.006)
    assert mib(buffer_on(case, ON_HOST).amount.expected) == pytest.approx(compute, abs=0.04)
    assert mib(place(case).weights_on(ON_HOST)) == pytest.approx(92.10, abs=0.01)


@pytest.mark.parametrize(
    ("said", "resident"),
    [
        ({"ctx_size": 2048, "n_parallel": 1}, 189.6),
        ({"ctx_size": 8192, "n_parallel": 1}, 324.9),
        ({"ctx_size": 32768, "n_parallel": 1}, 865.0),
        ({"ctx_size": 8192, "n_parallel": 1, "cache_type": "q4_0"}, 195.7),
    ],
)
def test_the_whole_process_is_within_a_few_percent_of_its_resident_memory(said: dict[str, Value], resident: float) -> None:
    """What is not touched of the compute buffer, and the reach of the process's own part, make up the difference."""
    case = settled(SMALL, "q4_1", cpu(24152 / 1024), **said)
    peak = ENGINE.ledger(case).peak("cpu")
    assert mib(peak.expected) == pytest.approx(resident, rel=0.04)
    assert mib(peak.low) * 0.97 <= resident <= mib(peak.high)


def test_three_slots_round_up_to_more_than_was_asked_for() -> None:
    kept = cells(settled(SMALL, "q4_1", cpu(), ctx_size=8192, n_parallel=3))
    assert (kept.tokens, kept.total) == (2816, 8448)


def test_proportions_place_whole_layers_as_the_engine_did() -> None:
    case = settled("Qwen/Qwen1.5-72B", "q4_0", devices(80, 80, 80), ctx_size=8192, tensor_split="10,14,23", n_gpu_layers=99)
    assert [len(place(case).layers_on(f"gpu{index}")) for index in range(3)] == [18, 24, 38]
    assert [mib(by_device(case)[f"gpu{index}"][0]) for index in range(3)] == [4608, 6144, 9728]


def test_the_first_layers_stay_on_the_host() -> None:
    case = settled("Qwen/Qwen3-8B", "q4_k_m", devices(8), ctx_size=4096, n_gpu_layers=10)
    spot = place(case)
    assert spot.layers == (ON_HOST,) * 27 + ("gpu0",) * 9
    assert spot.output == "gpu0"


def test_a_tied_output_lies_twice() -> None:
    case = settled(SMALL, "q4_1", devices(8), ctx_size=8192)
    assert place(case).weights_on(ON_HOST) == 49152 * 576 // 32 * 34  # eight bits for a table that is the output too
    assert mib(place(case).weights_on("gpu0")) == pytest.approx(92.10, abs=0.01)


# b11434's projection without allocation: one device behind RPC, -ngl 99 -c 8192, one row of logits; device and host buffer in bytes.
PROJECTED: tuple[tuple[str, str, int, int], ...] = (
    ("meta-llama/Meta-Llama-3-8B", "on", 130037792, 41961504),
    ("meta-llama/Meta-Llama-3-8B", "off", 599795744, 54540320),
    ("Qwen/Qwen3-8B", "on", 117454880, 41961504),
    ("Qwen/Qwen3-0.6B", "on", 35665952, 16795680),
    ("Qwen/Qwen3-0.6B", "off", 306194464, 29374496),
    ("Qwen/Qwen3-30B-A3B", "on", 96483360, 25184288),
    ("mistralai/Mixtral-8x7B-v0.1", "on", 218118176, 41961504),
    ("mistralai/Mixtral-8x7B-v0.1", "off", 599795744, 54540320),
    ("google/gemma-3-12b-it", "on", 135815200, 41447456),
)


@pytest.mark.parametrize(("name", "flash", "device", "host"), PROJECTED)
def test_compute_buffers_of_device_and_host_are_what_the_engine_projects(name: str, flash: str, device: int, host: int) -> None:
    case = settled(name, "q4_k_m", devices(80), ctx_size=8192, n_parallel=1, flash_attn=flash)
    assert buffer_on(case, "gpu0").amount.expected == pytest.approx(device, rel=0.03)
    assert host_inputs(case).low <= host <= host_inputs(case).high * 1.25
    if flash == "on":
        assert host_inputs(case).expected == pytest.approx(host, rel=0.01)


# Logs from public threads: (who, question, weights, cache and compute of gpu0, compute of the host) in MiB; None where it was not said.
FIELD: tuple[tuple[str, Case, float | None, float | None, float, float | None], ...] = (
    (
        "gpt-oss-120b under Ollama, ROCm, two slots",
        asked(
            "openai/gpt-oss-120b",
            None,
            devices(112.5, kind="rocm"),
            build="9385",
            ctx_size=262144,
            n_parallel=2,
            flash_attn="on",
            batch_size=1024,
            ubatch_size=1024,
        ),
        61223,
        9306,
        796,
        281,
    ),
    (
        "Qwen3.6-27B with drafts, whole length",
        asked(
            "Qwen/Qwen3.5-27B",
            "q4_k_m",
            devices(31.36),
            build="9893",
            ctx_size=262144,
            n_parallel=1,
            batch_size=4096,
            ubatch_size=1024,
            spec_draft_n_max=2,
        ),
        None,
        16832,
        756,
        552,
    ),
    (
        "Qwen3-1.7B",
        asked("Qwen/Qwen3-1.7B", "q4_k_m", devices(8), build="8150", ctx_size=4096),
        None,
        448,
        300.75,
        16.01,
    ),
    (
        "32B with 8-bit keys and values, ROCm",
        asked(
            "Qwen/Qwen2.5-32B",
            "q4_k_m",
            devices(24, kind="rocm"),
            build="4400",
            ctx_size=32768,
            cache_type="q8_0",
            flash_attn="on",
            n_gpu_layers=99,
        ),
        None,
        4352,
        307.00,
        74.01,
    ),
    (
        "32B over five cards without flash attention",
        asked("Qwen/Qwen2.5-32B", "q8_0", devices(16, 16, 16, 16, 16, kind="rocm"), build="4800", ctx_size=32768, n_gpu_layers=99),
        None,
        1664,
        2664,
        74.01,
    ),
    (
        "3B on SYCL, a length that is no whole block of 256",
        asked("meta-llama/Llama-3.2-3B", "q4_k_m", devices(8, kind="xpu"), build="4400", ctx_size=40128, n_gpu_layers=99),
        None,
        4389,
        1983.38,
        84.38,
    ),
    (
        "command-r in a pipeline of two",
        asked("CohereForAI/c4ai-command-r-v01", "q4_k_s", devices(12, 24), build="2500", ctx_size=4096, n_gpu_layers=99),
        None,
        None,
        672.01,
        None,
    ),
)


@pytest.mark.parametrize(("who", "question", "weights", "cache", "compute", "host"), FIELD, ids=[row[0] for row in FIELD])
def test_logs_of_the_field_are_met(
    who: str, question: Case, weights: float | None, cache: float | None, compute: float, host: float | None
) -> None:
    case = ENGINE.resolve(question)
    assert mib(buffer_on(case, "gpu0").amount.expected) == pytest.approx(compute, rel=0.003), who
    if weights is not None:
        assert mib(place(case).weights_on("gpu0")) == pytest.approx(weights, rel=0.002)
    if cache is not None:
        assert mib(sum(by_device(case)["gpu0"])) == pytest.approx(cache, abs=1.0)
    if host is not None:
        assert mib(host_inputs(case).expected) == pytest.approx(host, rel=0.005)


def test_windows_keep_their_length_and_a_step_in_whole_blocks() -> None:
    case = settled("google/gemma-4-12B-it", "q4_k_m", devices(16), build="10840", ctx_size=262144, n_parallel=1, cache_type="q8_0")
    assert cells(case).window_of == ((1024, 1536),)
    assert mib(by_device(case)["gpu0"][0]) == 2176 + 255


def test_windows_that_the_engine_does_not_know_are_kept_whole() -> None:
    case = settled("mistralai/Mistral-7B-v0.1", "q4_k_m", devices(24), ctx_size=32768)
    assert mib(by_device(case)["gpu0"][0]) == 4096


def test_latent_attention_keeps_the_latent_or_every_head() -> None:
    latent = settled("deepseek-ai/DeepSeek-R1", "q2_k", devices(*[48] * 8), ctx_size=32768)
    full = settled("deepseek-ai/DeepSeek-R1", "q2_k", devices(*[48] * 8), build="5000", ctx_size=32768)
    assert mib(sum(keys for keys, _ in by_device(latent).values())) == 2196
    assert mib(sum(keys for keys, _ in by_device(full).values())) == 61 * 128 * (192 + 128) * 2 * 32768 / MiB


def test_scores_without_flash_attention_are_what_ran_out() -> None:
    """15 cards of 24 GiB, ik_llama.cpp with -mla 2: 8900 MiB asked for on the first."""
    outcome = evaluate(
        ENGINE, asked("deepseek-ai/DeepSeek-R1", "q2_k", devices(*[24] * 15), build="4600", ctx_size=32768, n_gpu_layers=99, mla_attn=2)
    )
    assert mib(buffer_on(outcome.case, "gpu0").amount.expected) == pytest.approx(8900.01, rel=0.002)
    assert outcome.verdict is Verdict.DOES_NOT_FIT


def test_the_engines_own_fit_is_followed_where_nothing_states_the_context() -> None:
    case = settled(SMALL, "q4_1", cpu(24152 / 1024), fit_target="23950")
    assert case.settings.integer("ctx_size") == 4096


def test_a_stated_context_is_never_fitted() -> None:
    case = settled(SMALL, "q4_1", cpu(24152 / 1024), ctx_size=8192, fit_target="23950")
    assert case.settings.integer("ctx_size") == 8192


def test_a_context_that_cannot_be_allocated_does_not_fit() -> None:
    outcome = evaluate(ENGINE, asked(SMALL, "q4_1", cpu(24152 / 1024), ctx_size=4_000_000))
    assert outcome.verdict is Verdict.DOES_NOT_FIT
    assert mib(outcome.ledger.of("cpu", Purpose.KV_CACHE).expected) == pytest.approx(87890.62, rel=0.001)


def test_experts_on_the_host_leave_the_device() -> None:
    every = settled("Qwen/Qwen3-30B-A3B", "q4_k_m", devices(24), ctx_size=8192)
    moved = settled("Qwen/Qwen3-30B-A3B", "q4_k_m", devices(24), ctx_size=8192, n_cpu_moe=20)
    pattern = settled(
        "Qwen/Qwen3-30B-A3B", "q4_k_m", devices(24), ctx_size=8192, override_tensor=r"blk\.(1?\d)\.ffn_(up|gate|down)_exps=CPU"
    )
    assert place(moved).weights == place(pattern).weights
    assert place(every).weights_on("gpu0") - place(moved).weights_on("gpu0") == pytest.approx(6.4 * GiB, rel=0.15)
    assert sum(nbytes for _, nbytes in place(every).weights) == sum(nbytes for _, nbytes in place(moved).weights)


def test_the_cache_on_the_host_leaves_the_device() -> None:
    case = settled("Qwen/Qwen1.5-72B", "q2_k", devices(80), build="2400", ctx_size=32848, n_gpu_layers=99, kv_offload=False)
    assert mib(by_device(case)[ON_HOST][0]) == 82120
    assert "gpu0" not in by_device(case)


def test_coarse_values_without_flash_attention_are_refused() -> None:
    case = settled("Qwen/Qwen3-8B", "q4_k_m", devices(24), ctx_size=8192, cache_type="q8_0", flash_attn="off")
    assert "requires Flash Attention" in ENGINE.objections(case)[0].text


def test_heads_that_blocks_do_not_divide_are_refused() -> None:
    case = settled("microsoft/phi-2", "q4_0", devices(24), ctx_size=2048, cache_type_k="q8_0")
    texts = [objection.text for objection in ENGINE.objections(case)]
    assert all("block size 32" in text for text in texts)


def test_weights_that_are_no_gguf_are_refused_with_the_way_out() -> None:
    case = settled("Qwen/Qwen3-32B-FP8", None, devices(80), ctx_size=8192)
    assert "--quant" in ENGINE.objections(case)[0].next_step


def test_every_remedy_of_a_plan_that_does_not_fit_was_planned_again() -> None:
    outcome = evaluate(ENGINE, asked("meta-llama/Llama-3.1-70B-Instruct", "q4_k_m", devices(24), ctx_size=8192))
    assert outcome.verdict is Verdict.DOES_NOT_FIT
    lever = next(found for found in ENGINE.levers(outcome.case) if found.setting == "n_gpu_layers")
    better = evaluate(ENGINE, outcome.asked.with_settings(n_gpu_layers=lever.values[0]))
    more = evaluate(ENGINE, outcome.asked.with_settings(n_gpu_layers=int(str(lever.values[0])) + 1))
    assert better.verdict in {Verdict.FITS, Verdict.TIGHT}
    assert more.verdict is Verdict.DOES_NOT_FIT


def test_the_context_offered_for_slots_of_their_own_is_that_of_all_together() -> None:
    outcome = evaluate(ENGINE, asked("Qwen/Qwen3-8B", "q8_0", devices(12), ctx_size=131072, n_parallel=4))
    lever = next(found for found in ENGINE.levers(outcome.case) if found.setting == "ctx_size")
    better = evaluate(ENGINE, outcome.asked.with_settings(ctx_size=lever.values[0]))
    more = evaluate(ENGINE, outcome.asked.with_settings(ctx_size=int(str(lever.values[0])) + 1024))
    assert better.verdict in {Verdict.FITS, Verdict.TIGHT}
    assert more.verdict is Verdict.DOES_NOT_FIT


def test_saved_prompts_only_count_at_the_high_end() -> None:
    case = settled("Qwen/Qwen3-8B", "q4_k_m", devices(24), ctx_size=8192)
    saved = ENGINE.ledger(case).of("host", Purpose.SWAP)
    assert (saved.low, saved.high) == (0, 8192 * MiB)
    assert ENGINE.ledger(case.with_settings(cache_ram=0)).of("host", Purpose.SWAP).high == 0
