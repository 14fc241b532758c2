"""What ``watch`` holds an engine to: a plan on disk, the plan of a model or of a command, or that of the engine that is found running."""

from collections.abc import Iterable
from typing import Final, NamedTuple

from ullage import wire
from ullage.commands.check import make_check, read_request
from ullage.commands.question import FORMATS, PLACEMENT, WORKLOAD
from ullage.commands.running import Process, is_keeper, processes_below, read_commands, serve_words
from ullage.commands.verb import Flags, Given, parse
from ullage.domain.plan import Plan
from ullage.domain.reading import HostReading
from ullage.errors import InputError, UllageError
from ullage.planning.doubts import is_called
from ullage.planning.promise import Promise, promise_from, promise_of
from ullage.ports import World

Running = tuple[int, tuple[str, ...]]  # a process, and the engine's command that it runs
_SAY = "give --plan FILE, --model MODEL with --engine, or its command after --"
# What a running engine's own command says.
_SAID: Final[dict[str, Given]] = {**{option.name: option.absent for option in (*WORKLOAD, *PLACEMENT, *FORMATS)}, "set": ()}


class Held(NamedTuple):
    """A promise and what to say of it; ``is_of_it``: it is that of ``running``. ``is_fixed``: it stays, whatever runs."""

    promise: Promise | None = None
    notes: tuple[str, ...] = ()
    running: Running | None = None
    is_of_it: bool = False
    is_fixed: bool = False


def held_to(flags: Flags, world: World, base: str | None, command: tuple[str, ...]) -> Held:
    """The promise that was named, else that of the engine behind the address or of --pid. Raises every error of the tree."""
    path, model = flags.text("plan"), flags.text("model")
    if path is not None:
        if model is not None or command:
            raise InputError("--plan is the whole promise: leave out --model and the command after --")
        return Held(promise_from(wire.loads(world.desk.read(path))), is_fixed=True)
    # The engine runs already: what it holds itself is not held by others.
    asked = flags if flags.texts("reserve") else flags.with_(reserve=("0",))
    if command and serve_words(command) is None:
        return Held(promise_of(make_check(asked.with_(command=command), world)), is_fixed=True)
    pid = flags.whole("pid") or (world.meters.listener(base) if base is not None else None)
    running = engine_below(asked, world, pid) if pid is not None else None
    if command:
        return _as_it_runs(*_served(asked, world, command), world, running)
    if model is not None:
        from ullage.commands.plan import make_plan  # noqa: PLC0415 - only where a model is given

        return _as_it_runs(asked, make_plan(asked, world), world, running)
    return Held() if base is None and pid is None else _found(asked, world, running)


def held_now(before: Held, flags: Flags, world: World, base: str | None, command: tuple[str, ...], host: HostReading) -> Held:
    """The same, or what is promised now that another process runs: an engine that is started again may have a setting stepped down."""
    running = _engine_among(flags, read_commands(world, (process.pid for process in host.processes or ())))
    if running is None or running == before.running:
        return before
    if before.is_fixed:
        return before._replace(running=running)
    try:
        found = held_to(flags, world, base, command)
    except UllageError:
        return before._replace(running=running)
    return found if found.promise is not None else before._replace(running=running)


def _served(flags: Flags, world: World, command: tuple[str, ...]) -> tuple[Flags, Plan]:
    """What these words of ``ullage serve`` ask, and the plan of what it starts with them first."""
    from ullage.commands.serve import VERB  # noqa: PLC0415 - only where such a command is given
    from ullage.commands.serving import read_serving  # noqa: PLC0415 - as above

    asked = parse(VERB, serve_words(command) or ())
    if asked is None:
        raise InputError("the command after -- is no command line of `ullage serve`: `ullage serve --help` says what it takes")
    asked = asked if asked.texts("reserve") else asked.with_(reserve=flags.texts("reserve"))
    serving = read_serving(asked, world)
    if serving.plan is None:
        raise InputError("; ".join(serving.notes))
    return asked, serving.plan


def _as_it_runs(asked: Flags, plan: Plan, world: World, running: Running | None) -> Held:
    """Held to the command by which this model runs there; to the plan where none is found or it is of another model."""
    if running is not None:
        try:
            theirs = make_check(asked.with_(**_SAID, model=None, command=running[1]), world)
        except UllageError:
            return Held(promise_of(plan), (), running)
        if is_called(theirs.case.model.name, plan.case.model.name, ()):
            return _held(theirs, running)
    return Held(promise_of(plan), (), running)


def _held(plan: Plan, running: Running) -> Held:
    return Held(promise_of(plan), (f"held to the command that process {running[0]} runs with",), running, is_of_it=True)


def _found(flags: Flags, world: World, running: Running | None) -> Held:
    """The promise of the engine that listens at the address, or that --pid names, by the command it runs with."""
    if running is None:
        return Held(None, (f"no command of a known engine is found behind it, so what was promised is not shown: {_SAY}",))
    number, words = running
    try:
        plan = make_check(flags.with_(command=words), world)
    except UllageError as error:
        why = f"the command of process {number} could not be planned, so what was promised is not shown: {error}; {_SAY}"
        return Held(None, (why,), running)
    return _held(plan, running)


def engine_below(flags: Flags, world: World, pid: int) -> Running | None:
    """The first process from ``pid`` down that runs an engine's command naming a model, and that command."""
    return _engine_among(flags, processes_below(world, pid))


def _engine_among(flags: Flags, processes: Iterable[Process]) -> Running | None:
    for number, words, _ in processes:
        if is_keeper(words):
            continue
        for command in (words, words[1:]):  # a script's first word is its interpreter
            if _is_engine(flags, command):
                return number, command
    return None


def _is_engine(flags: Flags, words: tuple[str, ...]) -> bool:
    if not words:
        return False
    try:
        _, request = read_request(words, flags)
    except UllageError:
        return False
    return bool(request.model)
