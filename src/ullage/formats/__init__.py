"""Weight files and quantisation schemes. A format or recipe is found by its file; nothing is registered.

``checkpoint`` turns the tensors of a blueprint into those that a quantised checkpoint stores, by rule.
"""

from functools import cache
from importlib import import_module
from types import ModuleType
from typing import cast

from ullage.domain.checkpoint import Checkpoint, Tensor
from ullage.domain.family import Blueprint
from ullage.domain.hyperparameters import Hyperparameters, Json
from ullage.domain.weight_format import Header, Recipe, WeightFormat
from ullage.errors import InputError, MalformedFileError, UnsupportedModelError

__all__ = [
    "checkpoint",
    "checkpoint_from_headers",
    "gguf_config",
    "named_scheme",
    "quantization_of",
    "recipes",
    "scheme_words",
    "weight_formats",
]


@cache
def _plug_ins() -> tuple[ModuleType, ...]:
    import pkgutil  # noqa: PLC0415 - keeps the cold start quick

    names = (info.name for info in pkgutil.iter_modules(__path__) if not info.name.startswith("_"))
    return tuple(import_module(f"{__name__}.{name}") for name in names)


@cache
def recipes() -> tuple[Recipe, ...]:
    """Every known quantisation scheme."""
    return tuple(cast("Recipe", module.RECIPE) for module in _plug_ins() if hasattr(module, "RECIPE"))


@cache
def weight_formats() -> tuple[WeightFormat, ...]:
    """Every weight file format whose headers can be read."""
    return tuple(cast("WeightFormat", module.FORMAT) for module in _plug_ins() if hasattr(module, "FORMAT"))


_KEYS = ("quantization_config", "compression_config", "hf_quant_config")


def quantization_of(config: Hyperparameters) -> Hyperparameters | None:
    """The quantisation a model's configuration states, at its top or with its text model; None where there is none.

    What the model says about its experts' dtype goes with it.
    """
    inner = config.child_or_none("text_config") if isinstance(config.raw("text_config"), dict) else None
    for place in (config, *((inner,) if inner else ())):
        for key in _KEYS:
            stated = place.raw(key)
            if stated is not None and not isinstance(stated, dict):
                raise MalformedFileError(f"{key} should be an object such as {{'quant_method': 'awq', ...}}, but is {str(stated)[:60]!r}")
            if stated:
                extra = {"expert_dtype": place.raw("expert_dtype")} if place.has("expert_dtype") else {}
                return Hyperparameters({**stated, **extra}, key)
    return None


def checkpoint(blueprint: Blueprint, quantization: Hyperparameters | None) -> Checkpoint:
    """The tensors as a checkpoint of this scheme stores them, by rule; without a scheme they stay in the model's dtype.

    Raises UnsupportedModelError for a scheme that no recipe reads.
    """
    if quantization is None:
        return Checkpoint(tensors=blueprint.tensors, scheme=blueprint.architecture.dtype, exact=False)
    recipe = _recipe_of(quantization)
    if recipe is None:
        method = quantization.raw("quant_method")
        known = ", ".join(known.name for known in recipes())
        raise UnsupportedModelError(f"quant_method {str(method)[:60]!r} has no rule; known schemes are {known}")
    tensors, scheme = recipe.apply(blueprint.tensors, quantization)
    return Checkpoint(tensors=tensors, scheme=scheme, exact=False)


def _recipe_of(quantization: Hyperparameters) -> Recipe | None:
    return next((known for known in recipes() if known.reads(quantization)), None)


def checkpoint_from_headers(
    blueprint: Blueprint, headers: tuple[Header, ...], quantization: Hyperparameters | None
) -> tuple[Checkpoint, tuple[str, ...]]:
    """The tensors that the files hold, and notes on names that nobody knows or that are missing. Sizes are exact.

    The scheme only gives the checkpoint its name here, so one without a rule is no obstacle.
    """
    from ullage.formats._stored import read_tensors  # noqa: PLC0415 - keeps the cold start quick

    tensors, notes = read_tensors(blueprint, headers)
    scheme = _scheme_name(blueprint, quantization) if quantization is not None else _stored_scheme(headers, tensors)
    return Checkpoint(tensors=tensors, scheme=scheme, exact=True), notes


def _stored_scheme(headers: tuple[Header, ...], tensors: tuple[Tensor, ...]) -> str:
    from ullage.formats._gguf_names import file_type  # noqa: PLC0415 - keeps the cold start quick
    from ullage.formats._stored import dominant_format  # noqa: PLC0415 - keeps the cold start quick

    return file_type(headers) or dominant_format(tensors)


def _scheme_name(blueprint: Blueprint, quantization: Hyperparameters) -> str:
    recipe = _recipe_of(quantization)
    try:
        if recipe is not None:
            return recipe.apply(blueprint.tensors, quantization)[1]
    except UnsupportedModelError:  # a variant without a rule: the headers say all that matters
        pass
    return str(quantization.raw("quant_method"))[:60]


def gguf_config(header: Header) -> dict[str, Json]:
    """What a GGUF header says of the model, in the keys of a config.json."""
    from ullage.formats import _gguf_config  # noqa: PLC0415 - keeps the cold start quick

    return _gguf_config.gguf_config(header)


def scheme_words() -> tuple[str, ...]:
    """The usual words for a scheme, sorted."""
    return tuple(sorted(word for recipe in recipes() for word in recipe.words))


def named_scheme(word: str) -> dict[str, Json]:
    """The ``quantization_config`` that a word such as ``awq``, ``fp8-block`` or ``q4_k_m`` means. Raises InputError."""
    plain = word.strip().lower()
    for recipe in recipes():
        meaning = recipe.named(plain)
        if meaning is not None:
            return dict(meaning)
    import difflib  # noqa: PLC0415 - keeps the cold start quick

    near = difflib.get_close_matches(plain, scheme_words(), n=4, cutoff=0.5) or scheme_words()[:8]
    raise InputError(f"{word[:40]!r} is no quantisation scheme; the nearest known are {', '.join(near)}")
