"""Real engines under limits of memory: of their address space and of a control group; models for them, and what is said of their deaths."""

import contextlib
import json
import resource
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import pytest
from tests.engines_live.front import status_bytes, ullage
from tests.runtime.real_model import bfloat16_directory, smollm2_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from ullage.runtime.loading.source import open_source
from ullage.text._gguf import tokenizer_from_gguf
from ullage.units import MiB

PATIENCE = 300.0
ROOM = 24 * MiB  # beside what a run took that went well: allocators do not take the same twice
ADDRESSES, GROUP = "address space", "control group"
_FOLDERS = (("memory", "memory.limit_in_bytes"), ("", "memory.max"), ("unified", "memory.max"))
_KERNEL = 6 * MiB  # of a group: page tables, stacks, sockets
# What a change's setting is called as an option of ours, where it is not an engine's own.
_OURS = {"context": "--context", "concurrency": "--concurrency"}


def small_model(folder: Path, layers: int | None = None) -> Path:
    """The real small model, or its first layers, with its own tokeniser as files."""
    directory = bfloat16_directory(folder, layers)
    tokenizer: Any = tokenizer_from_gguf(open_source(str(smollm2_file())).metadata)
    tokenizer._backend.save(str(directory / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|im_end|>", "model_max_length": 8192}
    (directory / "tokenizer_config.json").write_text(json.dumps(settings))
    return directory


def model_of_bytes(folder: Path, layers: int) -> Path:
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


@contextlib.contextmanager
def limited(kind: str, most: int) -> Iterator[str]:
    """The words that start Python under a limit. Skips where such a limit cannot be set here."""
    if kind == ADDRESSES:
        program = shutil.which("prlimit")
        if program is None:
            pytest.skip("there is no prlimit to set a limit with")
        yield f"{program} --as={most} {sys.executable}"
        return
    folder = _group(most)
    script = f'echo $$ > {folder / "cgroup.procs"}; exec "$@"'
    try:
        yield shlex.join(("/bin/sh", "-c", script, "limited", sys.executable))
    finally:
        with contextlib.suppress(OSError):
            folder.rmdir()


def _group(most: int) -> Path:
    for below, name in _FOLDERS:
        folder = Path("/sys/fs/cgroup", below, f"ullage-test-{uuid4().hex[:8]}")
        try:
            folder.mkdir()
            (folder / name).write_text(str(most))
        except OSError:
            with contextlib.suppress(OSError):
                folder.rmdir()
            continue
        with contextlib.suppress(OSError):  # what counts is memory
            (folder / "memory.swap.max").write_text("0")
        return folder
    pytest.skip("no control group can be made here")


def most_counted(kind: str, pid: int) -> int:
    """The most that a process took so far of what a kind of limit counts."""
    if kind == ADDRESSES:
        return status_bytes(pid, "VmPeak")
    return status_bytes(pid, "VmHWM") - status_bytes(pid, "RssFile") + _KERNEL  # pages of files leave a group before its processes die


class Ended(NamedTuple):
    """A run that is over: its exit code, and the most address space it had."""

    code: int
    most: int


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


def diagnosis(log: Path, memory: int, *words: str) -> Any:
    """What is said of a log where the processor has that much memory."""
    return ullage("diagnose", str(log), "--offline", "--gpu", "cpu", "--host-memory", f"{memory // MiB}MiB", *words, code=1)


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
