"""``ullage engines``: which engines are known, in which releases, with which settings and figures."""

from ullage import engines
from ullage.commands.verb import Answer, Argument, Flags, Option, Verb
from ullage.domain.engine import Engine
from ullage.domain.hyperparameters import Json
from ullage.ports import World
from ullage.report import document as doc
from ullage.report.origin import said

_LIST = (doc.Column("engine"), doc.Column("releases"), doc.Column("devices"), doc.Column("title"))
_KNOBS = (doc.Column("setting"), doc.Column("meaning"), doc.Column("default"))
_CONSTANTS = (doc.Column("figure"), doc.Column("value", is_number=True), doc.Column("unit"), doc.Column("source"))


def _values(engine: Engine) -> dict[str, Json]:
    profile = engine.profile
    return {
        "name": profile.name,
        "title": profile.title,
        "oldest": str(profile.oldest),
        "newest": str(profile.newest),
        "default": str(profile.default),
        "package": profile.package,
        "device_kinds": list[Json](sorted(profile.device_kinds)),
        "settings": [{"name": knob.name, "default": knob.default, "meaning": knob.meaning} for knob in profile.knobs],
        "constants": [{"name": c.name, "value": c.value, "unit": c.unit, "source": said(c.source)} for c in profile.constants],
    }


def _row(engine: Engine) -> tuple[str, ...]:
    profile = engine.profile
    releases = f"{profile.oldest} to {profile.newest}"
    return (profile.name, releases, ", ".join(sorted(profile.device_kinds)), profile.title)


def _described(engine: Engine) -> doc.Document:
    profile = engine.profile
    knobs = tuple((knob.name, knob.meaning, knob.default) for knob in profile.knobs)
    figures = tuple((c.name, f"{c.value:,}", c.unit, said(c.source)) for c in profile.constants)
    return (
        doc.Heading(f"{profile.title}: releases {profile.oldest} to {profile.newest}, {profile.default} unless you say"),
        doc.Table(_KNOBS, knobs),
        *((doc.Heading("Figures that are not derived"), doc.Table(_CONSTANTS, figures)) if figures else ()),
    )


def run(flags: Flags, world: World) -> Answer:  # noqa: ARG001 - every verb is given the world
    """All engines, or one with its settings. Raises InputError for one that is not known."""
    word = flags.text("name")
    found = (engines.find(word),) if word is not None else tuple(engines.engines().values())
    if flags.flag("json"):
        return Answer(0, json={"schema": "ullage.engines/1", "engines": [_values(engine) for engine in found]})
    return Answer(0, document=_described(found[0]) if word is not None else (doc.Table(_LIST, tuple(_row(engine) for engine in found)),))


VERB = Verb(
    name="engines",
    help="Say which engines are known, in which releases and with which settings.",
    run=run,
    options=(Option("json", "flag", "Answer as JSON."),),
    argument=Argument("name", "maybe", "One engine, to see its settings."),
)
