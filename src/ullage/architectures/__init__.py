"""One file per model family. A family is found by its file name, or by the model types it says it reads."""

from functools import cache
from importlib import import_module
from typing import cast

from ullage.domain.family import Blueprint, Family
from ullage.domain.hyperparameters import Hyperparameters
from ullage.errors import UnsupportedModelError


def _module_names() -> tuple[str, ...]:
    import pkgutil  # noqa: PLC0415 - keeps the cold start quick

    return tuple(info.name for info in pkgutil.iter_modules(__path__) if not info.name.startswith("_"))


def _load(module_name: str) -> Family:
    return cast("Family", import_module(f"{__name__}.{module_name}").FAMILY)


@cache
def families() -> dict[str, Family]:
    """Every known model type and its family."""
    return {model_type: family for name in _module_names() for family in (_load(name),) for model_type in family.model_types}


def _called(module_name: str) -> Family | None:
    """The family in the file of that name; listing the folder would take longer than asking for the file."""
    if not module_name.isidentifier() or module_name.startswith("_"):
        return None
    try:
        return _load(module_name)
    except ModuleNotFoundError as error:
        if error.name != f"{__name__}.{module_name}":
            raise
        return None


def find(model_type: str) -> Family:
    """The family that reads ``model_type``. Raises UnsupportedModelError with the nearest known ones."""
    module_name = model_type.replace("-", "_").replace(".", "_")
    family = _called(module_name)
    if family is not None and model_type in family.model_types:
        return family
    if model_type in families():
        return families()[model_type]
    import difflib  # noqa: PLC0415 - keeps the cold start quick

    near = difflib.get_close_matches(model_type, families(), n=4, cutoff=0.5) or sorted(families())[:8]
    raise UnsupportedModelError(
        f"model_type {model_type!r} is not known; the nearest known are {', '.join(near)}. "
        "`ullage models --families` lists all; CONTRIBUTING.md shows how to add one file for a new family"
    )


# Two published configurations carry no model_type; their class says what they are.
_TYPE_OF_CLASS = {"DeepseekV41ForCausalLM": "deepseek_v4", "MiniCPM3ForCausalLM": "minicpm3"}


def read(config: Hyperparameters) -> Blueprint:
    """The architecture and tensors a configuration describes. Raises UnsupportedModelError and MalformedFileError."""
    if config.has("model_type"):
        return find(config.text("model_type")).read(config)
    classes = config.words("architectures") if config.has("architectures") else ()
    for name in classes:
        if name in _TYPE_OF_CLASS:
            return find(_TYPE_OF_CLASS[name]).read(config)
    raise UnsupportedModelError(
        "the configuration has no model_type, so its family cannot be known"
        + (f" (architectures: {', '.join(classes)})" if classes else "")
    )
