"""``ullage baselines`` and what a plan takes from it, through the command line's own entrance and a real store."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.runs import promised, seen, stored_run
from ullage import plan, wire
from ullage.cli import main
from ullage.domain.baseline import Exit, Growth, OutOfMemory, Run
from ullage.domain.ledger import Phase, Purpose
from ullage.frozen import replace
from ullage.planning.record import run_of
from ullage.units import GiB, MiB
from ullage.world.real import RealStore

PREFILL = Purpose.ACTIVATIONS, Phase.PREFILL
QUESTION = ("plan", "Qwen3-8B", "--engine", "transformers", "--gpu", "RTX 4090", "--context", "4096", "--offline")
STORE = RealStore()


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def run_with(number: int, version: str, nbytes: int, **changes: object) -> Run:
    return stored_run(number, version, promised=(promised(GiB, *PREFILL),), seen=(seen(nbytes, *PREFILL),), **changes)


def said(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    capsys.readouterr()
    code = main(words)
    out, err = capsys.readouterr()
    return code, out + err


def json_of(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, object]:
    _, text = said(capsys, *words, "--json")
    found = wire.loads(text)
    assert isinstance(found, dict)
    return found


def taught_runs(count: int = 3) -> tuple[Run, ...]:
    """Runs of the question in which the prefill took a tenth more than expected."""
    found = plan("Qwen3-8B", engine="transformers", gpu="RTX 4090", context="4096", offline=True)
    runs = []
    for number in range(count):
        run = run_of(found, id=f"taught-{number}", started_at=stored_run(number).started_at)
        amount = run.promise("gpu0", *PREFILL)
        assert amount is not None
        reading = seen(amount.expected * 11 // 10, *PREFILL)
        runs.append(replace(run, seen=(reading,), exit=Exit.FINISHED))
    return tuple(runs)


def test_an_empty_store_is_said_to_be_empty(capsys: pytest.CaptureFixture[str]) -> None:
    code, text = said(capsys, "baselines")
    assert code == 0
    assert "No run is stored yet" in text
    assert "No run of vlm is stored" in said(capsys, "baselines", "--engine", "vlm")[1]


def test_runs_are_listed_and_one_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    event = OutOfMemory(at=stored_run().started_at, device="gpu0", wanted_bytes=2 * GiB, text="CUDA out of memory")
    growth = Growth(device="gpu0", bytes_per_token=147456.0, from_tokens=10, to_tokens=9000, points=40)
    STORE.append(run_with(1, "0.19.0", GiB + 500 * MiB, out_of_memory=(event,), growth=(growth,), note="a note"))
    code, text = said(capsys, "baselines", "list")
    assert code == 0
    assert "run-001" in text
    code, text = said(capsys, "baselines", "show", "run-0")
    assert code == 0
    for words in ("above by 300.0 MiB", "out of memory on gpu0 for 2.00 GiB: CUDA out of memory", "147,456 bytes a token", "a note"):
        assert words in text
    values = json_of(capsys, "baselines", "show", "run-001")
    assert values["schema"] == "ullage.baseline/1"
    assert values["terms"][0]["standing"] == "above"  # type: ignore[index, call-overload]


def test_a_regression_gives_exit_1_only_where_that_was_asked_for_and_names_the_term(capsys: pytest.CaptureFixture[str]) -> None:
    for number, (version, nbytes) in enumerate((("0.19.0", GiB), ("0.20.0", GiB + 400 * MiB))):
        STORE.append(run_with(number, version, nbytes))
    code, text = said(capsys, "baselines", "compare", "--fail-on-regression")
    assert code == 1
    assert "activations in prefill on gpu0 grew by 400.0 MiB" in text
    assert said(capsys, "baselines", "compare", "run-000", "run-001")[0] == 0
    assert said(capsys, "baselines", "compare", "vllm@0.20.0", "vllm@0.19.0", "--fail-on-regression")[0] == 0
    assert said(capsys, "baselines", "--fail-on-regression", "compare", "--tolerance", "50%")[0] == 0
    values = json_of(capsys, "baselines", "compare")
    assert (values["schema"], values["regression"]) == ("ullage.baselines.compare/1", True)


def test_runs_of_which_nothing_was_seen_pass_no_gate(capsys: pytest.CaptureFixture[str]) -> None:
    STORE.append(run_with(0, "0.19.0", GiB))
    STORE.append(stored_run(1, "0.20.0"))
    code, text = said(capsys, "baselines", "compare", "--fail-on-regression")
    assert code == 1
    assert "NOT COMPARED" in text
    assert "nothing was seen of the memory of run-001" in " ".join(text.split())
    assert json_of(capsys, "baselines", "compare")["compared"] is False
    (line,) = (line for line in said(capsys, "baselines", "list")[1].splitlines() if "run-001" in line)
    assert " - " in line


def test_the_table_shows_what_was_seen_beside_what_was_to_be_expected(capsys: pytest.CaptureFixture[str]) -> None:
    STORE.append(run_with(0, "0.19.0", GiB))
    longer = run_with(1, "0.20.0", 3 * GiB, settings=stored_run().settings.with_(max_model_len=8192))
    STORE.append(replace(longer, promised=(promised(3 * GiB, *PREFILL),)))
    (line,) = (line for line in said(capsys, "baselines", "compare")[1].splitlines() if "prefill" in line)
    assert line.split()[3:9] == ["1.00", "GiB", "3.00", "GiB", "3.00", "GiB"]


def test_runs_are_carried_over_and_forgotten(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(3):
        STORE.append(run_with(number, "0.19.0", GiB))
    path = str(tmp_path / "runs.json")
    assert "3 runs written" in said(capsys, "baselines", "export", path)[1]
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "other"))
    assert "3 runs added; 0" in said(capsys, "baselines", "import", path)[1]
    assert "0 runs added; 3" in said(capsys, "baselines", "import", path)[1]
    other = tmp_path / "other.json"
    assert said(capsys, "baselines", "export", "-o", str(other))[0] == 0
    assert STORE.read_export(str(other)) == STORE.runs()
    for words in (("-",), ("-", "--json"), ("-o", "-")):
        assert wire.loads(said(capsys, "baselines", "export", *words)[1]) == wire.loads(other.read_text())
    assert "run-002" in said(capsys, "baselines", "show", "last")[1]
    assert "2 runs forgotten" in said(capsys, "baselines", "delete", "run-000", "run-001")[1]
    assert [run.id for run in STORE.runs()] == ["run-002"]


@pytest.mark.parametrize(
    ("words", "words_said"),
    [
        (("lst",), "did you mean list"),
        (("show",), "write ullage baselines show ID"),
        (("show", "x"), "is no stored run"),
        (("delete",), "name the runs"),
        (("compare",), "no run is stored yet"),
        (("compare", "--tolerance", "much"), "write a percentage"),
        (("export",), "export FILE"),
        (("list", "all"), "write ullage baselines list"),
    ],
)
def test_a_wrong_request_is_refused_with_the_next_step(capsys: pytest.CaptureFixture[str], words: tuple[str, ...], words_said: str) -> None:
    if "--tolerance" in words:
        STORE.append(run_with(0, "0.19.0", GiB))
        STORE.append(run_with(1, "0.20.0", GiB))
    code, text = said(capsys, "baselines", *words)
    assert code == 2
    assert words_said in text


def test_a_plan_takes_what_was_measured_here_and_none_leaves_it_out(capsys: pytest.CaptureFixture[str]) -> None:
    _, before = said(capsys, *QUESTION)
    for run in taught_runs():
        STORE.append(run)
    _, after = said(capsys, *QUESTION)
    assert "measured here (3 runs): 1.100 of what the rule expects" in " ".join(after.split())
    assert said(capsys, *QUESTION, "--baselines", "none")[1] == before


def test_an_exported_file_teaches_a_plan_for_another_machine(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "runs.json"
    path.write_text(STORE.as_export(taught_runs()))
    assert "measured here (3 runs)" in " ".join(said(capsys, *QUESTION, "--baselines", str(path))[1].split())
    assert said(capsys, *QUESTION, "--baselines", str(tmp_path / "none.json"))[0] == 4
    found = plan("Qwen3-8B", engine="transformers", gpu="RTX 4090", context=4096, offline=True, baselines=str(path))
    assert any("narrow activations" in note for note in found.notes)


def test_check_takes_it_too(capsys: pytest.CaptureFixture[str]) -> None:
    run = taught_runs(1)[0]
    STORE.append(replace(run, engine="vllm"))
    assert said(capsys, "check", "--gpu", "H100-80GB", "--offline", "--", "vllm", "serve", "Qwen/Qwen3-8B")[0] == 0


def test_a_store_that_cannot_be_read_stops_no_plan(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "state" / "ullage" / "ullage.db"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"this is no database " * 500)
    code, text = said(capsys, *QUESTION)
    assert code == 0
    assert "planned without what this machine remembers" in text
    assert said(capsys, "baselines")[0] == 4


def test_a_plan_loads_no_database_where_nothing_was_ever_stored(tmp_path: Path) -> None:
    program = f"import sys; from ullage.cli import main; main({QUESTION!r}); assert 'sqlite3' not in sys.modules"
    environment = {**os.environ, "XDG_STATE_HOME": str(tmp_path / "none")}
    subprocess.run([sys.executable, "-c", program], env=environment, check=True, capture_output=True)
    assert not (tmp_path / "none").exists()
