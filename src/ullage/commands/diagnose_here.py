"""An engine of this machine: its command and its devices, where it is named by an address, and what is said of what is none."""

import re
from typing import Final

from ullage.commands.held_to import engine_below
from ullage.commands.verb import Flags
from ullage.domain.cause import Diagnosis, Log
from ullage.errors import InputError
from ullage.frozen import replace
from ullage.ports import World

_BARE: Final = re.compile(r"[\w.-]+:\d{1,5}(/\S*)?")


def of_this_machine(flags: Flags, base: str, log: Log, world: World) -> tuple[Flags, Log, tuple[str, ...]]:
    """With the command of the engine that listens there, and this machine's devices; as they were for one that is elsewhere."""
    pid = world.meters.listener(base)
    running = engine_below(flags, world, pid) if pid is not None else None
    if running is None:
        return flags, log, ()
    number, words = running
    if flags.text("gpu") is None:
        flags = flags.with_(gpu="local" if world.hardware.devices() else "cpu")
    if not flags.texts("reserve"):
        flags = flags.with_(reserve=("0",))  # what it holds itself is not held by others
    return flags, replace(log, commands=(*log.commands, (0, words))), (f"planned by the command that process {number} runs with",)


def check_is_engine(found: Diagnosis, pid: int) -> Diagnosis:
    """The same. Raises InputError for a process of which nothing tells that it is an engine."""
    if found.log.engine is None and not found.found:
        raise InputError(
            f"process {pid} is no engine that is known, and none runs below it: name the engine with --engine, or give its log"
        )
    return found


def check_is_no_address(word: str) -> None:
    """Raises InputError for what is no file and looks like an address without its beginning."""
    if _BARE.fullmatch(word):
        raise InputError(f"there is no file {word}: for the engine that answers there write http://{word}")
