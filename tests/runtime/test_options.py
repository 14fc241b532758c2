"""How the runtime's program is told what to do, and what it says when it cannot."""

import subprocess
import sys
from pathlib import Path

import pytest
from tests.runtime.served import runtime
from tests.runtime.test_soak import write_vocabulary
from tests.runtime.tiny import TINY_CONFIGS, blueprint_of, tiny_model

from ullage.domain.architecture import Architecture
from ullage.engines.runtime.pages import Form, Kept
from ullage.engines.runtime.settings import SETTINGS, flag_of
from ullage.errors import InputError
from ullage.runtime import options
from ullage.runtime.sizing import dtype_word, size


def read(*words: str) -> options.Options:
    return options.read(("model", *words))[0]


def tiny_llama() -> Architecture:
    return blueprint_of(TINY_CONFIGS["llama"]).architecture


def test_what_is_not_said_stays_on_this_machine() -> None:
    found = read()
    assert (found.model, found.served_name, found.host, found.key_file) == ("model", "model", "127.0.0.1", "")


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("/models/SmolLM2-135M.Q4_1.gguf", "SmolLM2-135M.Q4_1"),
        ("models/Qwen3-0.6B/", "Qwen3-0.6B"),
        ("../models/one.safetensors", "one"),
        ("/", "/"),
    ],
)
def test_requests_call_a_model_by_the_name_of_its_file_or_folder(model: str, name: str) -> None:
    assert options.read((model,))[0].served_name == name
    assert options.read((model, "--served-model-name", "mine"))[0].served_name == "mine"


def test_values_are_typed() -> None:
    found = read("--cache", "1GiB", "--max-len=32K", "--chunk", "auto", "--prefix-cache", "off", "--port", "1234")
    assert (found.cache_bytes, found.max_len, found.chunk_tokens) == (1 << 30, 32768, None)
    assert (found.prefix_cache, found.port) == (False, 1234)


def test_a_misspelt_flag_is_refused_with_the_nearest_right_one() -> None:
    with pytest.raises(InputError, match="did you mean --max-len"):
        read("--max-lenn", "5")


def test_what_is_no_port_is_refused_before_anything_is_loaded() -> None:
    with pytest.raises(InputError, match="from 1 to 65535"):
        read("--port", "65536")


def test_the_usage_names_every_setting() -> None:
    assert all(flag_of(name) in options.usage() for name in SETTINGS)


@pytest.mark.parametrize(
    ("own", "device", "expected"),
    [("float32", "cpu", "float32"), ("float16", "cpu", "bfloat16"), ("float16", "cuda", "float16"), ("bfloat16", "cpu", "bfloat16")],
)
def test_a_model_is_computed_in_its_own_dtype_unless_the_device_has_none(own: str, device: str, expected: str) -> None:
    assert dtype_word("auto", own, device=device) == expected


def test_float16_on_a_processor_is_refused() -> None:
    with pytest.raises(InputError, match="bfloat16"):
        dtype_word("float16", "float16", device="cpu")


def test_the_cache_takes_what_weights_and_a_step_leave_but_no_more_than_all_sequences_can_fill() -> None:
    form = Form(16, (Kept(None, 16 * 1024),))
    architecture = tiny_llama()
    short = size(read("--memory", "64MiB"), architecture, form, element=4, free_bytes=1 << 40, taken_bytes=60 << 20, device="cpu")
    assert short.cache_bytes == (4 << 20) - short.step_bytes
    assert short.step_bytes <= (4 << 20) // 8
    rich = size(read("--memory", "8GiB"), architecture, form, element=4, free_bytes=1 << 40, taken_bytes=60 << 20, device="cpu")
    assert rich.cache_bytes == 16 * form.peak_bytes(rich.max_len, rich.chunk_tokens)
    assert rich.chunk_tokens > short.chunk_tokens


def test_too_little_memory_is_said_with_numbers() -> None:
    form = Form(256, (Kept(None, 256 * 1024),))
    with pytest.raises(InputError, match=r"one page takes 256\.0 KiB"):
        size(read("--memory", "60MiB"), tiny_llama(), form, element=4, free_bytes=1 << 40, taken_bytes=60 << 20, device="cpu")


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [(["nowhere"], 2, "nowhere"), (["model", "--prot", "8000"], 2, "--port"), ([], 2, "no model is named")],
)
def test_what_cannot_start_says_why_in_one_line(words: list[str], code: int, said: str, tmp_path: Path) -> None:
    found = subprocess.run([sys.executable, "-m", "ullage.runtime", *words], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert found.returncode == code
    assert said in found.stderr
    assert len(found.stderr.splitlines()) == 1


def test_a_key_is_asked_for_and_compared_whole(tmp_path: Path) -> None:
    folder = tiny_model(tmp_path, TINY_CONFIGS["llama"])
    write_vocabulary(folder)
    (tmp_path / "keys").write_text("right\n")
    with runtime(folder, tmp_path, "--api-key-file", str(tmp_path / "keys"), "--cache", "4MiB") as server:
        assert server.ask("/health").status == 200
        for shown in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Bearer righ"}):
            assert server.ask("/v1/models", headers=shown).status == 401
        assert server.ask("/v1/models", headers={"Authorization": "Bearer right"}).status == 200
        assert "right" not in server.log.read_text()
        long = server.ask("/v1/completions", b" " * (33 << 20), headers={"Authorization": "Bearer right"})
        assert (long.status, long.body["error"]["code"]) == (413, "body_too_large")
