"""vLLM's command line: what people have written, and what we write, read back as each release reads it."""

import argparse
import contextlib
import io
import shlex

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tests.cases import GPU_80, RTX_3090, vllm_case

from ullage.domain.case import Value, Version
from ullage.domain.engine import Request
from ullage.engines.vllm.command import command
from ullage.engines.vllm.flags import FLAGS, flag_called, spellings
from ullage.engines.vllm.flags_choices import choices
from ullage.engines.vllm.flags_kinds import Flag, Kind, Release, release
from ullage.engines.vllm.flags_values import read_value, validate, write_value
from ullage.engines.vllm.option_scan import read_options
from ullage.engines.vllm.processor import THRESHOLD
from ullage.engines.vllm.read_command import read_command
from ullage.errors import InputError

RELEASES = ("0.2.7", "0.4.2", "0.5.4", "0.6.3", "0.8.4", "0.8.5", "0.10.2", "0.12.0", "0.17.1", "0.20.0", "0.32.0", "0.33.0")
MODULE = "python -m vllm.entrypoints.openai.api_server"


def version(text: str) -> Version:
    return Version(release(text), text)


def read(line: str, at: str | None = None, **environment: str) -> Request:
    request = read_command(tuple(shlex.split(line)), environment, version(at) if at else None)
    assert request is not None, line
    return request


def wrong(request: Request) -> list[str]:
    return [finding.text for finding in request.findings if finding.wrong]


def said(request: Request) -> dict[str, Value]:
    return dict(request.settings.items)


def test_the_long_context_launch_of_eight_cards_is_read() -> None:
    request = read(
        "vllm serve Qwen/Qwen2.5-14B-Instruct-1M --tensor-parallel-size 8 --block-size 16 --gpu-memory-utilization 0.85 "
        "--max-model-len 1010000 --enable-chunked-prefill"
    )
    assert request.model == "Qwen/Qwen2.5-14B-Instruct-1M"
    assert said(request) == {
        "tensor_parallel_size": 8,
        "block_size": 16,
        "gpu_memory_utilization": 0.85,
        "max_model_len": 1010000,
        "enable_chunked_prefill": True,
    }
    assert request.parallel.tensor == 8
    assert request.stated - {THRESHOLD} == frozenset(said(request))
    assert request.findings == ()


def test_a_misspelt_module_is_named_and_the_rest_is_read() -> None:
    request = read("python -m vllm.entrypoints.openapi.api_server --model Qwen1.5-7B-Chat --gpu_memory_utilization 0.95")
    assert request.model == "Qwen1.5-7B-Chat"
    assert said(request) == {"gpu_memory_utilization": 0.95}
    (text,) = wrong(request)
    assert "No module named 'vllm.entrypoints.openapi'" in text
    assert "vllm.entrypoints.openai.api_server" in text


def test_underscores_are_refused_before_the_parser_that_reads_them() -> None:
    line = f"{MODULE} --model Qwen1.5-7B-Chat --max_model_len 8192"
    assert wrong(read(line)) == []
    (text,) = wrong(read(line, "0.4.0"))
    assert "error: unrecognized arguments: --max_model_len 8192" in text
    assert "--max-model-len" in text
    assert said(read(line)) == said(read(line, "0.4.0")) == {"max_model_len": 8192}


def test_the_beginning_of_a_name_is_read_and_remarked() -> None:
    request = read("vllm serve Qwen2-7B-Instruct --max-num-batched-tokens 2048 --max-num-seq 4")
    assert said(request) == {"max_num_batched_tokens": 2048, "max_num_seqs": 4}
    assert wrong(request) == []
    assert "write --max-num-seqs" in request.findings[0].text


def test_the_form_vllm_itself_suggests_is_read() -> None:
    assert said(read("vllm serve m --kv-cache-memory=39599226880")) == {"kv_cache_memory_bytes": 39599226880}


REMOVED = (
    "--swap-space 8",
    "--max-seq-len-to-capture 8192",
    "--cuda-graph-sizes 8",
    "--preemption-mode swap",
    "--use-v2-block-manager",
    "--num-scheduler-steps 8",
    "--worker-use-ray",
    "--engine-use-ray",
    "--guided-decoding-backend outlines",
    "--task embed",
    "--rope-scaling {}",
)


