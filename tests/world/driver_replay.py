"""Plays what drivers told before: a library's calls, a program's output, the kernel's files."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

FOLDER = Path(__file__).parent.parent / "data" / "drivers"


class LibraryError(Exception):
    """What a vendor's library raises."""


def recording(name: str) -> dict[str, Any]:
    values = json.loads((FOLDER / name).read_text())
    assert isinstance(values, dict)
    return values


def shaped(told: Any) -> Any:
    """Objects as a library has them, where NVML gives structures."""
    if isinstance(told, list):
        return [shaped(one) for one in told]
    return SimpleNamespace(**told) if isinstance(told, dict) else told


def library(name: str, *, structures: bool, **more: Any) -> Any:
    """A module that answers the recorded calls and no others; a recorded error is raised."""
    calls = {(function, json.dumps(words)): told for function, words, told in recording(name)["calls"]}

    def answering(function: str) -> Callable[..., Any]:
        def call(*words: Any) -> Any:
            told = calls[function, json.dumps(list(words))]
            if isinstance(told, dict) and "error" in told:
                raise LibraryError(told["error"])
            return shaped(told) if structures else told

        return call

    return SimpleNamespace(**{function: answering(function) for function, _ in calls}, **more)


def program(name: str) -> Callable[[tuple[str, ...]], str | None]:
    outputs = recording(name)["outputs"]
    return lambda argv: outputs.get(" ".join(argv))


def tree(name: str, root: Path) -> Path:
    """The recorded files below a folder, with their links."""
    values = recording(name)
    for path, text in values["files"].items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    for path, goal in values.get("links", {}).items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).symlink_to(root / goal)
    return root
