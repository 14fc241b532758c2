"""The rules of the house that no linter knows."""

import ast
import dataclasses
import importlib
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import ullage
import ullage.domain
from ullage.domain.provenance import Assumed, Cited, Constant, Measured
from ullage.engines import engines

ROOT = Path(__file__).parent.parent
SOURCES = sorted((ROOT / "src" / "ullage").rglob("*.py"))
MOST_LINES, MOST_FUNCTION_LINES = 300, 50
NO_MODULES = {"utils", "util", "common", "helpers", "helper", "misc", "manager", "base"}


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def length(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def test_no_file_is_long() -> None:
    assert {path.name: n for path in SOURCES if (n := len(path.read_text().splitlines())) > MOST_LINES} == {}


def test_nine_files_in_ten_are_short() -> None:
    lengths = sorted(len(path.read_text().splitlines()) for path in SOURCES)
    assert lengths[len(lengths) * 9 // 10] <= 200


def test_no_function_is_long() -> None:
    long = {f"{path.name}:{node.name}": length(node) for path in SOURCES for node in functions(path) if length(node) > MOST_FUNCTION_LINES}
    assert long == {}


def test_nine_functions_in_ten_are_small() -> None:
    lengths = sorted(length(node) for path in SOURCES for node in functions(path))
    assert lengths[len(lengths) * 9 // 10] <= 25


def test_every_module_is_named_by_what_it_answers() -> None:
    assert [path for path in SOURCES if path.stem.strip("_") in NO_MODULES] == []


def test_every_noun_is_frozen() -> None:
    for info in pkgutil.iter_modules(ullage.domain.__path__):
        module = importlib.import_module(f"ullage.domain.{info.name}")
        for value in vars(module).values():
            if isinstance(value, type) and dataclasses.is_dataclass(value) and value.__module__ == module.__name__:
                assert value.__setattr__ is not object.__setattr__, value


def test_every_constant_of_an_engine_says_where_it_is_from() -> None:
    for engine in engines().values():
        for constant in engine.profile.constants:
            assert isinstance(constant, Constant)
            match constant.source:
                case Cited():
                    assert constant.source.at.strip()
                case Measured():
                    assert constant.source.record.strip()
                case Assumed():
                    assert constant.source.why.strip()
            assert constant.low is None or constant.low <= constant.value
            assert constant.high is None or constant.value <= constant.high


@pytest.mark.parametrize("folder", ["src", "tests", "tools", "docs"])
def test_no_file_holds_a_path_of_a_machine_or_the_address_of_a_package_index(folder: str) -> None:
    forbidden = re.compile(r"/(work|root|home/\w+)/\w|pypi\.org|registry\.npmjs|--(extra-)?index-url")
    for path in sorted((ROOT / folder).rglob("*")):
        if path.suffix in {".py", ".md", ".toml", ".txt", ".sh"} and path.name != Path(__file__).name:
            assert forbidden.search(path.read_text(errors="replace")) is None, path


def test_the_plain_install_stays_light() -> None:
    """numpy, torch and transformers are for extras and comparisons only; the runtime is one."""
    needed = re.findall(r"^dependencies = \[(.*)\]", (ROOT / "pyproject.toml").read_text(), flags=re.MULTILINE)[0]
    assert not re.search(r"numpy|torch|transformers", needed)
    for path in SOURCES:
        if path.is_relative_to(ROOT / "src" / "ullage" / "runtime"):
            continue  # a process of its own that nothing imports, with its own extra
        assert re.search(r"^\s*(import|from) (numpy|torch|transformers)\b", path.read_text(), flags=re.MULTILINE) is None, path


def test_the_version_is_told_once() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+", ullage.__version__)