@pytest.mark.parametrize("words", REMOVED)
def test_a_removed_flag_stops_the_release_in_argparses_words(words: str) -> None:
    request = read(f"vllm serve m {words}", "0.32.0")
    (text,) = wrong(request)
    assert f"error: unrecognized arguments: {words}" in text
    assert " only" in text


def test_a_flag_is_refused_after_its_last_release_and_before_its_first() -> None:
    assert wrong(read("vllm serve m --swap-space 8", "0.17.1")) == []
    assert "0.2.0 to 0.17.1" in wrong(read("vllm serve m --swap-space 8", "0.18.0"))[0]
    assert "came with 0.10.2" in wrong(read("vllm serve m --kv-cache-memory-bytes 1G", "0.10.1"))[0]
    assert said(read("vllm serve m --kv-cache-memory-bytes 1G", "0.10.2")) == {"kv_cache_memory_bytes": 1 << 30}


def test_an_ambiguous_beginning_names_what_it_could_be() -> None:
    (text,) = wrong(read("vllm serve m --device cpu", "0.32.0"))
    assert "error: ambiguous option: --device could match --device-ids, --device-memory-utilization" in text


def test_false_after_a_switch_becomes_the_model() -> None:
    request = read("vllm serve --enable-chunked-prefill False")
    assert request.model == "False"
    assert said(request) == {"enable_chunked_prefill": True}
    assert "--no-enable-chunked-prefill" in wrong(request)[0]
    assert "error: unrecognized arguments: False" in wrong(read("vllm serve m --enable-chunked-prefill False"))[0]
    assert "ignored explicit argument 'False'" in wrong(read("vllm serve m --enable-chunked-prefill=False"))[0]


def test_false_after_a_switch_was_its_value_once() -> None:
    request = read("vllm serve m --enable-chunked-prefill False", "0.8.4")
    assert (said(request), wrong(request)) == ({"enable_chunked_prefill": False}, [])


@pytest.mark.parametrize(
    ("text", "tokens"), [("32k", 32000), ("32K", 32768), ("32768", 32768), ("1.5m", 1500000), ("auto", -1), ("-1", -1)]
)
def test_a_length_is_read_as_the_engine_reads_it(text: str, tokens: int) -> None:
    assert said(read(f"vllm serve m --max-model-len {text}")) == {"max_model_len": tokens}


@pytest.mark.parametrize(
    ("words", "part"),
    [
        ("--max-model-len 1.5K", "decimal point"),
        ("--max-num-seqs 4.5", "invalid int value: '4.5'"),
        ("--gpu-memory-utilization high", "invalid float value: 'high'"),
        ("--gpu-memory-utilization 1.1", "at most 1"),
        ("--tensor-parallel-size 0", "at least 1"),
        ("--max-model-len", "expected one argument"),
        ("--kv-cache-dtype fp7", "the nearest is fp8"),
        ("--max-num-seqz 4", "--max-num-seqs"),
        ("--mem-fraction-static 0.8", "--gpu-memory-utilization"),
        ("--context-length 4096", "--max-model-len"),
        ('--compilation-config {"mode":', "not JSON"),
        ("extra", "error: unrecognized arguments: extra"),
    ],
)
def test_what_cannot_be_read_is_told_with_the_next_step(words: str, part: str) -> None:
    request = read_command(("vllm", "serve", "m", *words.split(" ", 1)), {}, None)
    assert request is not None
    assert any(part in text for text in wrong(request)), wrong(request)


def test_a_container_names_its_release_and_environment() -> None:
    request = read(
        "sudo docker run --gpus all -e VLLM_USE_V1=0 -v ~/.cache/huggingface:/root/.cache/huggingface -p 8000:8000 --ipc=host "
        "vllm/vllm-openai:v0.8.5.post1 --model Qwen/Qwen3-8B -tp 8 -pp=2 -q awq"
    )
    assert request.model == "Qwen/Qwen3-8B"
    assert request.version == version("0.8.5")
    assert request.environment == (("VLLM_USE_V1", "0"),)
    assert (request.parallel.tensor, request.parallel.pipeline, request.parallel.devices) == (8, 2, 16)
    assert request.findings == ()


