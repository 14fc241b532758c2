"""``ullage serve MODEL``: start the planned engine, keep it running, and step down one setting when memory runs out."""

from typing import TYPE_CHECKING

from ullage.commands.question import ENGINE, FORMATS, MACHINE, PLACEMENT, TOKENIZER, WHICH_ENGINE, WORKLOAD
from ullage.commands.serve_guard import OPTIONS as GUARD
from ullage.commands.serve_guard import open_door
from ullage.commands.serve_record import Recorder, RecordingDoor
from ullage.commands.serving import Serving, key_of, lacking_weights, prepared, read_serving, readied
from ullage.commands.verb import Answer, Argument, Flags, Option, Verb
from ullage.domain.plan import Command, Plan
from ullage.domain.supervision import Action, Event, Launch, Phase, Policy, Run, Say, State
from ullage.engines import first_aid
from ullage.errors import InputError, WorldError
from ullage.frozen import replace
from ullage.planning.launch import LOCAL, listen
from ullage.planning.step_down import adviser, next_remedies
from ullage.planning.supervise import NextStep, begin, no_step, step
from ullage.ports import Care, World

if TYPE_CHECKING:
    from ullage.report.export import Deployment

_SERVE = (
    Option(
        "workload",
        "text",
        "Requests to size and to let in by: data, what `ullage workload -o` wrote, or PROMPT:ANSWER.",
        "FILE",
        panel="Load",
    ),
    TOKENIZER,
    Option("port", "whole", "Where callers come; the engine's own port when it is not said.", "N", panel="Serving"),
    Option("host", "text", "The address callers come to; this machine alone when it is not said.", "ADDRESS", panel="Serving"),
    Option("dry_run", "flag", "Print the command, its environment and its files, and start nothing.", panel="Serving"),
    Option(
        "export",
        "text",
        "Write it for another runner instead, without our guard in front: compose, systemd, k8s, ray.",
        "FORM",
        panel="Serving",
    ),
    Option("into", "text", "The directory that the files of an export are written to.", "DIR", panel="Serving"),
    Option("image", "text", "The container image of an export.", "NAME", panel="Serving"),
    Option("nodes", "whole", "Machines that an export for ray spreads the devices over.", "N", panel="Serving"),
    Option("engine_dir", "text", "Where the engine is installed: its environment, or its checkout.", "DIR", panel="Serving"),
    Option("program", "text", "How the engine is started, in place of the command's first word.", "WORDS", panel="Serving"),
    Option("start_seconds", "whole", "How long it may take until it has answered a request.", "SECONDS", panel="Serving"),
    Option(
        "unhealthy_seconds",
        "whole",
        "How long an engine that was ready, and is frozen or busy, may not say that it is well until it is started again; 60 unless said.",
        "SECONDS",
        panel="Serving",
    ),
    Option("grace_seconds", "whole", "How long a stop may take before all is killed.", "SECONDS", panel="Serving"),
    Option(
        "most_failures",
        "whole",
        "Failures within ten minutes after which it is given up; starts with a stepped-down setting are counted apart, 8 at most.",
        "N",
        panel="Serving",
    ),
    Option("anyway", "flag", "Start it although the plan says that it does not fit.", panel="Serving"),
)
_OUTPUT = (
    Option("json", "flag", "Answer as JSON when it has ended; the engine's output goes to standard error."),
    Option("output", "text", "Write the answer to a file.", "FILE", ("--output", "-o")),
    Option("offline", "flag", "Never use the network."),
)


class NoDoor:
    """Callers reach the engine itself."""

    def start(self) -> None:
        """Nothing stands between."""

    def stop(self) -> None:
        """As above."""

    def engine_ready(self, url: str, launch: Launch) -> None:
        """As above."""

    def engine_died(self) -> None:
        """As above."""

    def engine_gone(self) -> None:
        """As above."""

    def drain(self) -> bool:
        """Nobody knows of any: the engine does as it does when it is told to end."""
        return False

    def pulse(self, at: float, page: str) -> None:
        """As above."""


