"""Processes of this machine, by what they run and write."""

from collections.abc import Iterator

from ullage.errors import WorldError
from ullage.ports import World


def processes_below(world: World, pid: int) -> Iterator[tuple[int, tuple[str, ...], Iterator[str]]]:
    """Number, command and log of each process from ``pid`` down, of those that can be read."""
    found = world.meters.host(world.meters.now(), pid).processes or ()
    for number in dict.fromkeys((pid, *(process.pid for process in found))):
        try:
            argv, lines = world.logs.process(number)
        except WorldError:  # gone meanwhile, or another user's
            continue
        yield number, argv, lines
