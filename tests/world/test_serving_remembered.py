"""What ``serve`` remembers of a real process: also of one that was killed with its front, and its release as the engine has it."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.world.test_serving import PATIENCE, Front

from ullage import wire
from ullage.world import installed

pytestmark = pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="processes are looked at through /proc")


def ullage(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "XDG_STATE_HOME": str(folder), "PYTHONPATH": str(folder)}
    return subprocess.run(
        (sys.executable, "-m", "ullage", *words), capture_output=True, text=True, check=False, timeout=60, env=environment
    )


def runs(folder: Path) -> list[dict[str, object]]:
    found = wire.loads(ullage(folder, "baselines", "list", "--json").stdout)
    assert isinstance(found, dict)
    return found["runs"]  # type: ignore[return-value]


def package(folder: Path, name: str, release: str) -> None:
    """The metadata of an installed package."""
    (folder / f"{name}-{release}.dist-info").mkdir()
    (folder / f"{name}-{release}.dist-info" / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {release}\n")


def program(folder: Path, *lines: str) -> Path:
    script = folder / "vllm"
    script.write_text("\n".join((f"#!{sys.executable}", *lines)) + "\n")
    script.chmod(0o755)
    return script


def test_a_run_whose_front_is_killed_is_remembered_as_one_that_was_running(tmp_path: Path) -> None:
    front = Front(tmp_path)
    try:
        front.until_ready()
        front.until(lambda: runs(tmp_path))
        front.kill()
        front.process.wait(timeout=PATIENCE)
        (run,) = runs(tmp_path)
        assert (run["exit"], run["ended_at"]) == ("running", None)
    finally:
        front.process.kill()
        front.process.wait()


def test_the_end_of_a_run_takes_the_place_of_what_was_stored_of_it_before(tmp_path: Path) -> None:
    front = Front(tmp_path)
    try:
        front.until_ready()
        front.until(lambda: runs(tmp_path))
        front.process.terminate()
        assert front.process.wait(timeout=PATIENCE) == 0
        assert [run["exit"] for run in runs(tmp_path)] == ["stopped"]
    finally:
        front.process.kill()
        front.process.wait()


def test_an_engine_is_planned_as_the_release_that_is_installed(tmp_path: Path) -> None:
    package(tmp_path, "vllm", "0.11.0")
    program(tmp_path)
    serve = ("serve", "Qwen3-0.6B", "--engine", "vllm", "--gpu", "24GiB", "--engine-dir", str(tmp_path), "--dry-run")
    said = ullage(tmp_path, *serve)
    assert "vLLM 0.11.0 is installed here, and planned as that" in " ".join(said.stdout.split()), said.stderr
    said = ullage(tmp_path, *serve, "--engine-version", "0.19.0")
    assert "vLLM 0.11.0 is what starts here, and it is planned as 0.19.0" in " ".join(said.stdout.split()), said.stderr


def test_what_no_rules_are_known_of_is_said_and_planned_as_the_newest_known(tmp_path: Path) -> None:
    package(tmp_path, "vllm", "9.1.0")
    program(tmp_path)
    said = ullage(tmp_path, "serve", "--gpu", "24GiB", "--engine-dir", str(tmp_path), "--dry-run", "--", "vllm", "serve", "Qwen3-0.6B")
    assert "vLLM 9.1.0 is what starts here" in (text := " ".join(said.stdout.split())), said.stderr
    assert "the rules of 9.1.0 are not known" in text


def test_the_release_that_the_log_says_is_the_one_that_is_remembered(tmp_path: Path) -> None:
    program(tmp_path, "print('vLLM API server version 0.11.0', flush=True)", "raise SystemExit(2)")
    words = ("serve", "Qwen3-0.6B", "--engine", "vllm", "--gpu", "24GiB", "--engine-dir", str(tmp_path), "--no-guard")
    said = ullage(tmp_path, *words, "--most-failures", "1")
    assert re.search(r"vLLM 0\.11\.0 is what starts here, and it is planned as \S+: --engine-version 0\.11\.0", said.stderr), said.stderr
    (run,) = runs(tmp_path)
    assert ullage(tmp_path, "baselines", "show", str(run["id"])).stdout.find("vllm 0.11.0") >= 0


def test_a_program_of_no_python_tells_no_release(tmp_path: Path) -> None:
    package(tmp_path, "vllm", "0.11.0")
    (tmp_path / "wrapper").write_text("#!/bin/bash\nexit 0\n")
    assert installed.release(str(tmp_path / "wrapper"), ("vllm",)) == installed.release(str(tmp_path / "none"), ("vllm",)) == ""
    assert installed.release(sys.executable, ("no-such-package", "pytest")) == pytest.__version__
    long = tmp_path / "long"
    long.write_text(f"#!/bin/sh\n'''exec' \"{sys.executable}\" \"$0\" \"$@\"\n' '''\n")
    assert installed.release(str(long), ("pytest",)) == pytest.__version__


def test_a_checkout_in_the_current_folder_does_not_tell_the_release_of_a_program_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package(tmp_path, "vllm", "0.11.0")
    monkeypatch.chdir(tmp_path)
    assert installed.release(str(program(tmp_path)), ("vllm",)) == ""
    assert installed.release(sys.executable, ("vllm",)) == "0.11.0"  # which finds modules here too


def test_a_tuning_is_of_the_release_that_is_installed(tmp_path: Path) -> None:
    package(tmp_path, "vllm", "9.1.0")
    program(tmp_path, "raise SystemExit(2)")
    tune = ("tune", "Qwen3-0.6B", "--engine", "vllm", "--gpu", "24GiB", "--workload", "64:16", "--most-trials", "1", "--requests", "2")
    said = ullage(tmp_path, *tune, "--engine-dir", str(tmp_path))
    assert "the rules of 9.1.0 are not known" in " ".join((said.stdout + said.stderr).split())
