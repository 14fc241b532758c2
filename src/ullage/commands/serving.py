"""What ``serve`` starts: the planned command of a model, or a command somebody wrote, made ready for this machine."""

from collections.abc import Callable
from itertools import pairwise, takewhile
from typing import NamedTuple

from ullage.commands.check import read_request, split_environment, split_line
from ullage.commands.question import LOCAL as LOCAL_DEVICES
from ullage.commands.question import Question, find_engine, read_question
from ullage.commands.released import as_installed, differs, installed
from ullage.commands.remembered import remembering
from ullage.commands.verb import Flags
from ullage.domain.case import Case, Version
from ullage.domain.engine import Engine, Request, Server, checked_port
from ullage.domain.placement import Parallel
from ullage.domain.plan import Command, Plan
from ullage.domain.workload import Arrivals, Lengths
from ullage.errors import InputError, UllageError, WorldError
from ullage.frozen import replace
from ullage.planning.answer import answer, as_plan
from ullage.planning.fit import Outcome
from ullage.planning.launch import LOCAL, address_of, listen, option, patched, server_of
from ullage.planning.search import find_best
from ullage.planning.settle import settle
from ullage.ports import World

_CONTAINERS, _SHELLS = frozenset({"docker", "podman", "nerdctl"}), frozenset({"bash", "sh", "zsh", "dash"})
_BEGINS = frozenset({"run", "exec", "start", "compose"})  # a container, or something in one
_TAKEN = "no GPU driver answers on this machine: planned for its processor; --gpu names other devices"
Ready = Callable[[Command], Command]
Traffic = tuple[Lengths, Arrivals, tuple[str, ...]]  # and what to say of them


class Serving(NamedTuple):
    """A command to serve. ``case`` is the question it answers, as asked, and ``plan`` its answer: None where nobody could plan it."""

    engine: Engine
    server: Server
    command: Command
    host: str
    port: int  # where callers come
    case: Case | None
    plan: Plan | None
    outcome: Outcome | None
    is_theirs: bool
    notes: tuple[str, ...] = ()
    release: Version | None = None  # of what is installed here, where that is told


def read_serving(flags: Flags, world: World) -> Serving:
    """The model or the command of the words. Raises every error of the tree."""
    words = flags.texts("model")
    if "--" in words:
        words = words[words.index("--") + 1 :]
        if words:
            own = split_line(words[0]) if len(words) == 1 else words
            return _theirs(flags, world, own)
    if len(words) != 1:
        raise InputError("give a model to plan and start, or a whole command after --: ullage serve [OPTIONS] -- COMMAND")
    serving = _planned(flags, world, words[0])  # which tells what starts it
    there = installed(flags, world, serving.engine, serving.command.argv)
    by_its_rules = as_installed(flags, serving.engine, there)
    if serving.case is None or there in (None, serving.case.version) or by_its_rules is flags:
        return _released(serving, flags, there)
    return _released(_planned(by_its_rules, world, words[0]), flags, there)


def _released(serving: Serving, flags: Flags, there: Version | None) -> Serving:
    """With the release that is there, and what to say where it is not planned, or not the one that is meant where nothing is said."""
    profile, case = serving.engine.profile, serving.case
    if there is None or case is None:
        return serving._replace(release=there)
    said = differs(profile, there, case.version)
    if not said and flags.text("engine_version") is None and there != profile.default:
        said = f"{profile.title} {there} is installed here, and planned as that"
    return serving._replace(release=there, notes=(*((said,) if said else ()), *serving.notes))


