"""Commands written and read, log lines and metrics of llama.cpp and Ollama."""

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.llama_cpp_cases import asked, cpu, devices

import ullage
from ullage.domain.case import Value
from ullage.engines.llama_cpp import ENGINE
from ullage.engines.llama_cpp.cache import by_device
from ullage.engines.llama_cpp.placement import place
from ullage.engines.llama_cpp.settings import CACHE_TYPES, SETTINGS
from ullage.errors import InputError
from ullage.units import GiB, MiB


def read(text: str, **environment: str):  # noqa: ANN201 - a request or None
    return ENGINE.read_command(tuple(text.split()), environment, None)


def test_a_server_command_is_read_into_settings() -> None:
    request = read(
        "/usr/bin/llama-server -m m.gguf -c 8192 -np 3 -ngl 99 -fa -ctk q8_0 -ctv q4_0 -ts 3,1 --no-kv-offload -ncmoe 4 --port 8080"
    )
    assert request is not None
    assert request.model == "m.gguf"
    assert request.findings == ()
    wanted = {
        "ctx_size": 8192,
        "n_parallel": 3,
        "n_gpu_layers": 99,
        "flash_attn": "on",
        "cache_type_k": "q8_0",
        "cache_type_v": "q4_0",
        "tensor_split": "3,1",
        "kv_offload": False,
        "n_cpu_moe": 4,
        "port": "8080",
    }
    assert dict(request.settings.items) == wanted


@pytest.mark.parametrize(
    ("text", "nearest"),
    [
        ("llama-server -m m.gguf --ctx-sise 8", "--ctx-size"),
        ("llama-cli -m m.gguf --n-gpu-layer 3", "--n-gpu-layers"),
        ("llama-server -m m.gguf --max-model-len 8192", "--ctx-size"),
        ("llama-server -m m.gguf --gpu-memory-utilization 0.9", "--fit-target"),
        ("llama-server -m m.gguf -ctk q3_k", "q8_0"),
    ],
)
def test_a_wrong_flag_or_value_is_named_with_the_nearest_right_one(text: str, nearest: str) -> None:
    request = read(text)
    assert request is not None
    assert any(nearest in finding.text and finding.wrong for finding in request.findings), request.findings


def test_the_model_may_be_a_file_a_repository_or_a_bare_word() -> None:
    for text, model in (
        ("llama-server -hf org/repo:Q4_K_M", "hf:org/repo:Q4_K_M"),
        ("llama-run some/dir/m.gguf", "some/dir/m.gguf"),
        ("docker run --gpus all ghcr.io/ggml-org/llama.cpp:server-cuda -m /models/m.gguf", "/models/m.gguf"),
        ("LLAMA_ARG_CTX_SIZE=512 llama serve -m m.gguf", "m.gguf"),
    ):
        request = read(text)
        assert request is not None, text
        assert request.model == model


def test_variables_count_where_the_flag_was_not_written() -> None:
    request = read("llama-server -m m.gguf -c 1024", LLAMA_ARG_CTX_SIZE="512", LLAMA_ARG_N_PARALLEL="2")
    assert request is not None
    assert (request.settings.integer("ctx_size"), request.settings.integer("n_parallel")) == (1024, 2)


@pytest.mark.parametrize("text", ["vllm serve m", "python -m x", "ls -l", "", "ollama list", "llama"])
def test_other_programs_are_not_ours(text: str) -> None:
    assert read(text) is None


def test_ollamas_variables_become_settings() -> None:
    request = read(
        "ollama serve",
        OLLAMA_CONTEXT_LENGTH="16384",
        OLLAMA_NUM_PARALLEL="2",
        OLLAMA_KV_CACHE_TYPE="q8_0",
        OLLAMA_FLASH_ATTENTION="1",
        OLLAMA_GPU_OVERHEAD="1073741824",
        OLLAMA_CONTEXT_LENGHT="4096",
    )
    assert request is not None
    assert request.settings.integer("ctx_size") == 32768
    assert request.settings.text("cache_type") == "q8_0"
    assert request.settings.integer("ollama_gpu_overhead") == GiB
    assert ["OLLAMA_CONTEXT_LENGHT" in finding.text for finding in request.findings] == [True]


def test_ollama_chooses_its_context_by_the_memory_there_is() -> None:
    for gib, tokens in ((12, 4096), (24, 32768), (80, 40960)):
        case = ENGINE.resolve(asked("Qwen/Qwen3-8B", "q4_k_m", devices(gib), ollama=True))
        assert case.settings.integer("ctx_size") == tokens


