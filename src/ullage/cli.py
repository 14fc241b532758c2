"""The command line: builds the real world, reads the words, prints the answer, and turns errors into one line and an exit code."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

from ullage import __version__
from ullage.commands.verb import Answer, Argument, Flags, Option, Verb, parse
from ullage.errors import UllageError, WorldError

if TYPE_CHECKING:
    from ullage.report.as_text import Look
    from ullage.report.document import Document

VERBS = ("plan", "check", "models", "devices", "engines", "serve", "watch", "diagnose", "tune", "baselines", "workload")
_DUMB_WIDTH = 120


def load(name: str) -> Verb:
    """The verb of that name; only its own module is imported."""
    return cast("Verb", import_module(f"ullage.commands.{name}").VERB)


def main(words: tuple[str, ...] | None = None) -> int:
    """Answer one command line and return its exit code."""
    given = tuple(sys.argv[1:]) if words is None else words
    return _written(lambda: _answer(given))


def _answer(given: tuple[str, ...]) -> int:
    if given in {("--version",), ("-V",)}:
        _say(f"ullage {__version__}\n")
        return 0
    if given and given[0] in VERBS:
        verb = load(given[0])
        flags = parse(verb, given[1:])
        if flags is not None:
            return perform(verb, flags)
    return explain(given or ("--help",))


def perform(verb: Verb, flags: Flags) -> int:
    """Run a verb in the real world and print what it answers. An error is one line on standard error."""
    return _written(lambda: _perform(verb, flags))


def _perform(verb: Verb, flags: Flags) -> int:
    from ullage.world import real

    world = real.world(offline=flags.flag("offline"))
    try:
        answer = verb.run(flags, world)
        if answer.looks is not None:
            return _follow(answer.looks, as_json=flags.flag("json"))
        for remark in answer.remarks:
            _complain(f"ullage: {remark}")
        path = flags.text("output")
        if path in (None, "-"):  # a dash is standard output, as everywhere
            _print(answer)
        else:
            world.desk.write(path, _as_file(answer))
            _complain(f"written to {path}")
    except UllageError as error:
        return _fail(str(error), error.exit_code, as_json=flags.flag("json"))
    return answer.exit_code


def _follow(looks: Iterator[Answer], *, as_json: bool) -> int:
    """Show answers as they come, each in the last one's place on a terminal and a line for each elsewhere; the last one's exit code."""
    exit_code = 0
    try:
        with _frame(as_json=as_json) as show:
            for look in looks:
                exit_code = look.exit_code
                show(look)
    except KeyboardInterrupt:  # this is how it ends
        pass
    return exit_code


@contextmanager
def _frame(*, as_json: bool) -> Iterator[Callable[[Answer], None]]:
    from ullage import wire

    if as_json:
        yield lambda look: _say(wire.dumps(look.json) + "\n")
    elif _has_colours():
        from ullage.report import as_text

        with as_text.live() as draw:
            yield lambda look: draw(look.document or (), _look())
    else:
        yield lambda look: _say(look.line + "\n")


def _written(act: Callable[[], int]) -> int:
    """The exit code of what writes to standard output, whatever becomes of that."""
    try:
        return act()
    except BrokenPipeError:  # the reader has seen enough
        _drop_output()
        return 0
    except OSError as error:  # every port turns its own into WorldError: only standard output is left
        _drop_output()
        _complain(f"ullage: standard output cannot be written: {error.strerror or error}; write to another place, or give a file to -o")
        return WorldError.exit_code
    except KeyboardInterrupt:
        return 130


def _fail(message: str, exit_code: int, *, as_json: bool) -> int:
    """Say an error in one line on standard error, and as an object on standard output where JSON was asked for."""
    text = " ".join(message.split())
    _complain(f"ullage: {text}")
    if as_json:
        from ullage import wire

        try:
            _say(wire.dumps({"schema": "ullage.error/1", "error": text, "exit_code": exit_code}, indent=2) + "\n")
        except OSError:  # the reader has left; the line above has said it
            _drop_output()
    return exit_code


def _drop_output() -> None:
    """So that nothing is written, and fails, once more at the end of the program."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _json_text(answer: Answer) -> str:
    from ullage import wire

    return wire.dumps(answer.json, indent=2) + "\n"


def _as_file(answer: Answer) -> str:
    from ullage.report import as_text

    if answer.document is None:
        return _json_text(answer)
    return as_text.plain_text(answer.document, as_text.Look(width=_DUMB_WIDTH, is_ascii=False))


def _print(answer: Answer) -> None:
    if answer.document is None:
        _say(_json_text(answer))
    else:
        _show(answer.document)