@pytest.mark.parametrize(
    "line",
    [
        "vllm serve m",
        "/usr/local/bin/vllm serve m",
        "python3 /usr/local/bin/vllm serve m",
        "CUDA_VISIBLE_DEVICES=0,1 vllm serve m",
        "env A=1 B=2 vllm serve m",
        "nohup numactl -N 0 -m 0 vllm serve m > log.txt 2>&1 &",
        "source venv/bin/activate && vllm serve m",
        "bash -c 'exec vllm serve m'",
        "uv run vllm serve m",
        "python -m vllm.entrypoints.cli.main serve m",
        "docker run --gpus all vllm/vllm-openai:latest m",
        "docker exec -it box vllm serve m",
        f"{MODULE} --model m",
        "python3.11 -u -m vllm.entrypoints.openai.api_server --model=m",
        "python vllm/entrypoints/openai/api_server.py --model m",
        "docker run --gpus all vllm/vllm-openai:v0.6.3 --model m",
    ],
)
def test_a_server_is_found_behind_what_people_put_in_front(line: str) -> None:
    request = read(line)
    assert request.model == "m"
    assert wrong(request) == []


@pytest.mark.parametrize(
    "line",
    [
        "",
        "ollama serve",
        "vllm bench serve --model m",
        "vllm chat",
        "python -m sglang.launch_server --model m",
        "grep vllm serve",
        "python x.py",
    ],
)
def test_another_program_is_not_read(line: str) -> None:
    assert read_command(tuple(shlex.split(line)), {}, None) is None


def test_the_module_ignores_a_bare_model_and_serve_refused_the_option_once() -> None:
    assert "write vllm serve m" in wrong(read("vllm serve --model m", "0.9.2"))[0]
    assert wrong(read("vllm serve --model m", "0.12.0")) == []
    assert "default model" in wrong(read(f"{MODULE} m"))[0]
    assert "came with 0.5.2" in wrong(read("vllm serve m", "0.4.2"))[0]
    assert "nearest is `vllm serve`" in wrong(read("vllm sevre m"))[0]


def test_keys_of_a_json_flag_are_gathered() -> None:
    request = read("vllm serve m --compilation-config.mode 3 -cc.pass_config.fuse_norm true -O1 --hf-overrides.a+ x,y")
    assert said(request) == {
        "compilation_config": '{"mode": 3, "pass_config": {"fuse_norm": true}}',
        "hf_overrides": '{"a": ["x", "y"]}',
        "optimization_level": 1,
    }


def test_the_last_of_a_repeated_flag_counts() -> None:
    request = read("vllm serve m --max-num-seqs 4 --max-num-seqs 8")
    assert said(request) == {"max_num_seqs": 8}
    assert "more than once" in request.findings[0].text


def test_a_variable_the_release_does_not_read_is_remarked() -> None:
    request = read("vllm serve m", "0.20.0", VLLM_ATTENTION_BACKEND="FLASHINFER", HOME="/root")
    assert request.environment == (("VLLM_ATTENTION_BACKEND", "FLASHINFER"),)
    assert "--attention-backend" in request.findings[0].text


def test_a_setting_is_typed_by_the_table_and_misspelt_ones_name_the_nearest() -> None:
    assert validate("max-model-len", "32k") == 32000
    assert validate("enforce_eager", "true") is True
    assert validate("gpu_memory_utilization", 0.9) == 0.9
    with pytest.raises(InputError, match="max_num_seqs"):
        validate("max_num_sqs", "4")
    with pytest.raises(InputError, match="at most 1"):
        validate("gpu_memory_utilization", "1.2")


def test_no_two_flags_of_a_release_share_a_spelling() -> None:
    for text in RELEASES:
        at = release(text)
        written = [option for flag in FLAGS if flag.is_in(at) for option in (flag.option, *(a.text for a in flag.aliases if a.is_in(at)))]
        assert len(written) == len(set(written)), text
        assert len({flag.name for flag in FLAGS}) == len(FLAGS)