def _planned(flags: Flags, world: World, model: str) -> Serving:
    engine, remarks = remembering(flags, world, find_engine(flags, world))
    question = _sized(read_question(flags, world, engine, model), engine, _workload(flags, world, model))
    case = question.case
    own = {name: value for server in engine.profile.servers[:1] for name, value in server.settings if not case.settings.has(name)}
    case = replace(case, settings=case.settings.with_(**own), stated=case.stated | set(own)) if own else case
    case = _over_machines(case, flags.whole("nodes") or 1)
    outcome = find_best(engine, case) if "parallel" not in case.stated else settle(engine, case)
    plan = as_plan(engine, outcome)
    server = server_of(engine.profile, plan.command.argv)
    command = with_program(flags, plan.command)
    port = _port(flags) or address_of(plan.command, server)[1]
    is_taken = flags.text("gpu") in {None, LOCAL_DEVICES} and case.machine.is_processor
    notes = (*question.notes, *remarks, *((_TAKEN,) if is_taken else ()))
    return Serving(engine, server, command, flags.text("host") or LOCAL, port, outcome.asked, plan, outcome, is_theirs=False, notes=notes)


def _workload(flags: Flags, world: World, model: str) -> Traffic | None:
    """The requests of ``--workload``, where there is one. Raises every error."""
    if flags.text("workload") is None:
        return None
    from ullage.commands.traffic import read_traffic  # noqa: PLC0415 - most engines are started without

    return read_traffic(flags, world, model)


def _sized(question: Question, engine: Engine, workload: Traffic | None) -> Question:
    """The question sized by the requests of a workload, as ``plan`` does it."""
    if workload is None:
        return question
    from ullage.commands.traffic import with_traffic  # noqa: PLC0415 - as above

    return with_traffic(question, engine, *workload)


def _port(flags: Flags) -> int | None:
    """Where callers come, where that was said. Raises InputError for what is no port."""
    port = flags.whole("port")
    return port if port is None else checked_port(port)


