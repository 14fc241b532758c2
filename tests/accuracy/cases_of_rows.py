"""A report as a question: one function for each family of engines, found by how the report's engine column begins."""

from collections.abc import Callable
from dataclasses import dataclass

from tests.accuracy.rows import Row

from ullage.domain.case import Case
from ullage.domain.engine import Engine


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The question a report answers. ``variants`` differ from ``case`` in one thing each that the report is silent about.

    ``silent`` names those things; ``rough`` says that the model's shapes are known only roughly, ``unsized`` that the report does not
    tell what the memory holds that it speaks of, so that no verdict can be asked for.
    """

    row: Row
    engine: Engine
    case: Case
    variants: tuple[Case, ...] = ()
    silent: frozenset[str] = frozenset()
    rough: bool = False
    unsized: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Unjudged:
    """A report that cannot be turned into a question, and why."""

    row: Row
    why: str


Reader = Callable[[Row], Asked | Unjudged]


def ask(row: Row, readers: tuple[tuple[str, Reader], ...]) -> Asked | Unjudged:
    """The question of a report, by the first reader whose word the engine column begins with."""
    name = row.text("engine").lower()
    for word, reader in readers:
        if name.startswith(word):
            return reader(row)
    return Unjudged(row=row, why=f"engine without a reader: {row.text('engine')}")