def test_the_command_says_what_was_stated_in_the_spelling_of_its_release() -> None:
    new = vllm_case("Qwen/Qwen2.5-7B", "0.33.0", RTX_3090, max_model_len=8192, kv_cache_dtype="fp8", enable_prefix_caching=False)
    assert command(new).argv == (
        *("vllm", "serve", "Qwen/Qwen2.5-7B", "--no-enable-prefix-caching", "--kv-cache-dtype", "fp8", "--max-model-len", "8192"),
        *("--host", "127.0.0.1"),
    )
    old = vllm_case("Qwen/Qwen2.5-7B", "0.4.2", RTX_3090, max_model_len=8192)
    assert command(old).argv[:6] == ("python", "-m", "vllm.entrypoints.openai.api_server", "--model", "Qwen/Qwen2.5-7B", "--max-model-len")


def test_dual_chunk_attention_brings_its_environment() -> None:
    case = vllm_case("Qwen/Qwen2.5-14B-Instruct-1M", "0.9.2", GPU_80, devices=8, tensor=8, max_model_len=1010000)
    started = command(case)
    assert ("VLLM_ATTENTION_BACKEND", "DUAL_CHUNK_FLASH_ATTN") in started.environment
    assert ("VLLM_USE_V1", "0") in started.environment
    assert {"--enforce-eager", "--tensor-parallel-size"} <= set(started.argv)


CHOSEN = st.fixed_dictionaries(
    {},
    optional={
        "max_model_len": st.integers(1, 32768),
        "max_num_seqs": st.integers(1, 2048),
        "max_num_batched_tokens": st.integers(32768, 1 << 20),
        "gpu_memory_utilization": st.floats(0.1, 1.0),
        "enforce_eager": st.booleans(),
        "enable_chunked_prefill": st.booleans(),
        "block_size": st.sampled_from([16, 32]),
    },
)


@given(chosen=CHOSEN, text=st.sampled_from(("0.6.6", "0.8.5", "0.10.2", "0.20.0", "0.33.0")), tensor=st.sampled_from([1, 2, 4]))
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_every_command_is_read_back_and_resolves_to_the_same_settings(chosen: dict[str, Value], text: str, tensor: int) -> None:
    case = vllm_case("Qwen/Qwen2.5-7B", text, devices=tensor, tensor=tensor, **chosen)
    started = command(case)
    request = read_command(started.argv, dict(started.environment), case.version)
    assert request is not None
    assert request.model == case.model.name
    assert wrong(request) == []
    assert request.parallel == case.parallel
    again = {name: value for name, value in request.settings.items if name not in {"host", "tensor_parallel_size"}}
    resolved = vllm_case("Qwen/Qwen2.5-7B", text, devices=tensor, tensor=tensor, **again)
    assert resolved.settings == case.settings


VALUES: dict[Kind, st.SearchStrategy[Value]] = {
    Kind.INT: st.integers(1, 1000),
    Kind.COUNT: st.integers(1, 1000),
    Kind.FLOAT: st.floats(0.01, 1.0),
    Kind.SWITCH: st.just(value=True),
    Kind.PAIR: st.booleans(),
    Kind.YES_NO: st.booleans(),
    Kind.LIST: st.lists(st.sampled_from(["a", "b c", "3"]), min_size=1).map(shlex.join),
    Kind.JSON: st.sampled_from(["{}", '{"a": 1}']),
    Kind.TEXT: st.sampled_from(["x", "a b", "-dash", "", "--max-num-seqs"]),
    Kind.OPTIONAL: st.sampled_from(["x", "a b", "-dash", "", "--max-num-seqs"]),
}


def value_of(flag: Flag, at: Release) -> st.SearchStrategy[Value]:
    words = choices(flag.setting, at)
    return st.sampled_from([read_value(flag, word, at) for word in words]) if words else VALUES[flag.kind_in(at)]


@given(st.data())
def test_every_flag_of_every_release_is_read_back_as_it_was_written(data: st.DataObject) -> None:
    at = release(data.draw(st.sampled_from(RELEASES)))
    flags = data.draw(st.lists(st.sampled_from([flag for flag in FLAGS if flag.is_in(at)]), unique_by=lambda flag: flag.name, max_size=5))
    wanted = {flag.setting: data.draw(value_of(flag, at)) for flag in flags}
    words = tuple(word for flag in flags for word in write_value(flag, wanted[flag.setting], at))
    options = read_options(words, at, places=0)
    assert [finding.text for finding in options.findings if finding.wrong] == []
    assert options.settings == wanted


