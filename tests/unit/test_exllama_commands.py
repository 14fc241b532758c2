"""Commands of both ExLlama engines: written, read back, and read as people wrote them; and their log lines."""

import shlex

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.exllama_cases import exllama_case

from ullage.domain.case import Case, Value
from ullage.domain.engine import Request
from ullage.engines import engines, find
from ullage.frozen import replace

V2, V3 = find("exllamav2"), find("exllamav3")


def read(line: str, name: str = "exllamav2", **environment: str) -> Request:
    request = find(name).read_command(tuple(shlex.split(line)), environment, None)
    assert request is not None, line
    return request


def said(request: Request) -> dict[str, Value]:
    return dict(request.settings.items)


def test_the_test_script_of_the_library() -> None:
    found = read("python test_inference.py -m /models/Smaug-72B -gs 10,14,23 -l 8192 -cq4")
    assert found.model == "/models/Smaug-72B"
    assert said(found) == {"gpu_split": "10,14,23", "max_seq_len": 8192, "cache_mode": "Q4"}
    assert found.parallel.pipeline == 3
    assert found.findings == ()


def test_without_a_split_the_script_puts_everything_on_the_first_card() -> None:
    assert said(read("python test_inference.py -m M"))["gpu_split"] == "none"
    assert said(read("python examples/chat.py -m M -mode raw -gs auto -lm -nfa"))["gpu_split"] == "auto"


def test_the_servers() -> None:
    tabby = "python main.py --config config.yml --model-name Smaug-72B-exl2 --gpu-split-auto false --gpu-split 10 14 23 --cache-mode Q6"
    assert said(read(tabby)) == {"gpu_split": "10,14,23", "cache_mode": "Q6"}
    textgen = "python server.py --model M --loader exllamav2 --gpu-split 10,14 --max_seq_len 4096 --cache_type q4"
    assert said(read(textgen)) == {"gpu_split": "10,14", "max_seq_len": 4096, "cache_mode": "Q4"}
    assert said(read("python server.py --model M --loader ExLlamav2_HF --autosplit --cache_8bit"))["cache_mode"] == "FP8"
    three = "python server.py --loader exllamav3 --model M --ctx-size 8192 --cache-type q4_q8"
    assert said(read(three, "exllamav3")) == {"gpu_split": "auto", "max_seq_len": 8192, "cache_mode": "4,8"}


def test_a_command_belongs_to_one_engine() -> None:
    lines = {
        "python main.py --backend exllamav2 --model-name M": "exllamav2",
        "python main.py --model-name M-4.0bpw-exl2 --max-seq-len 8192": "exllamav2",
        "python main.py --model-name M --cache-size 8192": "exllamav3",
        "python examples/chat.py -m M -mode raw -cs 16384 -cq 4,8": "exllamav3",
        "python examples/chat.py -m M -mode raw -l 16384 -cq4": "exllamav2",
        "python server.py --loader exllamav3_hf --model M": "exllamav3",
    }
    for line, name in lines.items():
        mine = [engine.profile.name for engine in (V2, V3) if engine.read_command(tuple(line.split()), {}, None) is not None]
        assert mine == [name], line


@pytest.mark.parametrize(
    "line", ["vllm serve M", "python main.py --help", "python server.py --loader llama.cpp -m M", "llama-server -m x", ""]
)
def test_commands_of_others_are_left_to_them(line: str) -> None:
    assert V2.read_command(tuple(line.split()), {}, None) is None
    assert V3.read_command(tuple(line.split()), {}, None) is None


def test_a_misspelt_flag_names_the_nearest() -> None:
    (finding,) = read("python test_inference.py -m M --gpu_splits 10,14").findings
    assert "--gpu_split" in finding.text
    (finding,) = read("python main.py --model-name M --cache-size 8192 --cache-modes Q4", "exllamav3").findings
    assert "--cache-mode" in finding.text
    (finding,) = read("python main.py --model-name M --cache-size 8000", "exllamav3").findings
    assert "8192" in finding.text


def round_trip(case: Case) -> None:
    engine = find(case.engine)
    whole = engine.resolve(case)
    command = engine.command(whole)
    request = engine.read_command(command.argv, dict(command.environment), case.version)
    assert request is not None
    assert not [finding for finding in request.findings if finding.wrong]
    again = engine.resolve(replace(case, settings=request.settings, parallel=request.parallel, stated=request.stated))
    assert again.settings == whole.settings
    assert again.parallel == whole.parallel
    (name, text), *_ = command.files
    assert name == "config.yml"
    assert f"cache_mode: {whole.settings.text('cache_mode')}" in text.replace('"', "")


