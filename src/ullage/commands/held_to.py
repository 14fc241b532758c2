"""What ``watch`` holds an engine to: a plan on disk, the plan of a model or of a command, or that of the engine that is found running."""

from ullage import wire
from ullage.commands.check import make_check, read_request
from ullage.commands.running import is_keeper, processes_below, serve_words
from ullage.commands.verb import Flags, parse
from ullage.domain.plan import Plan
from ullage.errors import InputError, UllageError
from ullage.planning.promise import Promise, promise_from, promise_of
from ullage.ports import World

Held = tuple[Promise | None, tuple[str, ...]]  # and what to say of it
_SAY = "give --plan FILE, --model MODEL with --engine, or its command after --"


def held_to(flags: Flags, world: World, base: str | None, command: tuple[str, ...]) -> Held:
    """The promise that was named, else that of the engine behind the address or of --pid. Raises every error of the tree."""
    path, model = flags.text("plan"), flags.text("model")
    if path is not None:
        if model is not None or command:
            raise InputError("--plan is the whole promise: leave out --model and the command after --")
        return promise_from(wire.loads(world.desk.read(path))), ()
    # The engine runs already: what it holds itself is not held by others.
    asked = flags if flags.texts("reserve") else flags.with_(reserve=("0",))
    if command:
        return promise_of(_plan_of_command(asked, world, command)), ()
    if model is None:
        return _found(asked, world, base)
    from ullage.commands.plan import make_plan  # noqa: PLC0415 - only where a model is given

    return promise_of(make_plan(asked, world)), ()


def _plan_of_command(flags: Flags, world: World, command: tuple[str, ...]) -> Plan:
    """The plan of an engine's command, or of what ``ullage serve`` starts with these words."""
    words = serve_words(command)
    if words is None:
        return make_check(flags.with_(command=command), world)
    from ullage.commands.serve import VERB  # noqa: PLC0415 - only where such a command is given
    from ullage.commands.serving import read_serving  # noqa: PLC0415 - as above

    asked = parse(VERB, words)
    if asked is None:
        raise InputError("the command after -- is no command line of `ullage serve`: `ullage serve --help` says what it takes")
    serving = read_serving(asked if asked.texts("reserve") else asked.with_(reserve=flags.texts("reserve")), world)
    if serving.plan is None:
        raise InputError("; ".join(serving.notes))
    return serving.plan


def _found(flags: Flags, world: World, base: str | None) -> Held:
    """The promise of the engine that listens at the address, or that --pid names, by the command it runs with."""
    if base is None and flags.whole("pid") is None:
        return None, ()
    pid = flags.whole("pid") or (world.meters.listener(base) if base is not None else None)
    running = engine_below(flags, world, pid) if pid is not None else None
    if running is None:
        return None, (f"no command of a known engine is found behind it, so what was promised is not shown: {_SAY}",)
    number, words = running
    try:
        plan = make_check(flags.with_(command=words), world)
    except UllageError as error:
        return None, (f"the command of process {number} could not be planned, so what was promised is not shown: {error}; {_SAY}",)
    return promise_of(plan), (f"held to the command that process {number} runs with",)


def engine_below(flags: Flags, world: World, pid: int) -> tuple[int, tuple[str, ...]] | None:
    """The first process from ``pid`` down that runs an engine's command naming a model, and that command."""
    for number, words, _ in processes_below(world, pid):
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
