"""The program as a person or a program starts it: exit codes, one line of error, stable keys, plain text."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import ullage
from ullage.cli import VERBS, load, main, parser
from ullage.domain.plan import Verdict
from ullage.errors import InputError

KEYS = {
    "schema",
    "verdict",
    "refusals",
    "binding",
    "model",
    "engine",
    "workload",
    "devices",
    "capacity",
    "settings",
    "remedies",
    "command",
    "notes",
}
DEVICE_KEYS = {"id", "name", "total_bytes", "verdict", "peak", "entries"}
ENTRY_KEYS = {"purpose", "phase", "low", "expected", "high", "budgeted", "because", "source"}
CAPACITY_KEYS = {"kv_bytes_per_token", "kv_cache_bytes", "kv_blocks", "kv_tokens", "max_context_tokens", "max_sequences"}
NOT_FOR_A_PLAN = {"typer", "rich", "cattrs", "attr", "psutil", "pynvml", "huggingface_hub", "csv", "argparse"}


def start(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    own = {name: value for name, value in os.environ.items() if name not in {"NO_COLOR", "COLUMNS", "PYTHONIOENCODING"}}
    command = [sys.executable, "-m", "ullage", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env={**own, **environment})


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("plan", "Qwen3-8B", "--gpu", "H100-80GB"), 0),
        (("plan", "Qwen3-32B", "--gpu", "4090", "--context", "32k"), 1),
        (("plan", "Qwen3-8B", "--gpu", "H1000"), 2),
        (("plan", "Qwen3-8B", "--gpu", "H100", "--context", "many"), 2),
        (("plan", "Qwen3-8B", "--gpu", "H100", "--context", "0"), 2),
        (("plan", "Qwen3-8B", "--gpu", "H100", "--set", "max_num_batched_token=5"), 2),
        (("plan", "Qwen3-8B", "--gpu", "H100", "--set", "tensor_parallel_size=2"), 2),
        (("plan", "Qwen3-8B", "--gpu", "H100", "--engine", "vlm"), 2),
        (("plan", "Qwen3-8B", "--gpu", "H100", "--objective", "speed"), 2),
        (("plan", "Qwen3-8B", "--gpu", "H100", "--apply", "9"), 2),
        (("plan", "Qwen3-8B", "--gpu", "H100", "--tp", "3"), 2),
        (("plan", "Qwen3-8B", "--gpuu", "H100"), 2),
        (("plan",), 2),
        (("plna",), 2),
        (("plan", "no-such-model", "--gpu", "H100"), 2),
        (("plan", "./no-such-model", "--gpu", "H100"), 4),
        (("plan", "some-org/some-model", "--gpu", "H100", "--offline"), 4),
        (("plan", "Qwen3-8B", "--gpu", "H100", "-o", "/no/such/folder/plan.json"), 4),
        (("plan", "Qwen3-8B", "--gpu", "H100", "-o", ""), 4),
        (("plan", "Qwen3-8B", "--gpu", "H100", "-o", "."), 4),
        (("plan", "Qwen3-8B", "--gpu", "H100", "-o", "x" * 300), 4),
        (("plan", "Qwen3-8B", "--gpu", "0GiB"), 2),
        (("plan", "Qwen3-8B", "--gpu", "9" * 5000 + "xH100"), 2),
        (("plan", "Qwen3-8B", "--gpu", "H100", "--tp", "9" * 5000), 2),
        (("check", "--gpu", "H100", "--", "vllm", "serve", "Qwen/Qwen3-8B"), 0),
        (("check", "--gpu", "H100", "--", "vllm", "serve", "Qwen/Qwen3-8B", "--max-lenn", "5"), 1),
        (("check", "--gpu", "H100", "--", "make", "coffee"), 2),
        (("models",), 0),
        (("models", "Qwen3-8B"), 0),
        (("devices", "H100"), 0),
        (("devices", "H1000"), 2),
        (("engines", "vllm"), 0),
        (("--version",), 0),
        (("--help",), 0),
        ((), 0),
    ],
    ids=lambda value: " ".join(value)[:80] if isinstance(value, tuple) else str(value),
)
def test_the_exit_code_says_what_happened(words: tuple[str, ...], code: int) -> None:
    done = start(*words)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    if code > 1:
        assert done.stdout == ""
        assert done.stderr.startswith("ullage: ")
        assert done.stderr.count("\n") == 1


def test_an_unknown_model_type_ends_with_three_and_names_it(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "quantum"}')
    done = start("plan", str(tmp_path), "--gpu", "H100")
    assert done.returncode == 3
    assert "'quantum'" in done.stderr


@pytest.mark.parametrize("data", [b"", b"{", b"\x00\xff", b'{"model_type": "llama"}', b'{"model_type": "llama", "hidden_size": "x"}'])
def test_a_broken_configuration_ends_with_three_and_one_line(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "config.json").write_bytes(data)
    done = start("plan", str(tmp_path), "--gpu", "H100")
    assert done.returncode == 3
    assert done.stderr.count("\n") == 1


def test_the_json_has_exactly_its_keys() -> None:
    values = json.loads(start("plan", "Qwen3-8B", "--gpu", "2xH100", "--json").stdout)
    assert set(values) == KEYS
    assert values["schema"] == "ullage.plan/1"
    assert set(values["devices"][0]) == DEVICE_KEYS
    assert set(values["devices"][0]["entries"][0]) == ENTRY_KEYS
    assert set(values["capacity"]) == CAPACITY_KEYS
    assert set(values["command"]) == {"argv", "env", "files"}
    assert set(values["model"]) == {"name", "parameters", "weight_bytes"}
    assert isinstance(values["capacity"]["max_context_tokens"], int)


def test_a_remedy_has_its_keys_and_can_be_applied() -> None:
    words = ("plan", "Qwen3-32B", "--gpu", "4090", "--context", "32k", "--concurrency", "1", "--json")
    before = json.loads(start(*words).stdout)
    assert before["verdict"] == "does_not_fit"
    assert set(before["remedies"][0]) == {"changes", "frees_bytes", "cost", "verdict"}
    after = json.loads(start(*words, "--apply", "1").stdout)
    assert after["verdict"] == before["remedies"][0]["verdict"]


def test_a_check_names_what_is_wrong() -> None:
    words = ("check", "--gpu", "H100", "--json", "--", "vllm", "serve", "Qwen/Qwen3-8B", "--enable-paging")
    values = json.loads(start(*words).stdout)
    assert set(values) == KEYS | {"findings"}
    assert values["findings"][0]["wrong"] is True
    assert "--enable-paging" in values["findings"][0]["text"]


def test_text_that_is_not_for_a_terminal_has_no_escapes_and_fits_the_width() -> None:
    done = start("plan", "Qwen3-8B", "--gpu", "H100", NO_COLOR="1", COLUMNS="90")
    assert "\x1b" not in done.stdout
    assert done.stdout.startswith("FITS")
    assert all(len(line) <= 90 for line in done.stdout.splitlines())


def test_a_screen_without_unicode_gets_plain_letters() -> None:
    done = start("plan", "Qwen3-8B", "--gpu", "H100", PYTHONIOENCODING="ascii")
    assert done.stdout.isascii()
    assert "[WWW" in done.stdout


def test_an_explanation_has_every_formula_and_setting() -> None:
    done = start("plan", "Qwen3-8B", "--gpu", "H100", "--explain")
    assert "Every number" in done.stdout
    assert "max_num_batched_tokens = " in done.stdout


def test_an_answer_can_be_put_down_in_a_file(tmp_path: Path) -> None:
    done = start("plan", "Qwen3-8B", "--gpu", "H100", "-o", str(tmp_path / "plan.json"))
    assert done.stdout == ""
    assert json.loads((tmp_path / "plan.json").read_text())["verdict"] == "fits"


def test_a_reader_that_leaves_early_is_no_error() -> None:
    words = f"{sys.executable} -m ullage plan Qwen3-8B --gpu H100 --explain | head -n 1"
    done = subprocess.run(["sh", "-c", words], capture_output=True, text=True, check=False, timeout=60)  # noqa: S607 - any shell
    assert done.stdout.startswith("FITS")
    assert done.stderr == ""


@pytest.mark.parametrize("words", [("plan", "Qwen3-8B", "--gpu", "H100"), ("models",), ("--version",), ("--help",), ("plan", "--help")])
def test_a_full_disk_is_one_line_and_ends_with_four(words: tuple[str, ...]) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "ullage", *words], stdout=full, stderr=subprocess.PIPE, text=True, check=False, timeout=60
        )
    assert done.returncode == 4
    assert done.stderr.startswith("ullage: standard output cannot be written")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("words", [("--gpu", "H1000"), ("--gpuu", "H100"), ("--gpu", "H100", "--set", "x=1")])
def test_an_error_is_an_object_where_json_was_asked_for(words: tuple[str, ...]) -> None:
    done = start("plan", "Qwen3-8B", *words, "--json")
    values = json.loads(done.stdout)
    assert set(values) == {"schema", "error", "exit_code"}
    assert values["schema"] == "ullage.error/1"
    assert values["exit_code"] == done.returncode == 2
    assert done.stderr == f"ullage: {values['error']}\n"


def test_a_command_with_a_remedy_applied_has_no_finding_of_the_one_written() -> None:
    words = ("check", "--gpu", "4090", "--json", "--apply", "1", "--", "vllm", "serve", "Qwen/Qwen3-8B", "--max-lenn", "5")
    done = start(*words)
    values = json.loads(done.stdout)
    assert "findings" not in values
    assert done.returncode == (0 if values["verdict"] in {"fits", "tight"} else 1)


def test_a_command_in_quotes_is_the_command() -> None:
    words = ("vllm", "serve", "Qwen/Qwen3-8B", "--max-model-len", "8192")
    assert start("check", "--gpu", "H100", "--", " ".join(words)).stdout == start("check", "--gpu", "H100", "--", *words).stdout
    broken = start("check", "--gpu", "H100", "--", "vllm serve 'Qwen/Qwen3-8B")
    assert broken.returncode == 2
    assert "close the quote" in broken.stderr


def test_an_empty_line_stands_before_where_the_numbers_are_from() -> None:
    lines = start("plan", "Qwen3-8B", "--gpu", "H100").stdout.splitlines()
    assert lines[next(index for index, line in enumerate(lines) if line.startswith("Numbers:")) - 1] == ""


def test_a_model_is_described_in_words() -> None:
    told = start("models", "Qwen/Qwen3-8B").stdout
    assert "sized by rule" in told
    assert "8,190,735,360" in told
    assert not {"False", "[]", "_"} & set(told.replace("[", " [").split())
    assert "unread" not in told


def test_the_json_repeats_the_load_that_was_asked_for() -> None:
    values = json.loads(start("plan", "Qwen3-8B", "--gpu", "H100", "--context", "8k", "--concurrency", "3", "--json").stdout)
    assert values["workload"] == {"context_tokens": 8000, "concurrent_sequences": 3}


def test_a_plan_imports_nothing_it_does_not_need() -> None:
    words = "('plan', 'Qwen3-8B', '--gpu', 'H100', '--json')"
    code = f"import sys; from ullage import cli; cli.main({words}); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert not NOT_FOR_A_PLAN & {name.partition(".")[0] for name in done.stderr.split()}


def test_the_parser_knows_every_option_of_every_verb() -> None:
    typer = pytest.importorskip("typer")
    group = typer.main.get_command(parser())
    for name in VERBS:
        known = {spelling for parameter in group.commands[name].params for spelling in parameter.opts}
        assert {spelling for option in load(name).options for spelling in option.spellings} <= known


def test_the_library_gives_what_the_program_prints() -> None:
    plan = ullage.plan("Qwen3-8B", gpu="H100-80GB", context=32768, concurrency=4, set={"max_num_seqs": 16})
    assert plan.verdict is Verdict.FITS
    assert plan.case.settings.integer("max_num_seqs") == 16
    assert plan.case.workload.context_tokens == 32768


def test_the_library_checks_a_command_given_as_one_line_or_as_words() -> None:
    line = ullage.check("vllm serve Qwen/Qwen3-8B --max-model-len 8192", gpu="3090")
    words = ullage.check(["vllm", "serve", "Qwen/Qwen3-8B", "--max-model-len", "8192"], gpu="3090")
    assert line.capacity == words.capacity
    assert line.case.settings.integer("max_model_len") == 8192


def test_a_plan_prints_as_its_verdict_and_its_parts_in_a_line() -> None:
    plan = ullage.plan("Qwen3-8B", gpu="H100-80GB")
    assert str(plan) == f"FITS: {plan.binding}"
    assert "Qwen/Qwen3-8B" in repr(plan)
    assert all(len(repr(part)) < 400 for part in (plan, plan.case.model, plan.case.model.checkpoint, plan.case.model.architecture))


@pytest.mark.parametrize(
    "options", [{"gpuu": "H100"}, {"gpu": "H100", "tp": 0}, {"gpu": "H100", "tp": True}, {"gpu": 3.5}, {"engine": "nosuch"}]
)
def test_a_wrong_option_of_the_library_is_an_input_error(options: dict[str, object]) -> None:
    with pytest.raises(InputError):
        ullage.plan("Qwen3-8B", **options)


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (("plan", "Qwen3-8B", "--gpu", "4090", "--decode-rate", "9"), "--workload FILE"),
        (("workload", "requests.json", "--overlap", "9"), "--split window or overlap"),
        (("serve", "Qwen3-8B", "--gpu", "4090", "--into", "here"), "--export FORM"),
    ],
)
def test_an_option_without_the_one_it_belongs_to_is_refused_rather_than_left_out(
    words: tuple[str, ...], wanted: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main((*words, "--offline")) == 2
    assert wanted in capsys.readouterr().err


def test_a_dash_as_the_file_is_standard_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)

    assert main(("plan", "Qwen3-8B", "--gpu", "H100", "-o", "-")) == 0

    assert "Qwen3-8B" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


# "MISSING" stands for a path where nothing is.
ON_MISSING: tuple[tuple[str, ...], ...] = (
    ("plan", "MISSING"),
    ("plan", "Qwen3-0.6B", "--workload", "MISSING"),
    ("plan", "Qwen3-0.6B", "--baselines", "MISSING"),
    ("check", "--", "vllm", "serve", "MISSING"),
    ("models", "MISSING"),
    ("serve", "MISSING"),
    ("serve", "Qwen3-0.6B", "--workload", "MISSING"),
    ("serve", "Qwen3-0.6B", "--engine-dir", "MISSING"),
    ("watch", "http://127.0.0.1:1", "--plan", "MISSING"),
    ("diagnose", "MISSING"),
    ("tune", "MISSING"),
    ("tune", "Qwen3-0.6B", "--workload", "MISSING"),
    ("baselines", "import", "MISSING"),
    ("workload", "MISSING"),
    ("workload", __file__, "--tokenizer", "MISSING"),
)


@pytest.mark.parametrize(
    "words",
    ON_MISSING,
    ids=lambda words: " ".join(word for word in words if word != __file__),
)
def test_a_path_that_is_not_there_is_the_worlds_failure_for_every_verb(
    words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    missing = str(tmp_path / "missing")
    own = tuple(missing if word == "MISSING" else word for word in words)
    assert main((own[0], "--offline", *own[1:]) if own[0] in {"plan", "check", "serve", "tune", "workload"} else own) == 4
    assert missing in capsys.readouterr().err


def test_every_verb_that_reads_a_file_is_asked_for_one_that_is_not_there() -> None:
    assert {words[0] for words in ON_MISSING} == set(VERBS) - {"devices", "engines"}
