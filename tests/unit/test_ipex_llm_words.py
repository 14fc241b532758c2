"""What IPEX-LLM is told and what it says."""

import shlex
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.ipex_cases import arc_case

import ullage
from ullage.domain.case import Case, Value
from ullage.domain.workload import Workload
from ullage.engines.ipex_llm import ENGINE
from ullage.engines.ipex_llm.settings import SETTINGS
from ullage.errors import InputError
from ullage.frozen import replace
from ullage.units import GiB, MiB

OUT_OF_MEMORY = (
    "RuntimeError: XPU out of memory. Tried to allocate 130.00 MiB (GPU 0; 15.11 GiB total capacity; 11.09 GiB already allocated; "
    "11.23 GiB reserved in total by PyTorch)"
)
TOO_LARGE = (
    "RuntimeError: Current platform can NOT allocate memory block with size larger than 4GB! Tried to allocate 40.00 GiB (GPU  0; "
    "15.11 GiB total capacity; 10.03 GiB already allocated; 10.21 GiB reserved in total by PyTorch)"
)
SERVER = "python -m ipex_llm.vllm.xpu.entrypoints.openai.api_server"


def read(text: str) -> tuple[dict[str, Value], list[str], str | None]:
    request = ENGINE.read_command(tuple(shlex.split(text)), {}, None)
    assert request is not None
    return dict(request.settings.items), [finding.text for finding in request.findings], request.model


def test_the_benchmark_of_the_issue_is_read() -> None:
    found, findings, model = read(
        "numactl -C 11-15 python ./benchmark_docker_throughput.py --backend vllm --dataset S.json --model Qwen2-7B-Instruct "
        "--trust-remote-code --num-prompts 100 --gpu-memory-utilization 0.7 --seed 42 --device xpu --dtype float16 --enforce-eager "
        "--max-model-len 4096 --max-num-batched-tokens 4096 --load-in-low-bit sym_int4 --tensor-parallel-size 1"
    )
    assert model == "Qwen2-7B-Instruct"
    assert found["gpu_memory_utilization"] == 0.7
    assert found["load_in_low_bit"] == "sym_int4"
    assert found["max_num_batched_tokens"] == 4096
    assert findings == []


def test_the_short_name_for_sequences_is_read_and_corrected() -> None:
    found, findings, _ = read(f"{SERVER} --model M --max-num-seq 4 --max-num-batched-token 2048")
    assert (found["max_num_seqs"], found["max_num_batched_tokens"]) == (4, 2048)
    assert "write --max-num-seqs" in findings[0]
    assert "write --max-num-batched-tokens" in findings[1]


@pytest.mark.parametrize(
    ("day", "module"),
    [
        ("2024-03-01", "bigdl.llm.vllm.entrypoints.openai.api_server"),
        ("2024-05-23", "ipex_llm.vllm.entrypoints.openai.api_server"),
        ("2024-05-24", "ipex_llm.vllm.xpu.entrypoints.openai.api_server"),
    ],
)
def test_a_build_is_served_by_the_module_and_the_options_of_its_day(day: str, module: str) -> None:
    made = ENGINE.command(
        ENGINE.resolve(arc_case("Llama-2-7b-hf", "sym_int4", "2.2.0", workload=Workload(context_tokens=1024), mode="vllm", build_date=day))
    ).argv
    assert made[:3] == ("python", "-m", module)
    assert ("--enforce-eager" in made) == ("--kv-cache-dtype" in made) == (not module.startswith("bigdl"))
    request = ENGINE.read_command(made, {}, None)
    assert request is not None
    assert not request.findings


@pytest.mark.parametrize(("day", "is_told"), [("2024-06-10", False), ("2024-09-14", True)])
def test_a_fork_is_told_of_ray_only_where_it_has_words_for_it(day: str, is_told: object) -> None:
    asked = ENGINE.resolve(
        arc_case("Llama-2-7b-hf", "sym_int4", "2.2.0", cards=2, workload=Workload(context_tokens=1024), mode="vllm", build_date=day)
    )
    assert ("--distributed-executor-backend" in ENGINE.command(asked).argv) == is_told
    assert not ENGINE.objections(asked)


