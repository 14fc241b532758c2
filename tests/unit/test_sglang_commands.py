"""SGLang's command lines: those people write, and those the plan writes."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.cases import bundled, machine

from ullage.domain.case import Case, Settings, Value, Version
from ullage.domain.placement import Parallel
from ullage.domain.workload import Workload
from ullage.engines.sglang import ENGINE, read_command, validate
from ullage.engines.sglang.versions import version
from ullage.errors import InputError

MODULE = ("python", "-m", "sglang.launch_server")
CARD = ("NVIDIA H100 80GB", 79.19, (9, 0))


def read(text: str, release: str = "0.5.8"):  # noqa: ANN201 - a Request
    request = read_command(tuple(text.split()), {}, version(release))
    assert request is not None
    return request


@pytest.mark.parametrize(
    "start",
    [
        "python -m sglang.launch_server --model-path m",
        "python3 -m sglang.launch_server --model m",
        "CUDA_VISIBLE_DEVICES=0,1 nohup python3 -m sglang.launch_server --model-path=m",
        "sglang serve --model-path m",
        "docker run --gpus all lmsysorg/sglang:v0.5.8-cu126 python3 -m sglang.launch_server --model-path m",
    ],
)
def test_every_way_to_start_the_server_is_understood(start: str) -> None:
    request = read(f"{start} --tp 4 --mem-frac 0.75 --chunked-prefill-size -1")
    assert request.model == "m"
    assert request.parallel == Parallel(tensor=4)
    assert request.settings.number("mem_fraction_static") == 0.75
    assert request.settings.integer("chunked_prefill_size") == -1
    assert not [finding.text for finding in request.findings if finding.wrong]


def test_a_server_inside_a_shell_text_is_found() -> None:
    request = read_command(("bash", "-c", "export A=1 && python -m sglang.launch_server --model-path m --dp 2 && echo done"), {}, None)
    assert request is not None
    assert request.parallel == Parallel(data=2)


@pytest.mark.parametrize("text", ["python -m vllm.entrypoints.openai.api_server", "sglang check", "echo sglang.launch_server", "ls -m x"])
def test_other_commands_are_not_read(text: str) -> None:
    assert read_command(tuple(text.split()), {}, None) is None


def test_data_parallel_attention_takes_no_devices_of_its_own() -> None:
    assert read("sglang serve --model-path m --tp 8 --dp 8 --enable-dp-attention").parallel == Parallel(tensor=8)
    assert read("sglang serve --model-path m --tp 2 --dp 4 --ep 2").parallel == Parallel(tensor=2, data=4, expert=True)


@pytest.mark.parametrize(
    ("words", "release", "expected"),
    [
        ("--gpu-memory-utilization 0.9", "0.5.8", "the nearest right name is --mem-fraction-static"),
        ("--max-model-len 4096", "0.5.8", "the nearest right name is --context-length"),
        ("--max-runing-requests 4", "0.5.8", "the nearest right name is --max-running-requests"),
        ("--swa-full-tokens-ratio 0.5", "0.4.9", "it came with 0.5.1"),
        ("--hybrid-kvcache-ratio 0.5", "0.5.23", "is in 0.4.9 to 0.5.13 only"),
        ("--tp-size two", "0.5.8", "invalid int value: 'two'"),
        ("--mem-fraction-static 1.2", "0.5.8", "less than 1"),
        ("--disable-cuda-graph false", "0.5.8", "takes no value"),
        ("--context-length", "0.5.8", "expected one argument"),
    ],
)
def test_what_is_wrong_is_said_with_the_right_name(words: str, release: str, expected: str) -> None:
    request = read(f"python -m sglang.launch_server --model-path m {words}", release)
    assert any(expected in finding.text for finding in request.findings), request.findings


def test_sglang_serve_is_refused_before_it_came() -> None:
    assert any("came with 0.5.6" in finding.text for finding in read("sglang serve --model-path m", "0.4.9").findings)


def test_a_flag_that_came_between_two_read_releases_is_not_called_wrong() -> None:
    assert not [
        f.text for f in read("python -m sglang.launch_server --model-path m --swa-full-tokens-ratio 0.5", "0.5.0").findings if f.wrong
    ]


VALUES: list[dict[str, Value]] = [
    {},
    {"mem_fraction_static": 0.8},
    {"context_length": 8192, "max_running_requests": 16},
    {"max_total_tokens": 20000, "page_size": 64},
    {"disable_cuda_graph": True, "chunked_prefill_size": -1},
    {"enable_dp_attention": True, "dp_size": 2},
    {"kv_cache_dtype": "fp8_e5m2", "cuda_graph_max_bs": 16},
    {"speculative_algorithm": "EAGLE", "speculative_num_steps": 3},
]


@pytest.mark.parametrize("release", ["0.4.6", "0.4.9", "0.5.1", "0.5.8", "0.5.14", "0.5.19", "0.5.23"])
@pytest.mark.parametrize("said", VALUES)
@pytest.mark.parametrize("context", [None, 4096])
def test_an_emitted_command_is_read_back_to_the_same_ledger(release: str, said: dict[str, Value], context: int | None) -> None:
    if context and "context_length" in said:
        context = None
    asked = Case(
        model=bundled("Qwen3-8B"),
        engine="sglang",
        version=version(release),
        machine=machine(CARD, 2),
        parallel=Parallel(tensor=2),
        workload=Workload(context_tokens=context),
        settings=Settings.of(said),
        stated=frozenset(said),
    )
    case = ENGINE.resolve(asked)
    command = ENGINE.command(case)
    request = read_command(command.argv, dict(command.environment), case.version)
    assert request is not None
    assert not [finding.text for finding in request.findings if finding.wrong]
    again = ENGINE.resolve(
        Case(
            model=case.model,
            engine="sglang",
            version=case.version,
            machine=case.machine,
            parallel=request.parallel,
            workload=case.workload,
            settings=request.settings,
            stated=request.stated,
        )
    )
    assert ENGINE.ledger(again) == ENGINE.ledger(case)


def test_a_plain_case_is_a_short_command_bound_to_this_machine() -> None:
    case = ENGINE.resolve(
        Case(model=bundled("Qwen3-8B"), engine="sglang", version=Version((0, 5, 8), "0.5.8"), machine=machine(CARD, 1), workload=Workload())
    )
    assert ENGINE.command(case).argv == (*MODULE, "--model-path", "Qwen3-8B", "--host", "127.0.0.1", "--port", "30000")


@given(st.lists(st.text(max_size=12), max_size=6), st.lists(st.sampled_from(["--tp", "--dp-size=x", "--lora-paths", "-1", "--", "--m"])))
@settings(max_examples=150, deadline=None)
def test_no_command_line_raises(words: list[str], flags: list[str]) -> None:
    read_command((*MODULE, *words, *flags), {}, None)


def test_settings_are_typed_and_misspelt_ones_are_named() -> None:
    assert validate("mem_fraction_static", "0.8") == 0.8
    assert validate("max_total_tokens", "20k") == 20000
    assert validate("disable_cuda_graph", "true") is True
    with pytest.raises(InputError, match="mem_fraction_static"):
        validate("mem_fraction_statik", "0.8")
    with pytest.raises(InputError, match="context_length"):
        validate("max_model_len", 4096)
