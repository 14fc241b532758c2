"""Models on disk, read by their first bytes, and answers put down whole."""

import os
from contextlib import suppress
from functools import partial
from pathlib import Path

from ullage.errors import InputError, WorldError, step_after
from ullage.ports import ModelFolder, WeightFile
from ullage.world._names import SMALL_DOCUMENTS, WEIGHT_SUFFIXES, one_model, siblings

LARGEST_DOCUMENT_BYTES = 64 << 20


def _failed(path: Path, verb: str, error: OSError, next_step: str = "check the path and its permissions") -> WorldError:
    return WorldError(f"{path} cannot be {verb}: {error.strerror or error}; {step_after(error, next_step)}")


def _check_regular(path: Path) -> None:
    """Refuse what is there and is no file, before a pipe is waited for or a device read without end."""
    try:
        is_other = path.exists() and not path.is_file()
    except OSError as error:
        raise _failed(path, "read", error) from error
    if is_other:
        raise InputError(f"{path} is no regular file: give a directory, a config.json, a .gguf or a .safetensors file")


def _beginning(path: Path, nbytes: int) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(nbytes)
    except OSError as error:
        raise _failed(path, "read", error) from error


def _document(path: Path) -> bytes:
    _check_regular(path)
    data = _beginning(path, LARGEST_DOCUMENT_BYTES + 1)
    if len(data) > LARGEST_DOCUMENT_BYTES:
        raise InputError(f"{path} is larger than {LARGEST_DOCUMENT_BYTES >> 20} MiB, so it is no configuration; give a config.json")
    return data


def _weight(path: Path) -> WeightFile:
    _check_regular(path)
    try:
        return WeightFile(path.name, path.stat().st_size, partial(_beginning, path))
    except OSError as error:
        raise _failed(path, "read", error) from error


def _listing(folder: Path) -> tuple[str, ...]:
    try:
        return tuple(sorted(entry.name for entry in folder.iterdir()))
    except OSError as error:
        raise _failed(folder, "listed", error) from error


def _folder(folder: Path, weights: tuple[str, ...], present: tuple[str, ...], name: str, path: str) -> ModelFolder:
    return ModelFolder(
        name=name,
        source=str(folder / weights[0] if len(weights) == 1 else folder),
        documents={word: _document(folder / word) for word in SMALL_DOCUMENTS if word in present},
        weights=tuple(_weight(folder / word) for word in weights),
        path=path,
    )


def open_model(word: str) -> ModelFolder | None:
    """A directory, a ``config.json``, or a ``.gguf`` or ``.safetensors`` file with what belongs to it; None when there is no such path."""
    try:
        path = Path(word).expanduser()
        if path.is_dir():
            present = _listing(path)
            weights = one_model(tuple(name for name in present if name.endswith(WEIGHT_SUFFIXES)), str(path), present)
            return _folder(path, weights, present, path.resolve().name, word)
        if not path.exists():
            return None
    except (OSError, RuntimeError, ValueError):  # too long for a path, no such home, a zero byte: then it is no path
        return None
    if path.suffix == ".json":
        return ModelFolder(path.resolve().parent.name, str(path), {"config.json": _document(path)}, (), str(path.parent))
    if path.suffix in WEIGHT_SUFFIXES:
        present = _listing(path.parent)
        named = word if path.suffix == ".gguf" else str(path.parent)
        return _folder(path.parent, siblings(path.name, present), present, path.stem, named)
    raise InputError(f"{word} is no model that can be read: give a directory, a config.json, a .gguf or a .safetensors file")


def read_whole(path: str) -> bytes:
    """A whole file that somebody named. Raises WorldError, and InputError for what is no file or too large."""
    try:
        file = Path(path).expanduser()
        if file.exists() and not file.is_file():
            raise InputError(f"{path} is no regular file: give a file")
    except (OSError, RuntimeError, ValueError) as error:
        raise InputError(f"{path[:80]!r} is no path: give a file") from error
    data = _beginning(file, LARGEST_DOCUMENT_BYTES + 1)
    if len(data) > LARGEST_DOCUMENT_BYTES:
        raise InputError(f"{path} is larger than {LARGEST_DOCUMENT_BYTES >> 20} MiB; give a smaller file")
    return data


def write_into(folder: str, name: str, text: str) -> None:
    """A whole file in a directory, which is made where it is not there. Raises WorldError."""
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        said = error if isinstance(error, OSError) else OSError(str(error))
        raise _failed(Path(folder), "made", said, "give another directory") from error
    write_whole(f"{folder.rstrip('/')}/{name}", text)


def write_whole(path: str, text: str) -> None:
    """Write ``text`` beside ``path`` and move it there, so that a reader sees the old file or the new one. Raises WorldError."""
    goal = Path(path)
    if not goal.name or "\0" in path:
        raise WorldError(f"{path[:80]!r} is no file that can be written; give a file name to -o")
    beside = goal.with_name(f"{goal.name}.{os.getpid()}.part")
    try:
        if goal.exists() and not goal.is_file():  # a directory, or a device that must not be replaced by a file
            raise WorldError(f"{goal} is there and is no regular file; give another path to -o")
        with beside.open("w", encoding="utf-8", errors="replace", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(goal)
    except OSError as error:
        with suppress(OSError):  # a name that could not be made cannot be removed either
            beside.unlink(missing_ok=True)
        raise _failed(goal, "written", error, "give another path to -o") from error