def run(flags: Flags, world: World) -> Answer:
    """Serve until it is stopped or given up. Raises every error of the tree."""
    serving = read_serving(flags, world)
    form = flags.text("export")
    if flags.whole("nodes") is not None and (form or "").strip().lower() != "ray":
        raise InputError("--nodes is over how many machines an export for ray spreads the devices: give --export ray, or leave it out")
    if form is None and flags.text("into") is not None:
        raise InputError("--into is where an export is written: give --export FORM, or leave it out")
    if form is not None:
        from ullage.report.export import export  # noqa: PLC0415 - starting an engine has no need of it

        return _files(flags, world, serving, export(form, _deployment(flags, world, serving, form)))
    if flags.flag("dry_run"):
        lacking = lacking_weights(serving, world)
        shown = listen(serving.command, serving.server, serving.host, serving.port)
        return _shown(flags, serving, shown, (lacking,) if lacking else ())
    if serving.plan is not None and not _may_start(serving, flags):
        from ullage.commands.plan import report  # noqa: PLC0415 - as above

        return report(serving.plan, flags)
    return _served(flags, *_kept(flags, world, serving))


def _may_start(serving: Serving, flags: Flags) -> bool:
    """A plan that does not fit is started only when asked; a command of theirs is theirs to try."""
    return serving.is_theirs or flags.flag("anyway") or (serving.plan is not None and serving.plan.runs)


def _misfit(plan: Plan | None) -> tuple[str, ...]:
    """What is said before a start although the plan says that it does not fit."""
    if plan is None or plan.runs:
        return ()
    from ullage.report.serve_verdict import verdict_lines  # noqa: PLC0415 - as above

    return (*verdict_lines(plan), "it is started all the same, as asked")


def _kept(flags: Flags, world: World, serving: Serving) -> tuple[State, tuple[Run, ...]]:
    """The last state and every run on the way."""
    is_guarded = not flags.flag("no_guard") and serving.case is not None
    host, port = (LOCAL, world.processes.free_port()) if is_guarded else (serving.host, serving.port)
    ready = readied(serving, flags, world, host, port, is_private=is_guarded or host == LOCAL)
    launch = Launch(command=ready(serving.command), case=serving.case)  # before a guard is opened, which may take a while
    if lacking := lacking_weights(serving, world):
        raise WorldError(lacking)
    door, guarded = open_door(flags, world, serving)
    next_step: NextStep = no_step
    if serving.case is not None:
        next_step = adviser(
            serving.engine, next_remedies(serving.engine, first_aid(serving.engine.profile.name)), prepared(serving, ready, flags)
        )
    runs: list[Run] = []
    recorder = Recorder(world, serving, door.answers if door is not None else tuple)

    def record(ended: Run) -> str:
        runs.append(ended)
        return recorder.remember(ended)

    def decide(state: State, event: Event) -> tuple[State, tuple[Action, ...]]:
        said = recorder.heard(event)
        after, actions = step(state, event, next_step)
        return after, (*said, *actions)

    care = Care(
        begin=lambda first, at: _begin(first, flags, at, (*serving.notes, *_misfit(serving.plan), *guarded, _door_sign(serving))),
        decide=decide,
        read_line=recorder.read,
        record=record,
        door=RecordingDoor(door or NoDoor(), recorder),
        server=serving.server,
        host=LOCAL if host == "0.0.0.0" else host,  # noqa: S104 - compared, not bound
        port=port,
        key=key_of(serving, world),
        folder=flags.text("engine_dir"),
        is_quiet=flags.flag("json"),
    )
    return world.processes.keep(launch, care), tuple(runs)


def _door_sign(serving: Serving) -> str:
    host = f"[{serving.host}]" if ":" in serving.host else serving.host
    return f"callers come to http://{host}:{serving.port}, and /v1/models there says what they call the model"


def _begin(launch: Launch, flags: Flags, at: float, notes: tuple[str, ...]) -> tuple[State, tuple[Action, ...]]:
    """The first state; what was noticed is said before the start."""
    state, actions = begin(launch, policy(flags), at)
    return state, (*(Say(text=note) for note in notes), *actions)