def _show(document: "Document") -> None:
    from ullage.report import as_text

    look = _look()
    if _has_colours():
        as_text.print_coloured(document, look)
    else:
        _say(as_text.plain_text(document, look))


def _has_colours() -> bool:
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _look() -> "Look":
    from ullage.report import as_text

    is_ascii = (sys.stdout.encoding or "ascii").lower().replace("-", "") not in {"utf8", "utf16", "utf32"}
    width = os.environ.get("COLUMNS", "")
    if width.isascii() and width.isdigit():
        return as_text.Look(max(int(width), as_text.NARROWEST), is_ascii)
    if not sys.stdout.isatty():
        return as_text.Look(_DUMB_WIDTH, is_ascii)
    return as_text.Look(max(os.get_terminal_size(sys.stdout.fileno()).columns, as_text.NARROWEST), is_ascii)


def _say(text: str) -> None:
    """To standard output, with a question mark for what its encoding lacks."""
    encoding = sys.stdout.encoding or "ascii"
    sys.stdout.write(text.encode(encoding, "replace").decode(encoding))
    sys.stdout.flush()


def _complain(text: str) -> None:
    line = " ".join(text.split())
    encoding = sys.stderr.encoding or "ascii"
    sys.stderr.write(line.encode(encoding, "replace").decode(encoding) + "\n")


def explain(words: tuple[str, ...]) -> int:
    """Help, and what is wrong with a command line, by Typer built from the same verbs. Returns the exit code."""
    app = parser()
    try:
        result = app(list(words), prog_name="ullage", standalone_mode=False)
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else 0
    except Exception as error:
        message = getattr(error, "format_message", None)
        if message is None:  # not Typer's own complaint
            raise
        verb = f" {words[0]}" if words and words[0] in VERBS else ""
        text = f"{message()} `ullage{verb} --help` shows what there is."
        return _fail(text, int(getattr(error, "exit_code", 2)), as_json="--json" in _own(words))
    return int(result or 0)


def _own(words: tuple[str, ...]) -> tuple[str, ...]:
    """The words before a command that is being checked."""
    return words[: words.index("--")] if "--" in words else words


def parser() -> Any:
    """The Typer application: every verb with its options."""
    import typer

    app = typer.Typer(
        name="ullage",
        help="Say, before and while a large language model is served, how every byte of every device is used.",
        add_completion=False,
        pretty_exceptions_enable=False,
    )

    def version(*, show: bool = typer.Option(False, "--version", "-V", help="Print the version and exit.")) -> None:
        if show:
            _say(f"ullage {__version__}\n")
            raise typer.Exit

    app.callback(invoke_without_command=True)(version)
    for name in VERBS:
        verb = load(name)
        takes_rest = verb.argument is not None and verb.argument.kind == "rest"
        app.command(name, help=verb.help, context_settings={"allow_interspersed_args": not takes_rest})(_function(verb))
    return app


def _function(verb: Verb) -> Any:
    """A function with the signature that Typer reads a command from."""
    import inspect

    def run(**values: Any) -> None:
        import typer

        given = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
        raise typer.Exit(perform(verb, Flags(given)))

    made = [*([_argument(verb.argument)] if verb.argument is not None else []), *(_option(option) for option in verb.options)]
    kind = inspect.Parameter.KEYWORD_ONLY
    signature = inspect.Signature([inspect.Parameter(name, kind, default=value, annotation=note) for name, note, value in made])
    run.__signature__ = signature  # type: ignore[attr-defined]
    run.__annotations__ = {name: note for name, note, _ in made}
    run.__name__ = verb.name
    return run


def _argument(argument: Argument) -> tuple[str, Any, Any]:
    import typer

    match argument.kind:
        case "rest":
            return argument.name, list[str], typer.Argument(..., help=argument.help)
        case "target" | "several":
            return argument.name, list[str], typer.Argument([], help=argument.help)
        case "maybe":
            return argument.name, str | None, typer.Argument(None, help=argument.help)
        case _:
            return argument.name, str, typer.Argument(..., help=argument.help)


def _option(option: Option) -> tuple[str, Any, Any]:
    import typer

    shown: dict[str, Any] = {"help": option.help, "metavar": option.metavar or None, "rich_help_panel": option.panel or None}
    match option.kind:
        case "flag":
            return option.name, bool, typer.Option(False, *option.spellings, help=option.help, rich_help_panel=option.panel or None)
        case "many":
            return option.name, list[str], typer.Option([], *option.spellings, **shown)
        case "whole":
            return option.name, int | None, typer.Option(None, *option.spellings, min=1, **shown)
        case _:
            return option.name, str | None, typer.Option(None, *option.spellings, **shown)
