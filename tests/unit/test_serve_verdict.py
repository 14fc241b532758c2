"""A command that is only shown says whether it fits, as the plan of the same does."""

import json

import pytest
from tests.runtime.real_model import smollm2_file

from ullage.cli import main

TOO_SMALL = ("--engine", "vllm", "--gpu", "8GiB", "--offline", "Qwen3-8B")
THEIRS = ("--gpu", "8GiB", "--offline", "--", "vllm", "serve", "Qwen/Qwen3-8B")


@pytest.mark.parametrize("form", [("--dry-run",), ("--export", "compose"), ("--export", "systemd")])
@pytest.mark.parametrize("words", [TOO_SMALL, THEIRS])
def test_what_does_not_fit_is_shown_and_said_with_the_exit_code_of_the_plan(
    form: tuple[str, ...], words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(("serve", *form, *words)) == 1
    shown = capsys.readouterr()
    assert "Qwen/Qwen3-8B" in shown.out
    assert "GiB too much" in shown.err
    assert "too much" not in shown.out


def test_json_has_the_verdict_of_the_plan(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(("serve", "--dry-run", "--json", *TOO_SMALL)) == 1
    said = json.loads(capsys.readouterr().out)
    assert main(("plan", "--json", *TOO_SMALL)) == 1
    plan = json.loads(capsys.readouterr().out)
    assert {name: said[name] for name in ("verdict", "binding", "remedies")} == {
        name: plan[name] for name in ("verdict", "binding", "remedies")
    }


def test_what_to_change_is_said_where_a_change_helps(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(("serve", "--dry-run", "--engine", "vllm", "--gpu", "16GiB", "--context", "16K", "--offline", "Qwen3-8B")) == 1
    assert "it helps to change cpu_offload_gb=8" in capsys.readouterr().err


def test_a_flag_that_does_not_exist_ends_as_check_does(capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--gpu", "80GiB", "--offline", "--", "vllm", "serve", "Qwen/Qwen3-8B", "--max-modle-len", "500")
    assert main(("serve", "--dry-run", *words)) == main(("check", *words)) == 1
    assert "the command stops before anything is loaded" in capsys.readouterr().err


def test_what_fits_is_shown_without_a_word(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(("serve", "--dry-run", "--engine", "vllm", "--gpu", "80GiB", "--context", "8K", "--offline", "Qwen3-8B")) == 0
    assert capsys.readouterr().err == ""


def test_an_engine_that_fetches_nothing_is_not_started_without_weights(capsys: pytest.CaptureFixture[str]) -> None:
    machine = ("--engine", "runtime", "--gpu", "cpu", "--host-memory", "64GiB", "--context", "1024", "--offline")
    theirs = (*machine[2:], "--", "python", "-m", "ullage.runtime", "Qwen/Qwen3-8B", "--device", "cpu")
    for words in ((*machine, "Qwen3-8B"), theirs):
        assert main(("serve", *words)) == 4
        assert "hf download Qwen/Qwen3-8B" in capsys.readouterr().err
        assert main(("serve", "--dry-run", *words)) == 0
        assert "hf download Qwen/Qwen3-8B" in capsys.readouterr().err
    main(("serve", "--dry-run", *machine, str(smollm2_file())))
    assert capsys.readouterr().err == ""


def test_a_plan_that_nothing_helps_says_what_fills_the_device_and_what_frees_most(capsys: pytest.CaptureFixture[str]) -> None:
    small = ("--engine", "runtime", "--gpu", "cpu", "--host-memory", "300MiB", "--context", "4096", "--baselines", "none", "--offline")
    for words in ((*small, str(smollm2_file())), TOO_SMALL):
        assert main(("plan", "--json", *words)) == 1
        plan = json.loads(capsys.readouterr().out)
        (why,) = [note for note in plan["notes"] if note.startswith("no single change makes it fit: ")]
        assert plan["remedies"] == []
        assert "the largest parts are" in why
        assert "weights" in why
