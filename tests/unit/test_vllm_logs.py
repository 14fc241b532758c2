"""vLLM's log lines, as releases have written them (tests/data/vllm_log.jsonl: the line, its fact, and details it must have)."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ullage.engines.vllm.log import clean, read_log_line
from ullage.units import GiB

RECORDED = [json.loads(line) for line in (Path(__file__).parents[1] / "data" / "vllm_log.jsonl").read_text().splitlines()]
PREFIXES = (
    "",
    "INFO 01-14 12:36:51 worker.py:240] ",
    "(EngineCore_DP0 pid=412) INFO 11-21 10:04:11 [gpu_worker.py:298] ",
    "\x1b[0;36m(EngineCore_DP0 pid=412)\x1b[0;0m ERROR 11-21 10:04:11 [core.py:708] ",
    "vllm-1  | (Worker_TP1 pid=7) INFO 11-21 10:04:11 [v1/worker/gpu_worker.py:298] ",
    "(VllmWorkerProcess pid=88) INFO 01-14 12:36:51 model_runner.py:1097] ",
    "(VllmWorker rank=1 pid=88) WARNING 01-14 12:36:51 [gpu_model_runner.py:1097] ",
    "(APIServer pid=1) INFO 11-21 10:04:11 [model.py:1] ",
)


@pytest.mark.parametrize("recorded", RECORDED, ids=[f"{row['name']}-{index}" for index, row in enumerate(RECORDED)])
def test_a_recorded_line_states_its_fact_behind_every_prefix(recorded: dict[str, Any]) -> None:
    for prefix in PREFIXES:
        fact = read_log_line(prefix + recorded["line"])
        assert fact is not None, prefix
        assert fact.name == recorded["name"]
        if recorded["value"] is not None and recorded["value"] != recorded["line"][:200]:
            assert fact.value == recorded["value"]
        assert recorded["details"].items() <= dict(fact.details).items()


def test_what_is_in_bytes_is_a_whole_number() -> None:
    facts = [fact for row in RECORDED if (fact := read_log_line(row["line"])) is not None]
    values = [value for fact in facts for name, value in ((fact.name, fact.value), *fact.details) if name.endswith("_bytes")]
    assert len(values) > 50
    assert all(isinstance(value, int) for value in values)


def test_a_wrapper_that_quotes_the_error_states_the_error() -> None:
    fact = read_log_line(
        "Worker failed with error 'CUDA out of memory. Tried to allocate 1.00 GiB. GPU 0 has a total capacity of 8.00 GiB'"
    )
    assert fact is not None
    assert (fact.name, fact.value, fact.unit) == ("error.torch_oom", GiB, "bytes")


@pytest.mark.parametrize("prefix", PREFIXES)
def test_colours_tags_and_stamps_are_taken_off(prefix: str) -> None:
    assert clean(f"{prefix}Using max model len 4096") == "Using max model len 4096"


@pytest.mark.parametrize("line", ["", "INFO:     Started server process [1]", "Loading safetensors checkpoint shards: 100% 4/4"])
def test_other_lines_state_nothing(line: str) -> None:
    assert read_log_line(line) is None


@given(st.text(max_size=300))
def test_no_line_is_too_strange_to_read(line: str) -> None:
    read_log_line(line)


WORDS = ["Tried to allocate ", "9" * 30, " GiB", "max seq len (", ") KV cache", "\u0663", ".", " blocks: ", "-", "took ", "Model loading "]


@given(st.lists(st.sampled_from(WORDS), max_size=12))
def test_no_line_of_log_words_is_too_strange_to_read(parts: list[str]) -> None:
    read_log_line("".join(parts))
