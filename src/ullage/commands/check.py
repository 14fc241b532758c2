"""``ullage check -- COMMAND``: the same answer for an engine command that somebody already has."""

from ullage import engines
from ullage.commands.plan import finish, report
from ullage.commands.question import ENGINE, FORMATS, MACHINE, OUTPUT, WORKLOAD, pairs, parse_version, read_question
from ullage.commands.remembered import remembering
from ullage.commands.verb import Answer, Argument, Flags, Option, Verb
from ullage.domain.engine import Engine, Request
from ullage.domain.plan import Plan
from ullage.errors import InputError
from ullage.planning.answer import answer
from ullage.ports import World

_LONGEST_SHOWN = 160

_MODEL = Option("model", "text", "The model, where the command names it by a path that is not here.", "MODEL", panel="Machine")
_WHICH_ENGINE = Option("engine", "text", "The engine, where the command does not tell.", "NAME", panel="Engine")


def split_line(line: str) -> tuple[str, ...]:
    """The words of a command as a shell takes them. Raises InputError for a quote that does not end."""
    from shlex import split  # noqa: PLC0415 - a command usually comes in words

    try:
        return tuple(split(line))
    except ValueError as error:
        raise InputError(f"the command {line[:60]!r} cannot be split into words: {error}; close the quote") from error


def split_environment(words: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What is set before a command, each as NAME=VALUE, and the command's own words."""
    count = next((index for index, word in enumerate(words) if "=" not in word or word.startswith("-")), len(words))
    return words[:count], words[count:]


def read_request(words: tuple[str, ...], flags: Flags) -> tuple[Engine, Request]:
    """The engine whose command this is, and what it says; one word of many is a line in quotes.

    Raises InputError when no engine knows it.
    """
    if len(words) == 1 and len(words[0].split()) > 1:
        words = split_line(words[0])
    text = flags.text("engine_version")
    version = parse_version(text) if text is not None else None
    given, argv = split_environment(words)
    if argv[:1] == ("env",):
        return read_request(argv[1:], flags)
    environment = dict((*pairs("environment", given), *pairs("--env", flags.texts("env"))))
    named = flags.text("engine")
    for engine in (engines.find(named),) if named is not None else engines.engines().values():
        request = engine.read_command(argv, environment, version)
        if request is not None:
            return engine, request
    shown = _shown(argv)
    raise InputError(
        f"{shown!r} is the command of no known engine ({', '.join(engines.names())}): write it as you would start it, after --"
    )


def _shown(words: tuple[str, ...]) -> str:
    """The first words of a command, none cut within."""
    line, rest = words[0] if words else "", 0
    for at, word in enumerate(words[1:], 1):
        if len(line) + len(word) >= _LONGEST_SHOWN:
            rest = len(words) - at
            break
        line += f" {word}"
    return f"{line} ..." if rest else line


def make_check(flags: Flags, world: World) -> Plan:
    """The plan of the command as it stands. Raises every error of the tree."""
    engine, request = read_request(flags.texts("command"), flags)
    model_word = flags.text("model") or request.model
    if not model_word:
        raise InputError("the command names no model: add it, or say it with --model before the --")
    engine, remarks = remembering(flags, world, engine)
    question = read_question(flags, world, engine, model_word, request)
    plan = answer(engine, question.case, findings=request.findings)
    return finish(plan, flags, engine, (*question.notes, *remarks, *_bound(plan.command.argv, flags.texts("command"))))


def _bound(ours: tuple[str, ...], theirs: tuple[str, ...]) -> tuple[str, ...]:
    """That the command shown listens to this machine alone, where theirs said nothing of it."""
    if "--host" not in ours or any(word.startswith("--host") for word in theirs):
        return ()
    return ("the command as shown listens to this machine alone; leave --host out, or name an address, to serve others",)


def run(flags: Flags, world: World) -> Answer:
    """Check and report."""
    return report(make_check(flags, world), flags)


VERB = Verb(
    name="check",
    help="Say the same of an engine command you have, and name wrong or stale flags: ullage check [OPTIONS] -- COMMAND.",
    run=run,
    options=(_MODEL, *MACHINE, *WORKLOAD, _WHICH_ENGINE, *ENGINE, *FORMATS, *OUTPUT),
    argument=Argument("command", "rest", "The engine's command, as you would start it."),
)
