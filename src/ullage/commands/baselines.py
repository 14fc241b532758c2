"""``ullage baselines``: what this machine remembers of the engines it ran, and which term grew after an upgrade."""

from collections.abc import Callable
from difflib import get_close_matches

from ullage import wire
from ullage.commands.verb import Answer, Argument, Flags, Option, Verb
from ullage.domain.baseline import Run
from ullage.errors import InputError
from ullage.planning import regress
from ullage.ports import World
from ullage.report import document as doc
from ullage.units import counted

_OPTIONS = (
    Option("engine", "text", "Only runs of this engine.", "NAME"),
    Option("fail_on_regression", "flag", "With compare: exit 1 when a term grew beyond its bounds."),
    Option("tolerance", "text", "With compare: growth of a term that counts as chance; 2% unless said.", "PERCENT"),
    Option("json", "flag", "Answer as JSON."),
    Option("output", "text", "Write the answer to a file.", "FILE", ("--output", "-o")),
)
_LARGEST_TOLERANCE = 10.0


def _stored(flags: Flags, world: World) -> tuple[Run, ...]:
    return world.store.runs(engine=flags.text("engine") or "")


def _list(flags: Flags, world: World, words: tuple[str, ...]) -> Answer:
    _check_count("list", words, 0)
    runs = _stored(flags, world)
    if _wants_json(flags):
        from ullage.report.baselines_json import list_values  # noqa: PLC0415 - only one of the two writers is needed

        return Answer(0, json=list_values(runs))
    from ullage.report.baselines_document import list_document  # noqa: PLC0415 - as above

    return Answer(0, document=list_document(runs, flags.text("engine") or ""))


def _show(flags: Flags, world: World, words: tuple[str, ...]) -> Answer:
    _check_count("show ID", words, 1)
    run = regress.meant(_stored(flags, world), words[0])[0]
    if _wants_json(flags):
        from ullage.report.baselines_json import run_values  # noqa: PLC0415 - only one of the two writers is needed

        return Answer(0, json=run_values(run))
    from ullage.report.baselines_document import run_document  # noqa: PLC0415 - as above

    return Answer(0, document=run_document(run))


def _compare(flags: Flags, world: World, words: tuple[str, ...]) -> Answer:
    before, after = regress.sides(_stored(flags, world), words)
    found = regress.contrast(before, after, tolerance=_tolerance(flags))
    exit_code = 1 if (found.is_regression or found.is_empty) and flags.flag("fail_on_regression") else 0
    if _wants_json(flags):
        from ullage.report.baselines_json import contrast_values  # noqa: PLC0415 - only one of the two writers is needed

        return Answer(exit_code, json=contrast_values(found))
    from ullage.report.baselines_document import contrast_document  # noqa: PLC0415 - as above

    return Answer(exit_code, document=contrast_document(found))


def _tolerance(flags: Flags) -> float:
    text = (flags.text("tolerance") or "").strip()
    if not text:
        return regress.TOLERANCE
    number = text.removesuffix("%").strip()
    if not number.replace(".", "", 1).isdecimal() or not number.isascii() or float(number) > _LARGEST_TOLERANCE * 100:
        raise InputError(f"--tolerance {text[:40]}: write a percentage such as 2%")
    return float(number) / 100


def _export(flags: Flags, world: World, words: tuple[str, ...]) -> Answer:
    runs = _stored(flags, world)
    if words == ("-",) or (not words and flags.text("output") is not None):  # a dash is standard output, as everywhere
        return Answer(0, json=wire.loads(world.store.as_export(runs)))
    _check_count("export FILE", words, 1)
    world.desk.write(words[0], world.store.as_export(runs))
    return _said(flags, f"{counted(len(runs), 'run')} written to {words[0]}", {"exported": len(runs)})


def _import(flags: Flags, world: World, words: tuple[str, ...]) -> Answer:
    _check_count("import FILE", words, 1)
    runs = world.store.read_export(words[0])
    added = world.store.add(runs)
    return _said(
        flags, f"{counted(added, 'run')} added; {len(runs) - added} were there already", {"added": added, "present": len(runs) - added}
    )


def _delete(flags: Flags, world: World, words: tuple[str, ...]) -> Answer:
    if not words:
        raise InputError("baselines delete ID: name the runs to forget; `ullage baselines list` shows their ids")
    stored = _stored(flags, world)
    gone = tuple(dict.fromkeys(run.id for word in words for run in regress.meant(stored, word)))
    for run_id in gone:
        world.store.delete(run_id)
    return _said(flags, f"{counted(len(gone), 'run')} forgotten: {', '.join(gone)}", {"deleted": len(gone)})


def _said(flags: Flags, sentence: str, counts: dict[str, int]) -> Answer:
    if _wants_json(flags):
        return Answer(0, json={"schema": "ullage.baselines.change/1", **counts})
    return Answer(0, document=(doc.Paragraph(sentence),))


def _wants_json(flags: Flags) -> bool:
    return flags.flag("json") or (flags.text("output") or "").endswith(".json")


def _check_count(usage: str, words: tuple[str, ...], count: int) -> None:
    if len(words) != count:
        action = usage.partition(" ")[0]
        raise InputError(f"{len(words)} words follow `baselines {action}`: write ullage baselines {usage}")


_ACTIONS: dict[str, Callable[[Flags, World, tuple[str, ...]], Answer]] = {
    "list": _list,
    "show": _show,
    "compare": _compare,
    "export": _export,
    "import": _import,
    "delete": _delete,
}


def run(flags: Flags, world: World) -> Answer:
    """What the first word asks for; the list where there is none. Raises every error of the tree."""
    action, *words = flags.texts("words") or ("list",)
    if action not in _ACTIONS:
        near = get_close_matches(action, _ACTIONS, n=1)
        raise InputError(f"{action[:40]!r} is nothing baselines can do: {f'did you mean {near[0]}? ' if near else ''}{', '.join(_ACTIONS)}")
    return _ACTIONS[action](flags, world, tuple(words))


VERB = Verb(
    name="baselines",
    help="List, show, compare, export, import or delete the runs this machine remembers.",
    run=run,
    options=_OPTIONS,
    argument=Argument(
        "words", "several", "list | show ID | compare [BEFORE AFTER] | export FILE | import FILE | delete ID; last and ENGINE@VERSION too."
    ),
)
