"""Engines are found by existing."""

import subprocess
import sys

import pytest

from ullage import engines
from ullage.errors import InputError


def test_an_unknown_engine_is_refused_with_the_nearest_names() -> None:
    with pytest.raises(InputError, match="did you mean transformers"):
        engines.find("transfomers")


def test_hyphens_dots_and_case_do_not_matter() -> None:
    assert engines.find("Transformers") is engines.find("transformers")


def test_a_family_is_its_newest_engine() -> None:
    assert engines.find("exllama").profile.name == engines.find("ExLlamaV3").profile.name


def test_finding_one_engine_imports_no_other() -> None:
    code = (
        "import sys; from ullage import engines; engines.find('transformers');"
        "print([n for n in engines.names() if n != 'transformers' and f'ullage.engines.{n}' in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"