@settings(max_examples=40, deadline=None)
@given(
    version=st.sampled_from(["0.0.13", "0.0.21", "0.1.5", "0.3.2"]),
    context=st.sampled_from([None, 2048, 5000, 8192]),
    count=st.integers(1, 3),
    said=st.fixed_dictionaries(
        {},
        optional={
            "cache_mode": st.sampled_from(["FP16", "FP8", "Q4"]),
            "gpu_split": st.sampled_from(["auto", "10,14,23", "9.5,9.5", "none"]),
            "chunk_size": st.sampled_from([512, 1024, 2048]),
            "max_batch_size": st.sampled_from([1, 4]),
            "no_flash_attn": st.just(value=True),
            "autosplit_reserve": st.sampled_from(["96", "512,64"]),
        },
    ),
)
def test_what_is_written_for_exllamav2_is_read_back(version: str, context: int | None, count: int, said: dict[str, Value]) -> None:
    if said.get("gpu_split") in {"10,14,23", "9.5,9.5", "none"}:
        count = {"10,14,23": 3, "9.5,9.5": 2, "none": 1}[str(said["gpu_split"])]
    round_trip(exllama_case("exllamav2", "Llama-2-7b-hf", "exl2-4.0bpw", version, count=count, context=context, **said))


@settings(max_examples=40, deadline=None)
@given(
    context=st.sampled_from([None, 2048, 5000, 8192]),
    count=st.integers(1, 3),
    said=st.fixed_dictionaries(
        {},
        optional={
            "cache_mode": st.sampled_from(["FP16", "4,4", "4,8"]),
            "chunk_size": st.sampled_from([512, 1000, 2048]),
            "max_batch_size": st.sampled_from([1, 4]),
            "autosplit_reserve": st.sampled_from(["96", "512,64"]),
            "vision": st.booleans(),
        },
    ),
)
def test_what_is_written_for_exllamav3_is_read_back(context: int | None, count: int, said: dict[str, Value]) -> None:
    round_trip(exllama_case("exllamav3", "Llama-2-7b-hf", "exl3-4.0bpw", "1.4.1", count=count, context=context, **said))


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(["test_inference.py", "main.py", "chat.py", "server.py"]),
    st.lists(
        st.sampled_from(
            ["-m", "--model-name", "-gs", "-l", "10,,14", "--gpu-split", "x", "-cq", "--loader", "exllamav2", "=", "--=", "1e999"]
        )
    ),
)
def test_reading_a_command_never_raises(script: str, words: list[str]) -> None:
    for engine in (V2, V3):
        engine.read_command(("python", script, *words), {"CUDA_VISIBLE_DEVICES": "0,1", "EXLLAMA_NO_FLASH_ATTN": "1"}, None)


@given(st.text())
def test_reading_a_log_line_never_raises(line: str) -> None:
    for engine in (V2, V3):
        engine.read_log_line(line)
        assert engine.read_metrics(line) == ()


LINES = [
    ("exllamav2", "AssertionError: Insufficient space in device allocation", "error.split_too_small", None),
    ("exllamav2", "RuntimeError: Insufficient VRAM for model and cache", "error.no_room", None),
    ("exllamav2", "AssertionError: Total sequence length exceeds cache size in model.forward", "error.cache_full", None),
    ("exllamav2", "Job requires 33 pages (only 32 available) and cannot", "error.job_too_long", 33),
    ("exllamav3", "RuntimeError: Insufficient VRAM in split for model and cache", "error.no_room", None),
    ("exllamav3", "WARNING:  cache_size is undefined. Defaulting to 131072 tokens. You should", "kv_tokens", 131072),
    (
        "exllamav2",
        "torch.cuda.OutOfMemoryError: CUDA out of memory. Tried to allocate 128.00 MiB. GPU 0 has a total capacity of 23.65 GiB of",
        "error.torch_oom",
        134217728,
    ),
]


@pytest.mark.parametrize(("name", "line", "fact", "value"), LINES)
def test_log_lines(name: str, line: str, fact: str, value: int | None) -> None:
    found = find(name).read_log_line(line)
    assert found is not None
    assert found.name == fact
    if value is not None:
        assert found.value == value


def test_both_engines_are_found() -> None:
    assert {"exllamav2", "exllamav3"} <= set(engines())
    assert find("ExLlamaV2") is V2
