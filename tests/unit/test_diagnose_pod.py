"""A pod's description: the limit that killed it is host memory, and image and command are the engine's."""

import pytest
from tests.unit.test_diagnose import diagnosed

from ullage.domain.cause import Family
from ullage.units import GiB

DESCRIBED = """\
Containers:
  vllm:
    Image:         vllm/vllm-openai:v0.11.0
    Command:
      vllm
      serve
    Args:
      Qwen/Qwen3-8B
      --max-model-len
      8192
    State:          Waiting
      Reason:       CrashLoopBackOff
    Last State:     Terminated
      Reason:       OOMKilled
      Exit Code:    137
    Limits:
      cpu:             16
      memory:          {limit}
      nvidia.com/gpu:  1
    Requests:
      memory:          4Gi
"""
SIDECAR = """\
  proxy:
    Image:         envoyproxy/envoy:v1.30.0
    Args:
      --config
      /x.yaml
    Limits:
      memory:          128Mi
"""
WRITTEN = """\
    containers:
    - name: vllm
      image: "vllm/vllm-openai:v0.11.0"
      args: ["--model", "Qwen/Qwen3-8B", "--max-model-len", "8192"]
      resources:
        limits:
          memory: 32Gi
    lastState:
      terminated:
        exitCode: 137
        reason: OOMKilled
"""


@pytest.mark.parametrize(
    ("limit", "nbytes"), [("32Gi", 32 * GiB), ("500Mi", 500 << 20), ("34G", 34_000_000_000), ("34359738368", 32 * GiB)]
)
def test_the_limit_of_a_container_that_was_killed_is_that_of_its_host_memory(limit: str, nbytes: int) -> None:
    found = diagnosed(DESCRIBED.format(limit=limit), gpu="5090")
    assert found.causes[0].family is Family.HOST
    assert found.log.host_limit_bytes == nbytes
    assert found.budget is not None
    assert (found.budget.device, found.budget.total_bytes) == ("host", nbytes)


@pytest.mark.parametrize("text", [DESCRIBED.format(limit="32Gi"), DESCRIBED.format(limit="32Gi") + SIDECAR, WRITTEN])
def test_engine_release_and_model_are_those_of_image_and_command(text: str) -> None:
    found = diagnosed(text, gpu="5090")
    assert (found.log.engine, found.log.version, found.model) == ("vllm", "0.11.0", "Qwen/Qwen3-8B")
    assert found.command[-2:] == ("--max-model-len", "8192")
    assert found.log.host_limit_bytes == 32 * GiB


@pytest.mark.parametrize("options", [{}, {"gpu": "5090"}])
def test_nothing_of_the_devices_memory_is_offered_for_the_hosts(options: dict[str, object]) -> None:
    found = diagnosed(DESCRIBED.format(limit="32Gi"), **options)
    assert found.changes
    assert not {change.setting for change in found.changes} & {"gpu_memory_utilization", "max_model_len", "tensor", "max_num_seqs"}
    assert any(change.setting == "host memory" for change in found.changes)


def test_a_sidecar_before_the_one_that_was_killed_says_nothing_of_it() -> None:
    head, rest = DESCRIBED.format(limit="32Gi").split("\n", 1)
    found = diagnosed(f"{head}\n{SIDECAR}{rest}", gpu="5090")
    assert (found.model, found.log.host_limit_bytes) == ("Qwen/Qwen3-8B", 32 * GiB)


def test_what_was_asked_of_the_host_beside_cards_is_said_without_the_sizes_of_the_cards() -> None:
    text = (
        "INFO [gpu_model_runner.py:1] Model loading took 15.2700 GiB and 20 seconds\n"
        "RuntimeError: [enforce fail at alloc_cpu.cpp:118] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate "
        "8589934592 bytes. Error code 12 (Cannot allocate memory)\n"
    )
    found = diagnosed(text, engine="vllm", model="Qwen3-8B", gpu="5090")
    assert found.budget is not None
    assert (found.budget.device, found.budget.requested_bytes) == ("host", 8 * GiB)
    assert all(term.measured is None for term in found.budget.terms)


def test_a_log_that_names_no_image_is_as_it_was() -> None:
    assert diagnosed("  memory: 4Gi\nvllm-1 exited with code 137\n").log.host_limit_bytes is None