def reference(at: Release) -> argparse.ArgumentParser:
    """The standard library's parser with a release's flags."""
    parser = argparse.ArgumentParser(prog="vllm", add_help=False, argument_default=argparse.SUPPRESS)
    parser.add_argument("model_tag", nargs="?")
    actions: dict[Kind, dict[str, object]] = {
        Kind.SWITCH: {"action": "store_true"},
        Kind.PAIR: {"action": argparse.BooleanOptionalAction},
        Kind.LIST: {"nargs": "+"},
        Kind.OPTIONAL: {"nargs": "?", "const": True},
    }
    for flag in FLAGS:
        if not flag.is_in(at):
            continue

        def typed(text: str, flag: Flag = flag) -> Value:
            try:
                return read_value(flag, text, at)
            except InputError as error:
                raise argparse.ArgumentTypeError(str(error)) from error

        keywords = actions.get(
            flag.kind_in(at), {"nargs": "?", "const": True, "type": typed} if flag.kind_in(at) is Kind.YES_NO else {"type": typed}
        )
        parser.add_argument(flag.option, *(a.text for a in flag.aliases if a.is_in(at)), dest=flag.setting, **keywords)  # type: ignore[arg-type]
    return parser


PARSERS = {text: reference(release(text)) for text in ("0.6.3", "0.8.4", "0.12.0", "0.32.0")}
TOKENS = st.sampled_from(  # a_b stands for a word with a blank
    """
    m 8 0.5 auto -1 fp8 {} - -tp -tp=2 -t -q -qawq -O3 -O -x -ep -n4 -dp -1.5 a_b -a_b --max-num-seqs --max-num-seq --max-num --max
    --gpu-mem=0.5 --enforce-eager --no-enforce-eager --enforce-eager=1 --kv-cache-dtype --kv-cache-memory=5 --swap-space --device
    --served-model-name --hf-token --block-size=16 --enable-chunked-prefill --max-model-len --cudagraph-capture-sizes --foo --foo=3 --=3
    """.split()  # noqa: SIM905 - a list of words reads best as words
)


@given(words=st.lists(TOKENS, max_size=6), text=st.sampled_from(tuple(PARSERS)))
@settings(max_examples=120, deadline=None)
def test_options_are_read_as_the_standard_parser_reads_them(words: list[str], text: str) -> None:
    words = [word.replace("_", " ") for word in words]
    expected: dict[str, Value] | None
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            expected = vars(PARSERS[text].parse_args(words))
    except SystemExit:
        expected = None
    options = read_options(tuple(words), release(text), places=1)
    refused = [finding.text for finding in options.findings if finding.wrong and "after reading the command" not in finding.text]
    assert (expected is None) == bool(refused), (expected, refused)
    if expected is not None:
        model = expected.pop("model_tag", None)
        assert options.settings == {name: shlex.join(v) if isinstance(v, list) else v for name, v in expected.items()}
        assert options.words == (() if model is None else (model,))


WORDS = st.one_of(
    st.text(max_size=12),
    TOKENS,
    st.sampled_from(
        ["vllm", "serve", "python", "-m", "docker", "run", "vllm/vllm-openai:v0.6.3", "sudo", "bash", "-c", "--env", "-cc.a.b+"]
    ),
    st.sampled_from([option for text in RELEASES for option in spellings(release(text))]),
    st.sampled_from([f"--{flag.setting}={word}" for flag in FLAGS for word in ("9" * 400, "nan", "1e999", "{", "[[", "٣")]),
)


@given(words=st.lists(WORDS, max_size=12), text=st.sampled_from([None, *RELEASES]), start=st.sampled_from(["", "vllm serve", MODULE]))
@example(words=["docker", "vllm"] * 2000, text=None, start="")
@example(words=["--hf-overrides." + "a." * 3000, "1"], text=None, start="vllm serve")
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_no_command_is_too_strange_to_read(words: list[str], text: str | None, start: str) -> None:
    request = read_command((*start.split(), *words), {"VLLM_USE_V1": "x"}, version(text) if text else None)
    if request is not None:
        assert request.parallel.devices >= 1
        assert all(flag_called(name) is not None for name, _ in request.settings.items)
