"""``ullage diagnose --run``: a stored run, through the command line's own entrance and a real store."""

from pathlib import Path

import pytest

from tests.runs import CARD, FIRST_DAY, stored_run
from ullage import wire
from ullage.cli import main
from ullage.domain.baseline import Exit, OutOfMemory
from ullage.domain.hyperparameters import Json
from ullage.frozen import replace
from ullage.world.real import RealStore

STORE = RealStore()
TOO_SMALL = (
    "ValueError: To serve at least one request with the models's max seq len (40960), (5.62 GiB KV cache is needed, which is larger than "
    "the available KV cache memory (3.18 GiB). Based on the available memory, the estimated maximum model length is 23152."
)


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def diagnosed(capsys: pytest.CaptureFixture[str], word: str) -> tuple[int, dict[str, Json]]:
    capsys.readouterr()
    code = main(("diagnose", "--run", word, "--json", "--offline"))
    value = wire.loads(capsys.readouterr().out)
    assert isinstance(value, dict)
    return code, value


def first_kind(value: dict[str, Json]) -> object:
    causes = value["causes"]
    assert isinstance(causes, list)
    assert isinstance(causes[0], dict)
    return causes[0]["kind"]


def test_the_last_lines_of_a_failed_run_are_its_log_and_what_is_stored_its_case(capsys: pytest.CaptureFixture[str]) -> None:
    STORE.append(stored_run(1, exit=Exit.CRASHED, log=("INFO 01-14 12:00:01 [core.py:58] starting", TOO_SMALL)))
    code, value = diagnosed(capsys, "run-001")
    assert code == 1
    assert first_kind(value) == "cache_too_small"
    assert value["model"] == "Qwen/Qwen3-8B"
    assert value["budget"] is not None


def test_last_means_the_newest_that_failed(capsys: pytest.CaptureFixture[str]) -> None:
    STORE.append(stored_run(1, exit=Exit.CRASHED, log=("ModuleNotFoundError: No module named 'vllm'",)))
    STORE.append(stored_run(2, exit=Exit.OUT_OF_MEMORY, log=(TOO_SMALL,)))
    STORE.append(stored_run(3, exit=Exit.STOPPED))
    assert first_kind(diagnosed(capsys, "last")[1]) == "cache_too_small"


def test_a_run_without_lines_is_diagnosed_by_its_last_error(capsys: pytest.CaptureFixture[str]) -> None:
    event = OutOfMemory(at=FIRST_DAY, device=CARD.id, text="CUDA out of memory occurred when warming up sampler with 256 dummy requests.")
    STORE.append(stored_run(1, exit=Exit.OUT_OF_MEMORY, out_of_memory=(event,), note="out of memory"))
    _, value = diagnosed(capsys, "last")
    assert first_kind(value) == "sampler"
    assert "its last lines were not stored" in str(value["notes"])


def test_a_run_that_ended_well_has_no_cause_and_none_is_no_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(("diagnose", "--run", "last")) == 2
    assert "no run is stored yet" in capsys.readouterr().err
    STORE.append(stored_run(1, exit=Exit.STOPPED))
    assert diagnosed(capsys, "run-001")[0] == 0
    assert main(("diagnose", "--run", "none")) == 2
    assert "no stored run" in capsys.readouterr().err
    assert main(("diagnose", "--run", "last")) == 2
    assert "no stored run failed, of 1" in capsys.readouterr().err


def test_a_model_that_is_not_found_by_its_name_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    mark = replace(stored_run().model, name="SmolLM2-135M-Instruct.Q4_1")
    STORE.append(stored_run(1, exit=Exit.CRASHED, model=mark, log=(TOO_SMALL,)))
    assert "say with --model where SmolLM2-135M-Instruct.Q4_1 lies" in str(diagnosed(capsys, "last")[1]["notes"])


def test_secrets_and_what_was_asked_are_not_stored_with_the_lines() -> None:
    lines = (
        "token hf_abcdefghijklmnop1234567890 is used",
        "INFO Received request cmpl-1: prompt: 'my diary'",
        "{'prompt': 'my diary'}",
        TOO_SMALL,
    )
    STORE.append(stored_run(1, exit=Exit.CRASHED, log=(*lines, *("x" * 5000 for _ in range(500)))))
    (stored,) = STORE.runs()
    assert len(stored.log) <= 200
    assert max(map(len, stored.log)) <= 500
    STORE.append(stored_run(1, exit=Exit.CRASHED, log=lines))
    (stored,) = STORE.runs()
    assert stored.log == ("token [removed] is used", TOO_SMALL)


def test_a_run_that_somebody_killed_says_the_signal_and_is_no_want_of_memory(capsys: pytest.CaptureFixture[str]) -> None:
    note = "crashed: killed by signal 9; its last line: ullage.runtime: listening on http://127.0.0.1:8000 after 1.00 s"
    STORE.append(stored_run(1, exit=Exit.KILLED, note=note, log=("ullage.runtime: listening on http://127.0.0.1:8000 after 1.00 s",)))
    _, value = diagnosed(capsys, "last")
    assert value["causes"] == []
    assert note in str(value["notes"])


def test_what_was_seen_of_an_end_is_said_of_a_run_whose_lines_nobody_knows(capsys: pytest.CaptureFixture[str]) -> None:
    line = "ullage.runtime: Qwen/Qwen3-8B does not exist: give a directory with .safetensors files, or a .gguf file"
    STORE.append(stored_run(1, exit=Exit.CRASHED, note=f"hopeless: its model is not there ({line})", log=(line,)))
    _, value = diagnosed(capsys, "last")
    assert "its model is not there" in str(value["notes"])