def test_the_server_of_bigdl_refuses_several_devices() -> None:
    asked = ENGINE.resolve(arc_case("Llama-2-7b-hf", "sym_int4", "2.5.0", cards=2, mode="vllm"))
    assert "one device" in ENGINE.objections(asked)[0].why


def test_a_misspelt_flag_names_the_nearest_right_one() -> None:
    _, findings, _ = read(f"{SERVER} --model M --load-in-lowbit sym_int4")
    assert "--load-in-low-bit" in findings[0]


def test_a_value_that_is_none_is_a_finding() -> None:
    _, findings, _ = read(f"{SERVER} --model M --load-in-low-bit q9 --max-model-len many --tensor-parallel-size x --device cuda")
    assert len(findings) == 4


def test_another_engines_quantisation_is_a_finding() -> None:
    _, findings, _ = read(f"{SERVER} --model M --quantization fp8")
    assert "--load-in-low-bit" in findings[0]


def test_a_module_that_does_not_exist_is_named() -> None:
    _, findings, _ = read("python -m ipex_llm.vllm.xpu.entrypoints.openapi.api_server --model M")
    assert "ipex_llm.vllm.xpu.entrypoints.openai.api_server" in findings[0]


@pytest.mark.parametrize(
    "text", ["vllm serve M", "python -m vllm.entrypoints.openai.api_server --model M", "python benchmark_throughput.py"]
)
def test_commands_of_other_engines_are_left_to_them(text: str) -> None:
    assert ENGINE.read_command(tuple(shlex.split(text)), {}, None) is None


def check_round_trip(case: Case) -> None:
    resolved = ENGINE.resolve(case)
    command = ENGINE.command(resolved)
    request = ENGINE.read_command(command.argv, dict(command.environment), case.version)
    assert request is not None
    assert request.findings == ()
    again = replace(case, settings=request.settings, parallel=request.parallel, environment=request.environment, stated=request.stated)
    assert ENGINE.ledger(ENGINE.resolve(again)) == ENGINE.ledger(resolved)


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(["0.5.4", "2.1.0", "2.2.0", "0.8.3", "2.5.0"]),
    st.sampled_from(["sym_int4", "fp8", "fp6", "asym_int4", "fp16"]),
    st.integers(512, 8192),
    st.integers(1, 64),
    st.sampled_from([0.5, 0.75, 0.9]),
    st.sampled_from([8, 16]),
)
def test_every_emitted_command_of_the_fork_is_read_back(
    version: str, word: str, length: int, slots: int, fraction: float, block: int
) -> None:
    check_round_trip(
        arc_case(
            "Qwen2-7B-Instruct",
            None,
            version,
            mode="vllm",
            load_in_low_bit=word,
            max_model_len=length,
            max_num_seqs=slots,
            gpu_memory_utilization=fraction,
            block_size=block,
        )
    )


@settings(max_examples=30, deadline=None)
@given(
    st.sampled_from(["sym_int4", "fp8", "nf4", "bf16"]),
    st.sampled_from(["float16", "float32"]),
    st.integers(64, 8192),
    st.booleans(),
    st.booleans(),
)
def test_every_emitted_script_is_read_back(word: str, dtype: str, context: int, apart: bool, mixed: bool) -> None:  # noqa: FBT001 - two switches
    check_round_trip(
        arc_case(
            "Qwen2-7B-Instruct",
            None,
            "2.2.0",
            mode="api",
            load_in_low_bit=word,
            dtype=dtype,
            cpu_embedding=apart,
            mixed_precision=mixed,
            workload=Workload(context_tokens=context),
        )
    )


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.one_of(st.sampled_from(["--model", "--max-num-seqs", "-tp", "--enforce-eager=1", "--dtype", "²"]), st.text(max_size=12)))
)
def test_no_words_after_the_module_raise(words: list[str]) -> None:
    assert ENGINE.read_command(("python", "-m", "ipex_llm.vllm.xpu.entrypoints.openai.api_server", *words), {}, None) is not None


