"""What stored runs add to a question: the engine with its amounts narrowed."""

from ullage.commands.verb import Flags
from ullage.domain.engine import Engine
from ullage.errors import WorldError
from ullage.ports import World

_NONE = "none"
_MOST = 200  # of one engine, the newest; of those like the case fifty count


def remembering(flags: Flags, world: World, engine: Engine) -> tuple[Engine, tuple[str, ...]]:
    """The engine as the runs of ``--baselines`` have it, and what to note. A store that cannot be read stops no plan."""
    word = flags.text("baselines")
    if word == _NONE:
        return engine, ()
    if word is not None:
        runs = world.store.read_export(word)
    else:
        try:
            runs = world.store.runs(engine=engine.profile.name, most=_MOST)
        except WorldError as error:
            return engine, (f"planned without what this machine remembers: {error}",)
    if not runs:
        return engine, ()
    from ullage.planning.narrow import calibrated  # noqa: PLC0415 - most machines remember nothing yet

    return calibrated(engine, runs), ()
