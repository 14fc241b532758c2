"""Transformers driven out of memory while loading, at a long prompt and under load; the first change that a diagnosis names then runs."""

import os
from pathlib import Path
from typing import NamedTuple

import pytest
from tests.engines_live.front import ullage
from tests.engines_live.installed import engine_python, needs_python
from tests.engines_live.limits import ROOM, Ended, as_options, diagnosis, first_change, model_of_bytes, run_to_its_end

pytestmark = [pytest.mark.slow, needs_python("transformers")]

LAYERS = 8
ONE_HEAP = {"MALLOC_ARENA_MAX": "1"}  # else threads reserve heaps of their own, more or fewer by chance


class Death(NamedTuple):
    """A plan that dies where another one just goes through, and what is to be said of it."""

    words: tuple[str, ...]
    goes: tuple[str, ...]
    prompts: tuple[str, ...]
    phase: str
    term: str
    setting: str


def letters(count: int, rows: int = 1) -> tuple[str, ...]:
    """Prompts of so many tokens."""
    return tuple("".join(chr(97 + (row + at) % 26) for at in range(count)) for row in range(rows))


DEATHS = (
    Death(("--set", "dtype=float32", "--context", "72"), ("--context", "72"), letters(64), "load", "weights", "torch_dtype"),
    Death(
        ("--set", "attn_implementation=eager", "--context", "2056"),
        ("--context", "2056"),
        letters(2048),
        "first_long_prompt",
        "activations",
        "attn_implementation",
    ),
    Death(
        ("--concurrency", "16", "--context", "1032"),
        ("--concurrency", "8", "--context", "1032"),
        letters(1024, 16),
        "under_load",
        "activations",
        "concurrency",
    ),
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return model_of_bytes(tmp_path_factory.mktemp("model"), LAYERS)


def generate(model: Path, folder: Path, words: tuple[str, ...], prompts: tuple[str, ...], limit: int | None = None) -> Ended:
    """Run the script that is planned for these words."""
    planned = ullage("plan", str(model), "--offline", "--engine", "transformers", "--gpu", "cpu", "--set", "max_new_tokens=8", *words)
    folder.mkdir(exist_ok=True)
    ((name, text),) = planned["command"]["files"].items()
    (folder / name).write_text(text)
    environment = {**os.environ, "OMP_NUM_THREADS": "2", "OMP_WAIT_POLICY": "passive", "HF_HUB_OFFLINE": "1", **ONE_HEAP}
    return run_to_its_end((str(engine_python("transformers")), name, *prompts), folder, folder / "log", environment, limit)


@pytest.mark.parametrize("death", DEATHS, ids=[death.phase for death in DEATHS])
def test_a_death_is_diagnosed_and_the_first_change_runs_under_the_same_limit(death: Death, model: Path, tmp_path: Path) -> None:
    limit = generate(model, tmp_path / "goes", death.goes, death.prompts).most + ROOM
    assert generate(model, tmp_path / "dies", death.words, death.prompts, limit).code != 0
    found = diagnosis(tmp_path / "dies" / "log", limit)
    cause = found["causes"][0]
    assert (found["engine"], cause["class"], cause["phase"], cause["term"]) == ("transformers", "host_memory", death.phase, death.term)
    change = first_change(found)
    assert change["setting"] == death.setting
    after = generate(model, tmp_path / "changed", (*death.words, *as_options(change)), death.prompts, limit)
    assert after.code == 0, (tmp_path / "changed" / "log").read_text()[-2000:]