said = st.fixed_dictionaries(
    {},
    optional={
        "ctx_size": st.integers(256, 100_000),
        "n_parallel": st.integers(1, 9),
        "kv_unified": st.booleans(),
        "n_gpu_layers": st.integers(0, 40),
        "cache_type_k": st.sampled_from(CACHE_TYPES),
        "cache_type_v": st.sampled_from(CACHE_TYPES),
        "batch_size": st.integers(32, 4096),
        "ubatch_size": st.integers(32, 2048),
        "flash_attn": st.sampled_from(("on", "off")),
        "swa_full": st.booleans(),
        "kv_offload": st.booleans(),
        "n_cpu_moe": st.integers(0, 40),
        "cache_ram": st.integers(-1, 9000),
        "split_mode": st.sampled_from(("layer", "row", "none")),
        "tensor_split": st.sampled_from(("3,1", "1,1", "0.5,0.25")),
        "override_tensor": st.sampled_from((r"exps=CPU", r"blk\.1.*=CPU,ffn=CUDA1")),
    },
)


@settings(max_examples=60, deadline=None)
@given(values=said, ollama=st.booleans(), build=st.sampled_from(("2500", "4000", "6000", "7000", "8000", "11434")), gpus=st.integers(1, 2))
def test_every_command_is_read_back_to_the_same_memory(values: dict[str, Value], build: str, gpus: int, *, ollama: bool) -> None:
    chosen = {**values, "ollama": True} if ollama else values
    if ollama:  # it has no variables for the rest
        chosen = {name: value for name, value in chosen.items() if name in {"ollama", "n_parallel", "flash_attn"}}
    before = ENGINE.resolve(asked("Qwen/Qwen3-30B-A3B", "q4_k_m", devices(*[24] * gpus), build=build, **chosen))
    command = ENGINE.command(before)
    request = ENGINE.read_command(command.argv, dict(command.environment), before.version)
    assert request is not None
    assert [finding for finding in request.findings if finding.wrong] == []
    items = {name: value for name, value in request.settings.items if name != "host"}
    after = ENGINE.resolve(asked("Qwen/Qwen3-30B-A3B", "q4_k_m", devices(*[24] * gpus), build=build, **items))
    assert by_device(after) == by_device(before)
    assert place(after).weights == place(before).weights
    assert ENGINE.ledger(after).peak("gpu0") == ENGINE.ledger(before).peak("gpu0")


@settings(max_examples=200, deadline=None)
@given(
    words=st.lists(
        st.text(max_size=12) | st.sampled_from(("-c", "-ngl", "--flash-attn", "-ot", "-ts", "=", "--", "-fa=on", "-np")), max_size=9
    )
)
def test_reading_a_command_never_raises(words: list[str]) -> None:
    ENGINE.read_command(("llama-server", *words), {}, None)
    ENGINE.read_command(tuple(words), {"OLLAMA_NUM_PARALLEL": "x"}, None)