def policy(flags: Flags) -> Policy:
    """How patient to be."""
    usual = Policy()
    return replace(
        usual,
        start_seconds=float(flags.whole("start_seconds") or usual.start_seconds),
        unhealthy_seconds=float(flags.whole("unhealthy_seconds") or usual.unhealthy_seconds),
        grace_seconds=float(flags.whole("grace_seconds") or usual.grace_seconds),
        most_failures=flags.whole("most_failures") or usual.most_failures,
    )


def _shown(flags: Flags, serving: Serving, command: Command, lacking: tuple[str, ...]) -> Answer:
    from ullage.report.serve_document import command_document, command_values  # noqa: PLC0415 - only a dry run is shown
    from ullage.report.serve_verdict import verdict_lines  # noqa: PLC0415 - as above

    exit_code, remarks = _exit_code(serving.plan), (*verdict_lines(serving.plan), *lacking)
    if flags.flag("json"):
        return Answer(exit_code, json=command_values(command, serving.plan, (*serving.notes, *lacking)), remarks=remarks)
    return Answer(exit_code, document=command_document(command, serving.notes), remarks=remarks)


def _exit_code(plan: Plan | None) -> int:
    """As of ``plan`` and ``check``; a command that nobody could plan is none that does not fit."""
    return 0 if plan is None or plan.runs else 1


def _served(flags: Flags, state: State, runs: tuple[Run, ...]) -> Answer:
    from ullage.report.serve_document import served_document, served_values  # noqa: PLC0415 - only when it has ended

    exit_code = 0 if state.phase is Phase.STOPPED else 1
    if flags.flag("json"):
        return Answer(exit_code, json=served_values(state, runs))
    return Answer(exit_code, document=served_document(state, runs))


def _files(flags: Flags, world: World, serving: Serving, files: tuple[tuple[str, str], ...]) -> Answer:
    into = flags.text("into")
    for name, text in files if into is not None else ():
        world.desk.write(name, text, into=into or "/")
    from ullage.report.serve_document import files_document, files_values  # noqa: PLC0415 - only an export is shown
    from ullage.report.serve_verdict import verdict_lines  # noqa: PLC0415 - as above

    exit_code, remarks = _exit_code(serving.plan), verdict_lines(serving.plan)
    if flags.flag("json"):
        return Answer(exit_code, json=files_values(files, serving.plan, serving.notes), remarks=remarks)
    return Answer(exit_code, document=files_document(files), remarks=remarks)


def _deployment(flags: Flags, world: World, serving: Serving, form: str) -> "Deployment":
    from ullage.report.export import deployment  # noqa: PLC0415 - starting an engine has no need of it

    command = listen(serving.command, serving.server, serving.host, serving.port)
    where, said = (serving.host, serving.port), (flags.text("image"), flags.whole("nodes"))
    here = serving.plan.case.model.path if serving.plan is not None else ""
    path = world.processes.whole(here)  # another runner starts it in another folder
    command = replace(command, argv=tuple(path if here and word == here else word for word in command.argv))
    what = deployment(serving.engine.profile, serving.server, command, serving.plan, where, said)
    # A unit runs on this machine, without the environment of this shell: it gets the place of the program where that is here.
    found = world.processes.find(command.argv, flags.text("engine_dir")) if form.strip().lower() == "systemd" else None
    what = replace(what, command=replace(command, argv=found)) if found is not None else what
    return replace(what, model_path=path) if path.startswith("/") else what


VERB = Verb(
    name="serve",
    help="Start the planned engine and keep it running; or keep your own command running: ullage serve [OPTIONS] -- COMMAND.",
    run=run,
    options=(*MACHINE, *WORKLOAD, *PLACEMENT, WHICH_ENGINE, *ENGINE, *FORMATS, *_SERVE, *GUARD, *_OUTPUT),
    argument=Argument("model", "target", "A model as for plan; or a command after --, as you would start it."),
)
