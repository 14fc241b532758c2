"""Libraries that the plain install does without."""

from importlib import import_module
from typing import Any

from ullage.errors import WorldError


def library(name: str, purpose: str, remedy: str = "pip install 'ullage[runtime]'") -> Any:
    """The module ``name``. Raises WorldError that says how to install it."""
    try:
        return import_module(name)
    except ImportError as error:
        raise WorldError(f"{purpose} needs the Python package {name.partition('.')[0]}, which is not installed: {remedy}") from error