@pytest.mark.parametrize(
    ("line", "name", "value"),
    [
        (OUT_OF_MEMORY, "error.torch_oom", 130 * MiB),
        (TOO_LARGE, "error.allocation_limit", 40 * GiB),
        ("INFO 09-14 10:00:00 model_convert.py:100] Loading model weights took 4.5139 GB", "weights_bytes", round(4.5139 * GiB)),
        (">> loading of model costs 5.125399579002988s and 3.875GB", "weights_bytes", round(3.875 * GiB)),
        ("INFO gpu_executor.py:102] # GPU blocks: 7086, # CPU blocks: 4681", "kv_blocks", 7086),
        ("after first_token running, peak_memory 5.25 GB", "peak_bytes", round(5.25 * GiB)),
        ("Theoretical max input length A: 12.5 K", "theoretical_input_tokens", 12800),
        ("GPU KV cache size: 113,376 tokens", "kv_tokens", 113376),
        ("Native API failed. Native API returns: 39 (UR_RESULT_ERROR_OUT_OF_DEVICE_MEMORY)", "error.xpu_oom", None),
        ("RuntimeError: Native API failed. Native API returns: -5 (PI_ERROR_OUT_OF_RESOURCES) -5", "error.xpu_oom", None),
        ("Native API failed. Native API returns: 20 (UR_RESULT_ERROR_DEVICE_LOST)", "error.device_lost", None),
        ("RuntimeError: Native API failed. Native API returns: -6 (PI_ERROR_OUT_OF_HOST_MEMORY)", "error.host_oom", None),
        ("Allocation is out of device memory on current platform.", "error.xpu_oom", None),
        ("2024 - INFO - Converting the current model to sym_int4 format......", "low_bit", "sym_int4"),
        ("The device doesn't support querying the available free memory.", "no_free_memory_query", None),
        ("ValueError: max_num_batched_tokens (2048) is smaller than max_model_len (4096). This", "error.batched_tokens", 2048),
    ],
)
def test_a_log_line_states_a_fact(line: str, name: str, value: int | str | None) -> None:
    fact = ENGINE.read_log_line(line)
    assert fact is not None
    assert fact.name == name
    assert value is None or fact.value == value


def test_the_failed_request_is_read_with_all_its_figures() -> None:
    fact = ENGINE.read_log_line(OUT_OF_MEMORY)
    assert fact is not None
    details = dict(fact.details)
    assert details["allocated_bytes"] == int(11.09 * GiB)
    assert details["total_bytes"] == int(15.11 * GiB)


def test_the_metrics_page_of_the_forks_is_read() -> None:
    page = '# HELP x\nvllm:gpu_cache_usage_perc{model_name="M"} 0.25\nvllm:num_requests_running{model_name="M"} 3.0\nother 1\n'
    assert {fact.name: fact.value for fact in ENGINE.read_metrics(page)} == {"kv_cache_usage": 0.25, "requests_running": 3}


def test_settings_are_typed_and_wrong_ones_named() -> None:
    assert ENGINE.validate("max-num-seqs", "4") == 4
    assert ENGINE.validate("build_date", "20240914") == "2024-09-14"
    assert ENGINE.validate("dtype", "half") == "float16"
    assert ENGINE.validate("load_in_low_bit", "fp8") == "fp8"
    with pytest.raises(InputError, match="max_num_seqs"):
        ENGINE.validate("max_num_seq", 4)
    with pytest.raises(InputError, match="sym_int4"):
        ENGINE.validate("load_in_low_bit", "sym_int3")


@given(st.sampled_from(sorted(SETTINGS)), st.one_of(st.text(max_size=12), st.integers(), st.floats(), st.booleans(), st.none()))
def test_a_settings_value_is_typed_or_refused(name: str, value: Value) -> None:
    with suppress(InputError):
        typed = ENGINE.validate(name, value)
        assert ENGINE.validate(name, typed) == typed


def test_the_script_splits_the_context_itself_where_no_answer_is_said() -> None:
    unsaid, said = (
        ullage.plan("Qwen3-8B", engine="ipex-llm", gpu="Arc-A770-16GB", context="8K", set={"mode": "api", **more})
        for more in ({}, {"max_new_tokens": 64})
    )
    assert "--max-new-tokens" not in unsaid.command.argv
    assert "answer = args.max_new_tokens or max(1, min(512, args.context // 4))" in unsaid.command.files[0][1]
    assert said.command.argv[said.command.argv.index("--max-new-tokens") + 1] == "64"
