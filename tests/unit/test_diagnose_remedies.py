"""How far a refused command came, and remedies of a value or a direction that can be right."""

import pytest

from ullage.commands.diagnose import VERB, make_diagnosis
from ullage.domain.cause import Diagnosis, Kind, Stage
from ullage.world import real

NODE = (
    "(EngineCore pid=9) ERROR 10-01 10:00:00 [core.py:1] ValueError: Available memory on node 0 ({}/{} GiB) on startup is less than "
    "desired CPU memory utilization ({}, {} GiB). Decrease --gpu-memory-utilization or reduce CPU memory used by other processes.\n"
)
CACHE = (
    "ValueError: Available memory on node 0 (12.67/15.34 GiB) on kv cache allocation is less than requested memory for kv (60.0 GiB). "
    "Decrease --kv-cache-memory-bytes, VLLM_CPU_KVCACHE_SPACE, or reduce CPU memory used by other processes.\n"
)


def diagnosed(text: str) -> Diagnosis:
    return make_diagnosis(VERB.flags({"offline": True}), iter(text.splitlines(keepends=True)), real.world(offline=True))


@pytest.mark.parametrize(
    "line",
    [
        "vllm serve: error: argument --enable-chunked-prefill: ignored explicit argument 'False'",
        "ValueError: max_num_batched_tokens (2048) is smaller than max_model_len (4096). This effectively limits the length",
        "launch_server.py: error: argument --chunked-prefill-size: invalid int value: 'x'",
        "api_server.py: error: unrecognized arguments: --cuda-graph-capture --prefill-batch",
    ],
)
def test_a_refused_command_is_refused_at_the_start_whatever_its_options_are_called(line: str) -> None:
    found = diagnosed(line + "\n")
    assert found.causes[0].kind is Kind.COMMAND
    assert found.stage is Stage.START


def test_a_command_that_is_refused_after_a_mark_came_that_far() -> None:
    loaded = "INFO 10-01 10:00:40 [gpu_model_runner.py:2653] Starting to load model Qwen/Qwen3-8B...\n"
    found = diagnosed(loaded + "ValueError: max_num_batched_tokens (2048) is smaller than max_model_len (4096).\n")
    assert found.stage is Stage.LOAD


def test_where_nothing_is_free_no_share_is_proposed() -> None:
    found = diagnosed(NODE.format("-0.4", "0.22", "0.02", "0.0"))
    assert [change.setting for change in found.changes] == ["other processes"]


def test_a_share_that_is_proposed_is_one_that_starts() -> None:
    found = diagnosed(NODE.format("8.78", "11.09", "1.0", "11.09"))
    share = next(change for change in found.changes if change.setting == "gpu_memory_utilization")
    assert share.value == 0.79


def test_a_stated_cache_is_given_where_the_share_is_refused_and_lowered_where_it_is_too_large() -> None:
    at_start = next(c for c in diagnosed(NODE.format("8.78", "11.09", "1.0", "11.09")).changes if c.setting == "VLLM_CPU_KVCACHE_SPACE")
    assert "lower" not in at_start.says
    assert at_start.value is not None
    later = next(c for c in diagnosed(CACHE).changes if c.setting == "VLLM_CPU_KVCACHE_SPACE")
    assert "lower" in later.says
