"""Processes of this machine, by what they run and write."""

from collections.abc import Iterable, Iterator

from ullage.domain.reading import HostReading, ProcessMemory
from ullage.errors import WorldError
from ullage.frozen import replace
from ullage.ports import World

Process = tuple[int, tuple[str, ...], Iterator[str]]  # number, command and log
_KEEPER = "ullage/world/keeper.py"  # the process between ``ullage serve`` and the engine that it starts
_KEEPER_WORDS = 6  # an interpreter, its switches and the file; further on is the engine's command


def serve_words(command: tuple[str, ...]) -> tuple[str, ...] | None:
    """What stands behind ``ullage serve`` or ``python -m ullage serve``; None for another command."""
    for count in (1, 3):
        is_ours = command[:1] and command[0].rpartition("/")[2] == "ullage" if count == 1 else command[1:3] == ("-m", "ullage")
        if is_ours and command[count : count + 1] == ("serve",):
            return command[count + 1 :]
    return None


def is_keeper(words: tuple[str, ...]) -> bool:
    """Whether it keeps an engine, whose command stands in its own."""
    return any(word.endswith(_KEEPER) for word in words[:_KEEPER_WORDS])


def behind_serve(world: World, host: HostReading) -> HostReading:
    """With those processes alone that are the engine's: of one that ``ullage serve`` started, those below its keeper."""
    found = host.processes or ()
    commands = {number: words for number, words, _ in read_commands(world, (process.pid for process in found))}
    keepers = {pid for pid, words in commands.items() if is_keeper(words)}
    if not keepers and not any(serve_words(part) is not None for words in commands.values() for part in (words, words[1:])):
        return host
    engine = _below(found, keepers)
    return replace(
        host,
        processes=tuple(process for process in found if process.pid in engine),
        in_front=tuple(process for process in found if process.pid not in engine),
    )


def _below(processes: tuple[ProcessMemory, ...], above: set[int]) -> set[int]:
    """The numbers of the processes below these."""
    found: set[int] = set()
    while new := {one.pid for one in processes if one.parent in above | found} - found:
        found |= new
    return found


def processes_below(world: World, pid: int) -> Iterator[Process]:
    """The processes from ``pid`` down."""
    found = world.meters.host(world.meters.now(), pid).processes or ()
    return read_commands(world, dict.fromkeys((pid, *(process.pid for process in found))))


def read_commands(world: World, numbers: Iterable[int]) -> Iterator[Process]:
    """Of these processes those that can be read."""
    for number in numbers:
        try:
            argv, lines = world.logs.process(number)
        except WorldError:  # gone meanwhile, or another user's
            continue
        yield number, argv, lines