def _over_machines(case: Case, nodes: int) -> Case:
    """Over several machines, unless said otherwise: a tensor parallel group on each, and a pipeline over them."""
    devices = len(case.machine.devices)
    if nodes == 1 or "parallel" in case.stated or devices % nodes:
        return case
    return replace(case, parallel=Parallel(tensor=devices // nodes, pipeline=nodes), stated=case.stated | {"parallel"})


def _theirs(flags: Flags, world: World, words: tuple[str, ...]) -> Serving:
    plain, request = read_request(words, flags)
    _check_is_direct(words)
    there = installed(flags, world, plain, _words(words)[0])
    said, flags = flags, as_installed(flags, plain, there)
    if flags is not said:
        plain, request = read_request(words, flags)
    engine, remarks = remembering(flags, world, plain)
    argv, environment = _words(words)
    command = Command(argv=argv, environment=(*environment, *request.environment))
    command = replace(command, environment=tuple(dict(command.environment).items()))
    server = server_of(engine.profile, argv)
    host, port = address_of(command, server)
    case: Case | None = None
    plan: Plan | None = None
    notes: tuple[str, ...] = ()
    workload = _workload(flags, world, request.model or "")
    try:
        if not request.model:
            raise InputError("the command names no model")
        question = _sized(read_question(flags, world, engine, request.model, request), engine, workload)
        case, notes = question.case, (*question.notes, *remarks)
        plan = answer(engine, case, findings=request.findings)
    except UllageError as error:
        notes = (f"nobody could plan this command, so it is kept running and nothing more: {error}",)
    notes = (*_wrong(request), *notes)
    found = flags.text("host") or host, _port(flags) or port
    return _released(Serving(engine, server, command, *found, case, plan, None, is_theirs=True, notes=notes), said, there)


def _check_is_direct(words: tuple[str, ...]) -> None:
    """Raises InputError for a command in a container or a shell's string, where what is added at its end does not reach the engine."""
    own = [word.rpartition("/")[2] for word in words]
    box = next((word for word, after in pairwise(own) if word in _CONTAINERS and after in _BEGINS), None)
    if box is not None:
        raise InputError(
            f"an engine in a container is started by {box}, and its address and its processes are the container's: serve the engine's own "
            "command inside it, or write the container with --export compose"
        )
    shell = next((at for at, word in enumerate(own) if word in _SHELLS), len(own))
    if any("c" in word for word in takewhile(lambda word: word.startswith("-"), own[shell + 1 :]) if not word.startswith("--")):
        raise InputError("what stands behind `-c` is one word of the shell's: give the engine's command itself, without the shell")


def _wrong(request: Request) -> tuple[str, ...]:
    """What ``check`` would say of the command's own words: it is theirs and kept as it is, but not unsaid."""
    return tuple(f"{'wrong: ' if finding.wrong else ''}{finding.text}" for finding in request.findings)


def _words(words: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[tuple[str, str], ...]]:
    """A command's own words, and the environment written before them."""
    words = words[1:] if words[:1] == ("env",) else words
    given, own = split_environment(words)
    pairs = tuple(word.partition("=") for word in given)
    return own, tuple((name, value) for name, _, value in pairs)


def with_program(flags: Flags, command: Command) -> Command:
    """With the words of ``--program`` in place of the first one."""
    program = flags.text("program")
    return command if program is None else replace(command, argv=(*split_line(program), *command.argv[1:]))


def lacking_weights(serving: Serving, world: World) -> str:
    """What is missing before an engine that fetches nothing may start, and what to do; empty where nothing is."""
    if serving.engine.profile.fetches or serving.case is None:
        return ""
    model, title = serving.case.model, serving.engine.profile.title
    here = world.models.local(model.path) if model.path else None
    if here is not None and here.weights:
        return ""
    where = f"{model.path} holds no weights" if here is not None else f"the weights of {model.name} are not on this machine"
    local = model.name.rpartition("/")[2]
    fetched = f"; `hf download {model.name} --local-dir {local}` fetches them, and `ullage serve ./{local}` serves them"
    how = "give a directory with .safetensors files, or a .gguf file"
    return f"{where}, and {title} fetches nothing: {how}{fetched if here is None and '/' in model.name else ''}"


def readied(serving: Serving, flags: Flags, world: World, host: str, port: int, *, is_private: bool) -> Ready:
    """What makes a command of this engine ready: where it listens, and where its program is. Raises WorldError when it is not installed."""

    def ready(command: Command) -> Command:
        version = serving.case.version if serving.case is not None else None
        command = listen(command, serving.server, host, port, is_private=is_private, version=version)
        found = world.processes.find(command.argv, flags.text("engine_dir"))
        if found is None:
            raise WorldError(_not_installed(serving, command))
        return replace(command, argv=found)

    return ready


def _not_installed(serving: Serving, command: Command) -> str:
    profile, server = serving.engine.profile, serving.server
    package = f"'{profile.package}'" if "[" in profile.package else profile.package
    how = f"install {profile.package}" if " " in profile.package else f"pip install {package}"
    shown = " ".join(command.argv[: 3 if command.argv[1:2] == ("-m",) else 2] if command.argv[0].startswith("python") else command.argv[:1])
    if server.checkout:
        folder = server.checkout.rpartition("/")[2]
        return (
            f"{folder}, which serves {profile.title}, is not here ({shown!r} is not found): `git clone {server.clone}`, run its start.sh "
            f"once to make its environment, and say where it is with --engine-dir {folder}; "
            f"--program WORDS says how it is started otherwise"
        )
    return (
        f"{profile.title} is not installed here ({shown!r} is not found): {how}, or say where it is with --engine-dir DIR "
        f"or how it is started with --program WORDS"
    )


def prepared(serving: Serving, ready: Ready, flags: Flags) -> Callable[[Case, Case, Command], Command | None]:
    """The command of a changed case: a new one of ours, or theirs with only that changed."""
    engine = serving.engine

    def prepare(before: Case, after: Case, command: Command) -> Command | None:
        made = engine.command(engine.resolve(after))
        if not serving.is_theirs:
            return ready(with_program(flags, made))
        return patched(engine, command, engine.command(engine.resolve(before)), made)

    return prepare


def key_of(serving: Serving, world: World) -> str | None:
    """The key a command tells its engine to ask for. Raises WorldError where it stands in a file that cannot be read."""
    told = option(serving.command.argv, serving.server.key_flag)
    if told and serving.server.key_is_a_file:
        told = next(iter(world.desk.read(told).decode(errors="replace").splitlines()), "").strip()
    return told or dict(serving.command.environment).get(f"{serving.engine.profile.name.upper()}_API_KEY")
