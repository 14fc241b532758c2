"""``ullage models``: which models are known without the network, and which families can be read."""

from ullage import architectures
from ullage.catalog import models as catalogue
from ullage.commands.model import read_model
from ullage.commands.verb import Answer, Argument, Flags, Option, Verb
from ullage.domain.family import Family
from ullage.domain.hyperparameters import Json
from ullage.ports import World
from ullage.report import document as doc
from ullage.units import format_bytes, format_count

_OPTIONS = (
    Option("families", "flag", "List the model families instead."),
    Option("json", "flag", "Answer as JSON."),
    Option("offline", "flag", "Never use the network."),
)


def _families(flags: Flags) -> Answer:
    found = sorted((family.title, tuple(sorted(family.model_types))) for family in set_of_families())
    if flags.flag("json"):
        return Answer(0, json={"schema": "ullage.families/1", "families": [{"title": name, "model_types": list(t)} for name, t in found]})
    rows = tuple((", ".join(types), title) for title, types in found)
    return Answer(0, document=(doc.Table((doc.Column("model_type"), doc.Column("family")), rows),))


def set_of_families() -> tuple[Family, ...]:
    """Every family once."""
    return tuple({family.title: family for family in architectures.families().values()}.values())


def _one(word: str, flags: Flags, world: World) -> Answer:
    model, notes = read_model(word, world.models)
    architecture = model.architecture
    known = catalogue.lookup(model.name)
    facts: dict[str, Json] = {
        "name": model.name,
        "source": model.source,
        "published": catalogue.origin(known) if known is not None else "",
        "family": architecture.model_type,
        "parameters": model.parameters,
        "weight_bytes": model.checkpoint.nbytes,
        "scheme": model.checkpoint.scheme,
        "exact": model.checkpoint.exact,
        "layers": len(architecture.layers),
        "hidden_size": architecture.hidden_size,
        "vocab_size": architecture.vocab_size,
        "max_context_tokens": architecture.max_context_tokens,
        "unread_keys": list(model.unread),
        "notes": list(notes),
    }
    if flags.flag("json"):
        return Answer(0, json={"schema": "ullage.model/1", **facts})
    rows = tuple((name.replace("_bytes", "s").replace("_", " "), text) for name, value in facts.items() if (text := _in_words(name, value)))
    return Answer(0, document=(doc.Table((doc.Column("fact"), doc.Column("value")), rows),))


def _in_words(name: str, value: Json) -> str:
    """A fact as people read it; nothing for one that has nothing to say."""
    if name == "exact":
        return "yes: from file headers" if value else "no: sized by rule from the configuration"
    if name == "max_context_tokens" and value is None:
        return "not stated"
    if isinstance(value, list):
        return "; ".join(map(str, value))
    if isinstance(value, int):
        return format_bytes(value) if name.endswith("_bytes") else format_count(value)
    return str(value or "")


def _holding(word: str) -> list[str]:
    return sorted((model.id for model in catalogue.bundled() if word.lower() in model.id.lower()), key=str.lower)


def run(flags: Flags, world: World) -> Answer:
    """List the bundled models whose ids hold the word, or describe the one that it names. Raises every error of the tree."""
    if flags.flag("families"):
        return _families(flags)
    word = flags.text("word") or ""
    found = _holding(word)
    if word and (len(found) <= 1 or catalogue.lookup(word) is not None):
        return _one(found[0] if len(found) == 1 else word, flags, world)
    if flags.flag("json"):
        return Answer(0, json={"schema": "ullage.models/1", "models": list(found)})
    return Answer(0, document=(doc.Heading(f"{len(found)} bundled models"), doc.Items(tuple(found))))


VERB = Verb(
    name="models",
    help="List the models known without the network, or describe one.",
    run=run,
    options=_OPTIONS,
    argument=Argument("word", "maybe", "Part of a name to list, or a model to describe."),
)
