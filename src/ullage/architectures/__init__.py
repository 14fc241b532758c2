"""One file per model family. A family is found by its file name, or by the model types it says it reads."""

from functools import cache
from importlib import import_module
from typing import cast

from ullage.domain.architecture import Architecture, ChunkedAttention, CrossAttention, FullAttention, SlidingAttention
from ullage.domain.family import Blueprint, Family
from ullage.domain.hyperparameters import Hyperparameters
from ullage.errors import MalformedFileError, UnsupportedModelError


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


_LONGEST_TYPE = 60


def find(model_type: str) -> Family:
    """The family that reads ``model_type``. Raises UnsupportedModelError with the nearest known ones."""
    module_name = model_type.replace("-", "_").replace(".", "_")
    family = _called(module_name)
    if family is not None and model_type in family.model_types:
        return family
    if model_type in families():
        return families()[model_type]
    import difflib  # noqa: PLC0415 - keeps the cold start quick

    near = difflib.get_close_matches(model_type[:_LONGEST_TYPE], families(), n=4, cutoff=0.6)
    hint = f"the nearest known are {', '.join(near)}" if near else f"none of the {len(families())} known is like it"
    raise UnsupportedModelError(
        f"model_type {model_type[:_LONGEST_TYPE]!r} is not known; {hint}. "
        "`ullage models --families` lists all; CONTRIBUTING.md shows how to add one file for a new family"
    )


# Two published configurations carry no model_type; their class says what they are.
_TYPE_OF_CLASS = {"DeepseekV41ForCausalLM": "deepseek_v4", "MiniCPM3ForCausalLM": "minicpm3"}


def read(config: Hyperparameters) -> Blueprint:
    """The architecture and tensors a configuration describes. Raises UnsupportedModelError and MalformedFileError."""
    blueprint = _family_of(config).read(config)
    _check_groups(blueprint.architecture)
    return blueprint


def _check_groups(architecture: Architecture) -> None:
    """Every head of keys and values serves the same number of query heads. Raises MalformedFileError."""
    for index, layer in enumerate(architecture.layers):
        for mixer in layer.mixers:
            if (
                isinstance(mixer, FullAttention | SlidingAttention | ChunkedAttention | CrossAttention)
                and mixer.query_heads % mixer.kv_heads
            ):
                raise MalformedFileError(
                    f"layer {index} has {mixer.query_heads} query heads for {mixer.kv_heads} heads of keys and values: "
                    "they cannot be divided evenly, so no engine can run it; check the numbers of heads in the configuration"
                )


def _family_of(config: Hyperparameters) -> Family:
    if config.has("model_type"):
        return find(config.text("model_type"))
    classes = config.words("architectures") if config.has("architectures") else ()
    for name in classes:
        if name in _TYPE_OF_CLASS:
            return find(_TYPE_OF_CLASS[name])
    raise UnsupportedModelError(
        "the configuration has no model_type, so its family cannot be known"
        + (f" (architectures: {', '.join(classes)})" if classes else "")
    )
