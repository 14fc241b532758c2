"""Real engines under a limit of their address space: what they said when they died, what is diagnosed, and the command so changed."""

import contextlib
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tests.engines_live.front import status_bytes
from tests.runtime.real_model import bfloat16_directory
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from ullage.units import MiB

PATIENCE = 300.0
ROOM = 24 * MiB  # beside what a run took that went well: allocators do not take the same twice
# What a change's setting is called as an option of ours, where it is not an engine's own.
_OURS = {"context": "--context", "concurrency": "--concurrency"}


class Ended(NamedTuple):
    """A run that is over: its exit code, and the most address space it had."""

    code: int
    most: int


def model_directory(folder: Path, layers: int) -> Path:
    """The first layers of a real model in bfloat16, with a vocabulary of a token for each byte."""
    bfloat16_directory(folder, layers)
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE(vocab={"<end>": 0, **{letter: 3 + at for at, letter in enumerate(letters)}}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens(["<end>"])
    (folder / "tokenizer.json").write_text(backend.to_str())
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<end>"}')
    return folder


def limit_to(nbytes: int | None) -> Callable[[], None]:
    """What a child does before it becomes the engine."""

    def apply() -> None:
        if nbytes is not None:
            resource.setrlimit(resource.RLIMIT_AS, (nbytes, nbytes))

    return apply


def run_to_its_end(words: tuple[str, ...], folder: Path, log: Path, environment: Mapping[str, str], limit: int | None = None) -> Ended:
    """Run a command; what it says on its error stream is the log, below the command itself."""
    with log.open("w") as file:
        file.write("$ python generate.py\n")
        file.flush()
        started = subprocess.Popen(
            words,
            cwd=folder,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=file,
            preexec_fn=limit_to(limit),  # noqa: PLW1509 - one thread
        )
    deadline, most = time.monotonic() + PATIENCE, 0
    try:
        while started.poll() is None:
            assert time.monotonic() < deadline, log.read_text()[-2000:]
            with contextlib.suppress(OSError, AssertionError):  # it may be ending
                most = max(most, status_bytes(started.pid, "VmPeak"))
            time.sleep(0.01)
    finally:
        started.kill()
        started.wait()
    return Ended(started.returncode, most)


def ullage(*words: str, code: int = 0) -> Any:
    """One of our verbs, as JSON."""
    done = subprocess.run([sys.executable, "-m", "ullage", *words, "--json", "--offline"], capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return json.loads(done.stdout)


def diagnosis(log: Path, memory: int, *words: str) -> Any:
    """What is said of a log where the processor has that much memory."""
    return ullage("diagnose", str(log), "--gpu", "cpu", "--host-memory", f"{memory // MiB}MiB", *words, code=1)


def first_change(found: Any) -> dict[str, Any]:
    """The smallest change, which has to be one that is predicted to fit and to free as much as was missing."""
    change: dict[str, Any] = found["changes"][0]
    assert change["verdict"] in {"fits", "tight"}, found["changes"]
    assert change["frees_bytes"] >= (found["causes"][0]["lacking_bytes"] or 0)
    return change


def as_options(change: Mapping[str, Any]) -> tuple[str, ...]:
    """A change as words of ``plan``."""
    option = _OURS.get(change["setting"])
    return (option, str(change["value"])) if option else ("--set", f"{change['setting']}={change['value']}")
