"""One file or folder per serving engine, found by existing: its name is the engine's name, its constant is ``ENGINE``."""

from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, cast

from ullage.domain.engine import Engine
from ullage.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from ullage.domain.case import Case
    from ullage.domain.cause import FirstAid
    from ullage.domain.tuning import Dial


@cache
def names() -> tuple[str, ...]:
    """The names of all engines, sorted; nothing is imported for it."""
    import pkgutil  # noqa: PLC0415 - keeps the cold start quick

    return tuple(sorted(info.name for info in pkgutil.iter_modules(__path__) if not info.name.startswith("_")))


@cache
def _load(name: str) -> Engine:
    return cast("Engine", import_module(f"{__name__}.{name}").ENGINE)


def _called(name: str) -> Engine | None:
    """The engine in the folder or file of that name; listing the folder would take longer than asking for it."""
    if not name.isidentifier() or name.startswith("_"):
        return None
    try:
        return _load(name)
    except ModuleNotFoundError as error:
        if error.name != f"{__name__}.{name}":
            raise
        return None


def engines() -> dict[str, Engine]:
    """Every engine by its name; a folder that has no ``ENGINE`` yet is none."""
    modules = {name: import_module(f"{__name__}.{name}") for name in names()}
    return {name: cast("Engine", module.ENGINE) for name, module in modules.items() if hasattr(module, "ENGINE")}


def find(name: str) -> Engine:
    """The engine called ``name``, a family's newest for the family's name (``llama.cpp``, ``ipex-llm`` and ``exllama`` are understood).

    Raises InputError with the nearest names.
    """
    wanted = name.strip().lower().replace("-", "_").replace(".", "_").replace(" ", "_")
    exact = _called(wanted)
    if exact is not None:
        return exact
    for known in names():
        if wanted == known.replace("_", ""):
            return _load(known)
    family = [known for known in names() if known.rstrip("0123456789") == f"{wanted}v"]
    if family:
        return _load(family[-1])
    import difflib  # noqa: PLC0415 - keeps the cold start quick

    near = difflib.get_close_matches(wanted, names(), n=2, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    raise InputError(f"engine {name!r} is not known: {hint}known are {', '.join(names())}")


def first_aid(name: str) -> "FirstAid":
    """What an engine's logs are recognised by and what helps it: ``FIRST_AID`` of its folder; nothing where it has none."""
    try:
        return cast("FirstAid", import_module(f"{__name__}.{name}.first_aid").FIRST_AID)
    except ModuleNotFoundError as error:
        if error.name not in {f"{__name__}.{name}.first_aid", f"{__name__}.{name}"}:
            raise
        from ullage.domain.cause import FirstAid as Nothing  # noqa: PLC0415 - keeps the cold start quick

        return Nothing()


def dials(name: str) -> "Callable[[Case], tuple[Dial, ...]] | None":
    """What a tuning of the engine turns: ``dials`` of its folder; None where it has none, and its levers have to do."""
    try:
        return cast("Callable[[Case], tuple[Dial, ...]]", import_module(f"{__name__}.{name}.dials").dials)
    except ModuleNotFoundError as error:
        if error.name != f"{__name__}.{name}.dials":
            raise
        return None
