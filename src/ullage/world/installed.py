"""Where an engine's program is on this machine."""

import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

from ullage.errors import WorldError

_PYTHONS = ("python", "python3")
_SECONDS = 60
_HAS = "import importlib.util as u, sys; sys.exit(u.find_spec(sys.argv[1]) is None)"
_RELEASES = "import importlib.metadata as m, sys; print(next((d.version for n in sys.argv[1:] for d in m.distributions(name=n)), ''))"
_ELSEWHERE = "import sys; sys.path[:] = filter(None, sys.path); "  # a script has its own folder first on its path, not the current one
_BEGINNING = 512  # bytes of a script that name its interpreter
_INTERPRETER = re.compile(r"""\A#! ?(?:\S*/env (?:-S )?)?(\S*python[\d.]*)\s|\A#!/bin/sh\n'''exec' "?([^"\n]*python[\d.]*)"? """)


def find(argv: tuple[str, ...], folder: str | None) -> tuple[str, ...] | None:
    """The words with the program's place, paths made whole; None where it is not installed."""
    program, *rest = argv
    if folder is not None and not Path(folder).is_dir():
        raise WorldError(f"--engine-dir {folder} is no directory: give the one where the engine is installed")
    if program in _PYTHONS and rest:
        return _python(tuple(rest), folder)
    beside = Path(sys.executable).parent / program
    found = _in_folder(program, folder) or shutil.which(program) or (str(beside) if beside.is_file() else None)
    return None if found is None else (found, *map(_whole, rest))


def _python(rest: tuple[str, ...], folder: str | None) -> tuple[str, ...] | None:
    """A module of an interpreter that has it, or a script in the engine's folder."""
    if rest[0] == "-m" and len(rest) > 1:
        interpreter = next((python for python in _interpreters(folder) if _has(python, rest[1])), None)
        return None if interpreter is None else (interpreter, "-m", rest[1], *map(_whole, rest[2:]))
    interpreter = next(iter(_interpreters(folder)))
    if rest[0] == "-c":
        return (interpreter, *rest)
    script = _in_folder(rest[0], folder) or (rest[0] if Path(rest[0]).is_file() else None)
    return None if script is None else (interpreter, str(Path(script).resolve()), *map(_whole, rest[1:]))


def _interpreters(folder: str | None) -> tuple[str, ...]:
    """The engine's own environment, ours, and those on the path."""
    own = (
        [str(path) for name in ("bin", "venv/bin", ".venv/bin") for path in [Path(folder, name, "python").absolute()] if path.exists()]
        if folder
        else []
    )
    return tuple(dict.fromkeys((*own, sys.executable, *(path for name in _PYTHONS if (path := shutil.which(name)) is not None))))


def _has(python: str, module: str) -> bool:
    """Whether that interpreter has a module; of a package, whether it is there at all."""
    try:
        asked = subprocess.run([python, "-c", _HAS, module.partition(".")[0]], capture_output=True, check=False, timeout=_SECONDS)  # noqa: S603 - a question to an interpreter
    except (OSError, subprocess.TimeoutExpired):
        return False
    return asked.returncode == 0


def release(program: str, packages: tuple[str, ...]) -> str:
    """The release of the first of these packages that the program's interpreter has, by its metadata; empty where there is none."""
    python = _interpreter_of(program) if packages else None
    if python is None:
        return ""
    asking = _RELEASES if python == program else _ELSEWHERE + _RELEASES
    try:
        asked = subprocess.run([python, "-c", asking, *packages], capture_output=True, text=True, check=False, timeout=_SECONDS)  # noqa: S603 - as above
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return ""
    return asked.stdout.strip() if asked.returncode == 0 else ""


def _interpreter_of(program: str) -> str | None:
    """The Python that a program is, or that its first lines name."""
    if re.fullmatch(r"python[\d.]*", Path(program).name):
        return program
    try:
        with Path(program).open("rb") as script:
            named = _INTERPRETER.match(script.read(_BEGINNING).decode(errors="replace"))
    except OSError:
        return None
    return None if named is None else shutil.which(named[1] or named[2])


def _in_folder(name: str, folder: str | None) -> str | None:
    if folder is None or name.startswith("/"):
        return None
    for place in (Path(folder, name), Path(folder, "bin", name)):
        if place.is_file():
            return str(place.resolve())
    return None


def _whole(word: str) -> str:
    """A path of something that is here, from the root; other words as they are."""
    if word.startswith(("/", "-")) or not ("/" in word or word.endswith((".gguf", ".yml", ".yaml", ".json"))):
        return word
    try:
        return str(Path(word).absolute()) if Path(word).exists() else word  # a link keeps its name, whose ending says what it is
    except OSError:
        return word


def whole(path: str) -> str:
    """A path of this machine from the root, where there is such; else as it is."""
    try:
        place = Path(path).expanduser()
        return str(place.absolute()) if path and place.exists() else path
    except (OSError, RuntimeError, ValueError):
        return path


def free_port() -> int:
    """A port of this machine that nobody listens at. Raises WorldError."""
    try:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            return int(probe.getsockname()[1])
    except OSError as error:
        raise WorldError(f"no free port on this machine: {error.strerror or error}") from error