LINES = (
    ("load_tensors:        CUDA0 model buffer size =  6776.91 MiB", "weights_bytes", round(6776.91 * MiB)),
    ("llm_load_tensors:      CUDA0 buffer size =  7317.71 MiB", "weights_bytes", round(7317.71 * MiB)),
    ("llama_kv_cache:      CUDA0 KV buffer size =  2176.00 MiB", "kv_bytes", 2176 * MiB),
    ("llama_memory_recurrent:      CUDA0 RS buffer size =   149.62 MiB", "state_bytes", round(149.62 * MiB)),
    (
        "llama_kv_cache: size = 2176.00 MiB (262144 cells,   8 layers,  1/1 seqs), K (q8_0): 1088.00 MiB, V (q8_0): 1088.00 MiB",
        "kv_total_bytes",
        2176 * MiB,
    ),
    ("llama_new_context_with_model: KV self size  = 5120.00 MiB, K (f16): 2560.00 MiB, V (f16): 2560.00 MiB", "kv_total_bytes", 5120 * MiB),
    ("sched_reserve:      CUDA0 compute buffer size =   300.75 MiB", "activation_bytes", round(300.75 * MiB)),
    ("llama_context:  CUDA_Host  output buffer size =     0.58 MiB", "output_bytes", round(0.58 * MiB)),
    ("load_tensors: offloaded 33/33 layers to GPU", "offloaded_layers", 33),
    (
        "llama_model_load_from_file_impl: using device CUDA0 (NVIDIA GeForce RTX 4090) (0000:01:00.0) - 23306 MiB free",
        "device_free_bytes",
        23306 * MiB,
    ),
    (
        "common_memory_breakdown_print: |   - CUDA0 (RTX 5090)   | 32111 = 31153 + (33975 = 16386 +   16832 +     756) +      -33017 |",
        "total_bytes",
        32111 * MiB,
    ),
    (
        "common_memory_breakdown_print: |   - Host               |                  1234 =   682 +       0 +     552                |",
        "host_bytes",
        1234 * MiB,
    ),
    (
        "common_params_fit_impl: projected to use 5856 MiB of device memory vs. 5173 MiB of free device memory",
        "projected_bytes",
        5856 * MiB,
    ),
    (
        "llama_params_fit_impl: cannot meet free memory target of 1024 MiB, need to reduce device memory by 1706 MiB",
        "fit_shortfall_bytes",
        1706 * MiB,
    ),
    (
        "llama_params_fit_impl: context size reduced from 65536 to 4096 -> need 13440 MiB less memory in total",
        "fitted_context_tokens",
        4096,
    ),
    ("common_params_fit_impl: context size set by user to 8192 -> no change", "stated_context_tokens", 8192),
    ("common_params_fit_impl:   - CUDA0 (RTX 3090):  49 layers ( 23 overflowing),  22588 MiB used,   1030 MiB free", "fitted_layers", 49),
    (
        "ggml_backend_cuda_buffer_type_alloc_buffer: allocating 8900.01 MiB on device 0: cudaMalloc failed: out of memory",
        "error.device_oom",
        round(8900.01 * MiB),
    ),
    ("ggml_aligned_malloc: insufficient memory (attempted to allocate 87890.62 MB)", "error.host_oom", round(87890.62 * MiB)),
    ("WARNING: failed to allocate 82120.00 MB of pinned memory: out of memory", "error.host_oom", 82120 * MiB),
    ("alloc_tensor_range: failed to allocate CPU buffer of size 92160000000", "error.buffer_allocation", 92160000000),
    ("llama_init_from_model: failed to initialize the context: failed to allocate compute pp buffers", "error.compute_allocation", None),
    (
        "llama_init_from_model: failed to initialize the context: quantized V cache was requested, but this requires Flash Attention",
        "error.quantized_values",
        None,
    ),
    ("main: exiting due to model loading error", "error.model_load", None),
    ("common_fit_params: failed to fit params to free device memory: n_gpu_layers already set by user to 99, abort", "error.fit", None),
    ('{"error":{"code":400,"type":"exceed_context_size_error","n_prompt_tokens":901,"n_ctx":512}}', "error.context_exceeded", None),
    ("Error: model requires more system memory (12.0 GiB) than is available (8.0 GiB)", "error.model_load", None),
    ("sched_reserve: compute buffer allocation failed, retrying without pipeline parallelism", "pipeline_retry", None),
)


@pytest.mark.parametrize(("line", "name", "value"), LINES)
def test_a_line_of_the_log_states_a_fact(line: str, name: str, value: int | None) -> None:
    fact = ENGINE.read_log_line(line)
    assert fact is not None
    assert fact.name == name
    if value is not None:
        assert fact.value == value


def test_the_parts_of_a_breakdown_are_details() -> None:
    fact = ENGINE.read_log_line(LINES[10][0])
    assert fact is not None
    parts = dict(fact.details)
    assert (parts["weights_bytes"], parts["context_bytes"], parts["activation_bytes"]) == (16386 * MiB, 16832 * MiB, 756 * MiB)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=200))
def test_reading_a_log_line_or_a_page_never_raises(text: str) -> None:
    ENGINE.read_log_line(text)
    ENGINE.read_metrics(text)


def test_the_metrics_page_tells_of_work_not_of_memory() -> None:
    page = "# HELP x\nllamacpp:requests_processing 2\nllamacpp:requests_deferred 1\nllamacpp:n_tokens_max 901\nllamacpp:nonsense 4\n"
    facts = {fact.name: fact.value for fact in ENGINE.read_metrics(page)}
    assert facts == {"requests_running": 2, "requests_waiting": 1, "longest_sequence_tokens": 901}


def test_a_setting_is_typed_and_a_wrong_name_gets_the_nearest() -> None:
    assert ENGINE.validate("n-gpu-layers", "99") == 99
    assert ENGINE.validate("np", 4) == 4
    with pytest.raises(InputError, match="ctx_size"):
        ENGINE.validate("ctx_sise", 4)


@given(st.sampled_from(sorted(SETTINGS)), st.text(max_size=20) | st.integers() | st.booleans() | st.none() | st.floats())
def test_a_value_is_taken_or_refused_and_nothing_else_is_raised(name: str, value: Value) -> None:
    with suppress(InputError):
        ENGINE.validate(name, value)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 60_000), st.integers(1, 60_000), st.sampled_from(CACHE_TYPES))
