"""``plan --compare`` and ``plan --advise``: what else could be done, beside the plan of a question."""

from collections.abc import Callable

from ullage import engines
from ullage.catalog import devices, models
from ullage.commands.model import read_model
from ullage.commands.verb import Flags
from ullage.domain.advice import Advice, Comparison
from ullage.domain.case import Case, Model
from ullage.domain.engine import Engine
from ullage.domain.plan import Plan
from ullage.errors import InputError
from ullage.planning.advise_formats import advise_formats
from ullage.planning.advise_hardware import advise_hardware
from ullage.planning.advise_models import advise_models
from ullage.planning.compare import compare
from ullage.planning.quantise import word_of
from ullage.ports import World

ALL = "all"


def chosen(flags: Flags, name: str, known: tuple[str, ...]) -> frozenset[str]:
    """The words of an option that takes several, every one for ``all``; none where it was not given. Raises InputError."""
    text = flags.text(name)
    if text is None:
        return frozenset()
    words = {word.strip() for word in text.split(",") if word.strip()}
    unknown = words - {*known, ALL}
    if unknown or not words:
        raise InputError(f"--{name} {text[:60]!r} is not known: use {ALL}, or some of {','.join(known)}")
    return frozenset(known) if ALL in words else frozenset(words)


def comparison_of(case: Case, dimensions: frozenset[str], objective: str) -> Comparison:
    """What ``--compare`` asks for. Raises every error of the tree."""
    names = engines.engines().values() if "engines" in dimensions else (engines.find(case.engine),)
    return compare(tuple(names), case, dimensions, objective)


def advice_of(flags: Flags, world: World, engine: Engine, case: Case, plan: Plan, subjects: frozenset[str]) -> Advice:
    """What ``--advise`` asks for. Raises every error of the tree."""
    cards = flags.text("cards")
    wanted = tuple(devices.find(word.strip()) for word in cards.split(",") if word.strip()) if cards is not None else devices.devices()
    known = (model.id for model in models.bundled())
    return Advice(
        formats=advise_formats(engine, case, plan) if "quant" in subjects else None,
        hardware=advise_hardware(engine, case, plan, wanted) if "hardware" in subjects else None,
        models=advise_models(engine, case, plan, known, _reader(flags, world, engine, case)) if "models" in subjects else None,
    )


def _reader(flags: Flags, world: World, engine: Engine, case: Case) -> Callable[[str], Model]:
    """Reads a bundled model at the bits of the one asked for, as far as they have a word."""
    word = flags.text("quant") or word_of(engine.profile.name, case.model)
    return lambda name: read_model(name, world.models, quantisation=word).model
