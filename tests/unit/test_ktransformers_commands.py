"""KTransformers' commands, rules files and log lines, written and read back."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.test_ktransformers_memory import CODER, question

import ullage
from ullage.domain.case import Case, Settings, Value, Version
from ullage.domain.engine import Request
from ullage.domain.plan import Limit, Verdict
from ullage.engines.ktransformers import ENGINE
from ullage.engines.ktransformers.rules_file import read_rules
from ullage.errors import InputError
from ullage.frozen import replace
from ullage.units import GiB


def request(line: str, release: str | None = None, **environment: str) -> Request:
    version = Version(tuple(int(part) for part in release.split(".")), release) if release else None
    found = ENGINE.read_command(tuple(line.split()), environment, version)
    assert found is not None
    return found


def wrong(found: Request) -> str:
    return " | ".join(finding.text for finding in found.findings if finding.wrong)


def read_back(case: Case) -> Case:
    """The case that the emitted command and its rules file describe."""
    written = ENGINE.command(case)
    found = ENGINE.read_command(written.argv, dict(written.environment), case.version)
    assert found is not None
    assert not wrong(found)
    assert found.model == case.model.name
    said = {**dict(found.settings.items)}
    for _, text in written.files:
        rules, gpus = read_rules(text)
        said.update(rules.items)
        assert gpus == case.parallel.devices
    parallel = case.parallel if written.files else found.parallel
    return ENGINE.resolve(replace(case, settings=Settings.of(said), parallel=parallel))


CASES = [
    ("0.1.4", CODER, 2, {"cache_lens": 8192, "max_new_tokens": 2000, "max_response_tokens": 4000}),
    ("0.1.4", CODER, 1, {"cache_lens": 4096, "chunk_size": 256}),
    ("0.1.0", CODER, 1, {}),
    ("0.2.0", "DeepSeek-R1", 4, {"chunk_size": 500, "gguf_type": "q4_k_m"}),
    ("0.2.3", "DeepSeek-R1", 1, {"absorb_for_prefill": True, "chunk_size": 2048, "cpu_infer": 30, "use_numa": True}),
    ("0.2.3", "DeepSeek-R1", 2, {"generate_op": "KLinearFP8", "cache_lens": 16384}),
    ("0.3.2", "DeepSeek-R1", 8, {"transfer_map": "6,14,22,30,38,46,54"}),
    ("0.3.2", "Kimi-K2-Instruct", 1, {"backend_type": "balance_serve", "cache_lens": 32768, "max_batch_size": 8}),
    ("0.3.2", "Qwen3-Next-80B-A3B-Instruct", 1, {"backend_type": "balance_serve", "use_cuda_graph": False}),
    ("0.3.2", "Qwen3-30B-A3B", 1, {"cache_lens": 32768}),
    ("0.3.2", CODER, 1, {"backend_type": "local_chat", "max_new_tokens": 700, "use_cuda_graph": False}),
]


@pytest.mark.parametrize(("release", "model", "gpus", "said"), CASES)
def test_a_classic_command_is_read_back_to_the_same_ledger(release: str, model: str, gpus: int, said: dict[str, Value]) -> None:
    case = ENGINE.resolve(question(release, model=model, gpus=gpus, context=3000, host=1024, **said))
    again = read_back(case)
    assert {name: again.settings.get(name) for name in said} == said
    assert ENGINE.ledger(again) == ENGINE.ledger(case)


@settings(max_examples=25, deadline=None)
@given(
    st.fixed_dictionaries(
        {"kt_num_gpu_experts": st.integers(0, 128), "mem_fraction_static": st.sampled_from([0.5, 0.75, 0.9])},
        optional={
            "kt_method": st.sampled_from(["AMXINT4", "AMXINT8", "BF16"]),
            "kt_gpu_prefill_token_threshold": st.integers(1, 5000),
            "max_total_tokens": st.integers(1, 100_000),
            "max_running_requests": st.integers(1, 64),
            "disable_cuda_graph": st.just(True),
            "kv_cache_dtype": st.just("fp8_e4m3"),
        },
    ),
    st.sampled_from([1, 2]),
)
def test_a_kernel_command_is_read_back_to_the_same_ledger(said: dict[str, Value], gpus: int) -> None:
    case = ENGINE.resolve(question("0.7.2", model="Qwen3-30B-A3B", gpus=gpus, tensor=gpus, context=4096, host=256, **said))
    again = read_back(case)
    assert ENGINE.ledger(again) == ENGINE.ledger(case)


def test_the_rules_move_layers_and_keep_kv_b_out() -> None:
    ((name, text),) = ENGINE.command(ENGINE.resolve(question("0.1.4", gpus=2, context=8192))).files
    assert name in ENGINE.command(ENGINE.resolve(question("0.1.4", gpus=2, context=8192))).argv
    assert '        30: "cuda:1"' in text
    assert "(?!self_attn\\\\.kv_b_proj)" in text
    assert text.count("KExpertsCPU") == 2


def test_the_rules_of_v3_replace_its_router_too() -> None:
    ((_, text),) = ENGINE.command(ENGINE.resolve(question("0.2.3", model="DeepSeek-R1", gpus=2, context=8192))).files
    assert text.count("operators.gate.KMoEGate") == 2
    assert text.index("^lm_head") < text.index("(^lm_head)")


def test_a_release_without_flags_sets_the_three_lengths_together() -> None:
    argv = ENGINE.command(ENGINE.resolve(question("0.1.4", context=8192))).argv
    assert argv[:2] == ("python", "-c")
    assert "a.cache_lens = 8192; a.max_new_tokens = 500; a.max_response_tokens = 500" in argv[2]
    assert "--cache_lens" not in argv


@pytest.mark.parametrize(
    ("line", "release", "says"),
    [
        ("ktransformers --model_path m --gguf_path g --cache_len 8192", None, "--cache_lens"),
        ("ktransformers --model_path m --chunk_prefill_size 512", "0.3.2", "became --chunk_size"),
        ("ktransformers --model_path m --chunk_size 512", "0.2.3", "came with 0.2.4"),
        ("ktransformers --model_path m --type ktransformers", "0.2.4", "--backend_type"),
        ("ktransformers --model_path m --cache_lens 8192", "0.1.4", "args.py"),
        ("ktransformers --model_path m --max_response_tokens 300", "0.3.2", "is gone"),
        ("python -m ktransformers.local_chat --model_path m --cache_lens 9000", "0.1.4", "local_chat has no --cache_lens"),
        ("python -m sglang.launch_server --model m --kt-num-gpu-expert 4", None, "--kt-num-gpu-experts"),
        ("python -m sglang.launch_server --model m --kt-method AMX4", None, "AMXINT4"),
        ("ktransformers --gguf_path g", None, "--model_path"),
    ],
)
def test_a_wrong_flag_is_named_with_the_right_one(line: str, release: str | None, says: str) -> None:
    assert says in wrong(request(line, release))


@pytest.mark.parametrize(
    ("line", "version", "settings_", "devices"),
    [
        (
            "python ktransformers/server/main.py --model_path m --gguf_path x/DeepSeek-R1-Q4_K_M --cpu_infer 30",
            "0.3.2",
            {"gguf_type": "q4_k_m"},
            1,
        ),
        (
            "python -m ktransformers.local_chat --model_path=m --gguf_path g --max_new_tokens 1000",
            "0.3.2",
            {"backend_type": "local_chat"},
            1,
        ),
        ("numactl -N 1 -m 1 ktransformers --model_path m --chunk_prefill_size 512", "0.2.3", {"chunk_size": 512}, 1),
        ("ktransformers --model_path m --optimize_config_path r/DeepSeek-V3-Chat-multi-gpu-4.yaml", "0.3.2", {}, 4),
        ("ktransformers --model_path m --optimize_config_path DeepSeek-V2-Chat-multi-gpu.yaml", "0.3.2", {}, 2),
        ("ktransformers --model_path m --optimize_config_path V3-fp8-linear-ggml.yaml", "0.3.2", {"generate_op": "KLinearFP8"}, 1),
        ("kt run org/m", None, {"max_total_tokens": 40000, "mem_fraction_static": 0.98}, 1),
        ("python -m sglang.launch_server --model m --kt-method AMXINT4 --tp 2", None, {"kt_method": "AMXINT4"}, 2),
    ],
)
def test_commands_of_the_documents_are_read(line: str, version: str | None, settings_: dict[str, Value], devices: int) -> None:
    found = request(line)
    assert str(found.version) == str(version)
    assert dict(found.settings.items).items() >= settings_.items()
    assert found.parallel.devices == devices


@pytest.mark.parametrize("line", ["vllm serve m", "python -m sglang.launch_server --model m", "python main.py", "python -c print(1)", ""])
def test_other_commands_are_left_alone(line: str) -> None:
    assert ENGINE.read_command(tuple(line.split()), {}, None) is None


@settings(max_examples=80, deadline=None)
@given(
    st.lists(
        st.one_of(st.sampled_from(["--cache_lens", "--tp", "--kt-method", "--chunk_size=", "9" * 5000, "-1", "--"]), st.text(max_size=9))
    )
)
def test_no_command_raises(words: list[str]) -> None:
    ENGINE.read_command(("ktransformers", *words), {}, None)
    ENGINE.read_command(("python", "-m", "sglang.launch_server", "--kt-method", *words), {}, None)


@pytest.mark.parametrize(
    ("line", "name", "value"),
    [
        (
            "RuntimeError: The size of tensor a (4096) must match the size of tensor b (5894) at non-singleton dimension 3",
            "error.cache_too_small",
            5894,
        ),
        ("WARNING: input_ids_length 9000 > cache_lens 8192", "error.prompt_over_cache", 9000),
        ("seq_length bigger than cache_lens, killed", "error.cache_too_small", "seq_length bigger than cache_lens, killed"),
        (
            "AssertionError: chunk_size must <= 1024 or a multiple of 1024",
            "error.chunk_size",
            "chunk_size must <= 1024 or a multiple of 1024",
        ),
        ("StaticCache (length=4096) created at cuda:0, batch size:1", "kv_tokens", 4096),
        ("capturing cuda graph 4 512", "graph_batch", 4),
        ("Performance(T/s): prefill 55.2, decode 9.1. Time(s): tokenize 0.1", "prefill_tokens_per_second", 55.2),
        (
            "Load weight end. type=Qwen3MoeForCausalLM, dtype=torch.bfloat16, avail mem=20.1 GB, mem usage=2.91 GB.",
            "weights_bytes",
            int(2.91 * GiB),
        ),
        ("KV Cache is allocated. #tokens: 122420, K size: 5.60 GB, V size: 5.60 GB", "kv_bytes", int(11.2 * GiB)),
        ("Memory pool end. avail mem=5.97 GB", "free_after_pool_bytes", int(5.97 * GiB)),
        (
            "Mamba Cache is allocated. max_mamba_cache_size: 82, conv_state size: 0.13GB, ssm_state size: 7.29GB",
            "state_bytes",
            int(0.13 * GiB) + int(7.29 * GiB),
        ),
        ("max_total_num_tokens=580364, chunked_prefill_size=2048, max_prefill_tokens=16384", "kv_tokens", 580364),
        ("prepared full-layer slots on cuda:0 (raw=8.86 GiB, prepared=8.90 GiB, total=17.76 GiB)", "slot_bytes", int(17.76 * GiB)),
        ("RuntimeError: full-layer GPU slot CUDA out of memory", "error.full_layer_slot", "full-layer GPU slot CUDA out of memory"),
        (
            "RuntimeError: Not enough memory. Please try to increase --mem-fraction-static.",
            "error.no_kv_memory",
            "Not enough memory. Please try to increase --mem-fraction-static",
        ),
        ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity", "error.torch_oom", 2 * GiB),
    ],
)
def test_a_log_line_states_a_fact(line: str, name: str, value: float | str) -> None:
    fact = ENGINE.read_log_line(line)
    assert fact is not None
    assert (fact.name, fact.value) == (name, pytest.approx(value) if isinstance(value, float) else value)


def test_a_size_mismatch_in_another_dimension_is_no_size_error() -> None:
    fact = ENGINE.read_log_line("The size of tensor a (4) must match the size of tensor b (5) at non-singleton dimension 0")
    assert fact is not None
    assert fact.name == "error.shapes"


def test_the_page_of_the_fork_is_read() -> None:
    (fact,) = ENGINE.read_metrics('sglang:token_usage{model_name="m"} 0.25\n')
    assert (fact.name, fact.value) == ("kv_usage", 0.25)


def test_an_unknown_setting_names_the_nearest() -> None:
    with pytest.raises(InputError, match="cache_lens"):
        ENGINE.validate("cache_len", 8192)
    assert ENGINE.validate("chunk_prefill_size", "512") == 512


def test_local_chat_had_its_new_tokens_from_the_first_release() -> None:
    found = request("python -m ktransformers.local_chat --model_path m --gguf_path g --max_new_tokens 8192", "0.1.4")
    assert not wrong(found)
    assert found.settings.integer("max_new_tokens") == 8192


def test_memory_bound_to_one_socket_is_pointed_out() -> None:
    found = request("numactl -N 1 -m 1 ktransformers --model_path m --cpu_infer 30 --max_new_tokens 8192", "0.2.3")
    assert any("routed experts have to fit there" in finding.text for finding in found.findings)


@pytest.mark.parametrize("release", [None, "0.2.3"])
@pytest.mark.parametrize("quant", [None, "q4_k_m"])
def test_experts_too_large_for_the_host_are_offered_in_fewer_bits(release: str | None, quant: str | None) -> None:
    planned = ullage.plan(
        "DeepSeek-R1", engine="ktransformers", gpu="2x4090", host_memory="300GiB", context="8K", engine_version=release, quant=quant
    )
    assert planned.limit is Limit.HOST
    best = next(remedy for remedy in planned.remedies if remedy.changes[0][0] == "gguf_type")
    assert best.verdict in {Verdict.FITS, Verdict.TIGHT}
    assert best.frees_bytes > 50 * GiB


def test_a_gguf_plan_names_the_folder_of_its_files_and_checks_to_the_same_host_memory() -> None:
    question = {"gpu": "2x4090", "host_memory": "512GiB", "quant": "q4_k_m"}
    planned = ullage.plan("DeepSeek-R1", engine="ktransformers", context="8K", **question)
    argv = planned.command.argv
    assert argv[argv.index("--kt-weight-path") + 1] == "./DeepSeek-R1-GGUF/Q4_K_M"
    checked = ullage.check(argv, engine="ktransformers", **question)
    assert checked.ledger.peak("host") == planned.ledger.peak("host")
