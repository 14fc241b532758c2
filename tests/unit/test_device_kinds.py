"""An engine is planned on devices that it runs on, and refused on all others."""

import pytest

import ullage
from ullage.errors import UnsupportedModelError


@pytest.mark.parametrize(
    ("engine", "gpu"),
    [
        ("vllm", "M3-Max-128GB"),
        ("vllm", "Arc-A770-16GB"),
        ("sglang", "cpu"),
        ("ipex-llm", "4090"),
        ("exllamav3", "MI300X"),
    ],
)
def test_a_device_of_a_foreign_kind_is_refused_with_the_engines_that_run_on_it(engine: str, gpu: str) -> None:
    with pytest.raises(UnsupportedModelError, match=r"is planned for .* devices, and .*: give --engine .*llama_cpp"):
        ullage.plan("Qwen3-8B", engine=engine, gpu=gpu, context="8K")


@pytest.mark.parametrize("gpu", ["M3-Max-128GB", "Arc-A770-16GB", "MI300X", "cpu"])
def test_llama_cpp_is_planned_on_every_kind(gpu: str) -> None:
    assert ullage.plan("Qwen3-8B", engine="llama.cpp", quant="q4_k_m", gpu=gpu, context="8K").devices