def test_a_longer_context_never_takes_less(one: int, other: int, kind: str) -> None:
    sizes = []
    for tokens in sorted((one, other)):
        case = ENGINE.resolve(asked("google/gemma-3-12b-it", "q4_k_m", cpu(), ctx_size=tokens, n_parallel=1, cache_type=kind))
        sizes.append(ENGINE.ledger(case).peak("cpu").expected)
    assert sizes == sorted(sizes)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 60), st.lists(st.integers(1, 9), min_size=3, max_size=3), st.sampled_from(("layer", "row", "none")))
def test_no_byte_is_lost_between_devices(layers: int, shares: list[int], mode: str) -> None:
    whole = ENGINE.resolve(asked("Qwen/Qwen3-30B-A3B", "q4_k_m", cpu(), ctx_size=8192))
    split = ",".join(map(str, shares))
    parts = ENGINE.resolve(
        asked("Qwen/Qwen3-30B-A3B", "q4_k_m", devices(24, 24, 24), ctx_size=8192, n_gpu_layers=layers, tensor_split=split, split_mode=mode)
    )
    assert sum(nbytes for _, nbytes in place(parts).weights) == sum(nbytes for _, nbytes in place(whole).weights)
    assert sum(keys for keys, _ in by_device(parts).values()) == sum(keys for keys, _ in by_device(whole).values())


def test_fewer_devices_than_there_are_is_said_and_read_back_to_the_same_ledger() -> None:
    question = {"quant": "q4_k_m", "context": "32K", "host_memory": "128GB"}
    planned = ullage.plan("Qwen3-235B-A22B", engine="llama.cpp", gpu="4090,3090,3060", **question)
    argv = list(planned.command.argv)
    used = len(planned.case.devices)
    assert used < 3
    assert argv[argv.index("--device") + 1] == ",".join(f"CUDA{index}" for index in range(used))
    checked = ullage.check(argv, model="Qwen3-235B-A22B", gpu="4090,3090,3060", quant="q4_k_m", host_memory="128GB")
    assert checked.ledger == planned.ledger


def test_a_device_is_taken_by_its_number() -> None:
    seen = ullage.check("llama-server -m x.gguf -c 8192 --device CUDA1", model="Qwen3-8B", quant="q4_k_m", gpu="3060,4090")
    assert [device.device for device in seen.devices] == ["gpu1"]


def test_a_build_that_offloads_nothing_by_itself_is_planned_to_use_the_accelerator() -> None:
    planned = ullage.plan("Qwen3-8B", engine="llama.cpp", quant="q4_k_m", engine_version="b6000", gpu="4090", context="8K")
    assert planned.command.argv[planned.command.argv.index("--n-gpu-layers") + 1] == "37"
    small = ullage.plan(
        "Qwen3-32B", engine="llama.cpp", quant="q4_k_m", engine_version="b6000", gpu="3060", context="8K", host_memory="64GiB"
    )
    assert 0 < (small.case.settings.integer("n_gpu_layers") or 0) < 65
    assert small.verdict.value == "fits"
    unsaid = ullage.check("llama-server -m x.gguf -c 8192", model="Qwen3-8B", quant="q4_k_m", engine_version="b6000", gpu="4090")
    assert any("puts no layer on the accelerators unless --n-gpu-layers" in note for note in unsaid.notes)


def test_a_model_that_is_no_gguf_repository_is_named_as_the_file_it_becomes() -> None:
    planned = ullage.plan("Qwen3-8B", engine="llama.cpp", gpu="4090", context="8K")
    assert planned.command.argv[:3] == ("llama-server", "-m", "Qwen3-8B-BF16.gguf")
    assert any("llama.cpp reads a .gguf file" in note for note in planned.notes)


def test_remedies_use_the_engines_own_name_of_the_length_and_free_something() -> None:
    planned = ullage.plan(
        "Qwen3-30B-A3B", engine="llama.cpp", quant="q4_k_m", gpu="3090", context="40K", host_memory="64GiB", set={"fit": False}
    )
    tight = ullage.check(
        "llama-server -m x.gguf -c 40960", model="Qwen3-30B-A3B", quant="q4_k_m", gpu="4070", host_memory="64GiB", context="40K"
    )
    changed = {remedy.changes[0][0]: remedy for remedy in tight.remedies}
    assert {"n_cpu_moe", "ctx_size"} & set(changed) >= {"n_cpu_moe"}
    assert "context" not in changed
    assert all(remedy.frees_bytes or remedy.verdict.value == "fits" for remedy in (*tight.remedies, *planned.remedies))
    fewest = int(str(changed["n_cpu_moe"].changes[0][1]))
    one_less = ullage.check(
        f"llama-server -m x.gguf -c 40960 --n-cpu-moe {fewest - 1}", model="Qwen3-30B-A3B", quant="q4_k_m", gpu="4070", host_memory="64GiB"
    )
    assert changed["n_cpu_moe"].verdict.value == "fits"
    assert one_less.verdict.value != "fits"
