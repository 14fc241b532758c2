"""Limits of memory that a test sets on an engine: of its address space, and of a control group."""

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from tests.engines_live.front import status_bytes
from tests.runtime.real_model import bfloat16_directory, smollm2_file

from ullage.runtime.loading.source import open_source
from ullage.text.language import language_of
from ullage.units import MiB

ADDRESSES, GROUP = "address space", "control group"
_FOLDERS = (("memory", "memory.limit_in_bytes"), ("", "memory.max"), ("unified", "memory.max"))
_KERNEL = 6 * MiB  # of a group: page tables, stacks, sockets


def small_model(folder: Path, layers: int = 2) -> Path:
    """The first layers of the real model with its tokeniser, as a directory."""
    directory = bfloat16_directory(folder, layers=layers)
    source = open_source(str(smollm2_file()))
    tokenizer: Any = language_of(source.documents, source.metadata).tokenizer
    tokenizer._backend.save(str(directory / "tokenizer.json"))
    end = {"eos_token": tokenizer._backend.id_to_token(min(tokenizer.eos_ids))}
    (directory / "tokenizer_config.json").write_text(json.dumps(end))
    return directory


@contextmanager
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
        with suppress(OSError):
            folder.rmdir()


def _group(most: int) -> Path:
    for below, name in _FOLDERS:
        folder = Path("/sys/fs/cgroup", below, f"ullage-test-{uuid4().hex[:8]}")
        try:
            folder.mkdir()
            (folder / name).write_text(str(most))
        except OSError:
            with suppress(OSError):
                folder.rmdir()
            continue
        with suppress(OSError):  # what counts is memory
            (folder / "memory.swap.max").write_text("0")
        return folder
    pytest.skip("no control group can be made here")


def most_counted(kind: str, pid: int) -> int:
    """The most that a process took so far of what a kind of limit counts."""
    if kind == ADDRESSES:
        return status_bytes(pid, "VmPeak")
    return status_bytes(pid, "VmHWM") - status_bytes(pid, "RssFile") + _KERNEL  # pages of files leave a group before its processes die


def diagnosed(log: Path, *words: str) -> Any:
    """What ``ullage diagnose`` says of a log, as JSON."""
    command = [sys.executable, "-m", "ullage", "diagnose", str(log), "--json", "--offline", *words]
    return json.loads(subprocess.run(command, capture_output=True, check=False, env={**os.environ}).stdout)
