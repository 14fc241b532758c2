"""``serve --workload``: the plan is sized by it, and the guard is told what it says of answers."""

import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.cases import A100, vllm_case
from tests.runs import stored_run

from ullage import wire
from ullage.cli import main
from ullage.commands.foreseen import foresight_of
from ullage.commands.serve import VERB
from ullage.commands.verb import Flags
from ullage.domain.admission import CostModel
from ullage.domain.baseline import Growth, MachineMark
from ullage.domain.case import Case
from ullage.domain.workload import LengthBin, Lengths, Workload
from ullage.engines import find
from ullage.frozen import replace
from ullage.planning.record import mark_machine, mark_model

COST = CostModel(pool_bytes=1 << 20, steps=((16, 16), (4096, 4096)), longest_tokens=4096, most_sequences=8)
LENGTHS = Lengths(bins=(LengthBin(100, 20, 8),), longest_prompt_tokens=100, longest_output_tokens=20, longest_total_tokens=120)


def told(case: Case, runs: tuple[Any, ...] = (), engine: str = "vllm", page: int = 16, **flags: Any) -> Any:
    world = SimpleNamespace(store=SimpleNamespace(runs=lambda **_: runs))
    planned = SimpleNamespace(case=case, capacity=SimpleNamespace(block_tokens=page))
    return foresight_of(Flags(flags), world, SimpleNamespace(engine=find(engine)), planned, COST)  # type: ignore[arg-type]


@pytest.fixture
def case() -> Case:
    return vllm_case("Qwen3-8B", "0.10.2", (A100[0], 190.0, A100[2]))


def test_without_runs_and_workload_the_worst_case_holds_and_that_is_said(case: Case) -> None:
    known, ahead_s, said = told(case)
    assert (known, ahead_s) == (None, 0.0)
    assert said.endswith("lets in by the worst case")
    assert told(case, ahead=9)[:2] == (None, 9.0)


def test_a_run_of_this_model_here_is_looked_ahead_by_unless_told_otherwise(case: Case) -> None:
    grown = (Growth(device="gpu0", bytes_per_token=1.0, from_tokens=1, to_tokens=9, points=3),)
    run = stored_run(model=mark_model(case.model), machine=MachineMark(devices=mark_machine(case).devices), growth=grown)
    known, ahead_s, said = told(case, (run,))
    assert (known.source, ahead_s) == ("1 earlier run of this model here", 30.0)
    assert "by a forecast of the pool" in said
    assert told(case, (run,), worst_case=True)[:2] == (None, 0.0)
    assert told(case, (run,), baselines="none")[0] is None
    assert told(case, (run,), ahead=0)[:2] == (None, 0.0)


def test_an_engine_that_gives_a_request_all_its_cache_at_once_is_let_in_to_by_the_worst_case_whatever_is_asked(case: Case) -> None:
    for engine, page in (("llama_cpp", 1), ("transformers", 1), ("exllamav3", 256)):
        known, ahead_s, said = told(case, engine=engine, page=page, ahead=9)
        assert (known, ahead_s) == (None, 0.0)
        assert said.endswith("lets in by the worst case")


def test_an_engine_that_serves_from_a_pool_of_pages_is_looked_ahead_of_though_it_has_places_elsewhere(case: Case) -> None:
    assert told(case, engine="transformers", page=256, ahead=9)[1] == 9.0


def test_a_workload_says_how_long_answers_are(case: Case) -> None:
    known, ahead_s, said = told(replace(case, workload=Workload(context_tokens=120, lengths=LENGTHS)), ahead=5)
    assert (set(known.answers), ahead_s) == ({20}, 5.0)
    assert said.endswith("from the workload")


def test_the_plan_is_sized_by_the_longest_request(tmp_path: Path) -> None:
    data = tmp_path / "requests.jsonl"
    asked = {"messages": [{"role": "user", "content": "word " * 300}, {"role": "assistant", "content": "yes " * 50}]}
    data.write_text(wire.dumps(asked) + "\n")  # type: ignore[arg-type]
    words = ["serve", "Qwen3-0.6B", "--engine", "vllm", "--gpu", "24GiB", "--dry-run", "--offline", "--json", "--workload", str(data)]
    seen = subprocess.run([sys.executable, "-m", "ullage", *words], capture_output=True, check=True, text=True)
    length = re.search(r"--max-model-len\D+(\d+)", seen.stdout)
    assert length is not None
    assert 350 <= int(length[1]) <= 2000
    assert {"workload", "tokenizer", "ahead", "worst_case"} <= {option.name for option in VERB.options}


@pytest.mark.parametrize("words", [("Qwen3-0.6B", "--engine", "vllm"), ("--", "vllm", "serve", "Qwen/Qwen3-0.6B")])
def test_a_workload_that_is_not_there_is_an_error_and_not_a_server_without_a_plan(words: tuple[str, ...], tmp_path: Path) -> None:
    options = ["--gpu", "24GiB", "--dry-run", "--offline", "--workload", str(tmp_path / "nowhere.jsonl")]
    seen = subprocess.run([sys.executable, "-m", "ullage", "serve", *options, *words], capture_output=True, check=False, text=True)
    assert seen.returncode not in {0, 1}
    assert "nowhere.jsonl does not exist" in seen.stderr


def test_a_misspelt_flag_of_their_command_is_named_before_anything_is_started(capsys: pytest.CaptureFixture[str]) -> None:
    words = ("serve", "--dry-run", "--offline", "--gpu", "24GiB", "--", "vllm", "serve", "Qwen/Qwen3-8B", "--gpu-memory-utilisation", "0.9")
    assert main(words) == 1  # as of `check`
    said = " ".join(capsys.readouterr().out.split())
    assert "--gpu-memory-utilisation 0.9 --host" in said  # the command is theirs, and kept
    assert "the nearest right name is --gpu-memory-utilization" in said


@pytest.mark.parametrize(("counter", "times"), [("the tokeniser of SmolLM2-135M", 1), ("the tokeniser of Qwen/Qwen3-8B", 0)])
def test_lengths_counted_for_another_model_and_a_length_above_the_engines_own_figure_are_explained(
    counter: str, times: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lengths = {"longest_prompt_tokens": 1188, "longest_output_tokens": 400, "longest_total_tokens": 1588, "bins": [[1188, 400, 9]]}
    summary = {"schema": "ullage.workload/1", "tokenizer": {"name": counter, "exact": True}, "lengths": lengths, "times_s": []}
    path = tmp_path / "load.json"
    path.write_text(wire.dumps(summary))  # type: ignore[arg-type]
    main(("plan", "Qwen3-8B", "--engine", "vllm", "--gpu", "24GiB", "--offline", "--workload", str(path)))
    said = " ".join(capsys.readouterr().out.split())
    assert said.count(f"its lengths were counted by {counter}") == times
    assert "the engine's own figure, reckoned in sequences of its full length" in said
