"""What a tuning was asked, as its journal keeps it, so that the journal's name alone shows it again."""

from typing import Any

from ullage import wire
from ullage.commands.verb import Flags, Verb
from ullage.domain.case import Settings, Value
from ullage.errors import InputError, MalformedFileError
from ullage.planning.tune_journal import HEADER
from ullage.ports import World

# How the answer is given, what is done with the journal, and what may be secret.
_LEFT_OUT = frozenset({"study", "replay", "plot", "json", "output", "offline", "env"})


def asked_of(verb: Verb, flags: Flags) -> Settings:
    """The words that were given, each as JSON under its option's name."""
    words: dict[str, Value] = {name: wire.dumps(value) for name, value in _given(verb, flags).items() if name not in _LEFT_OUT}
    return Settings.of(words)


def as_asked(verb: Verb, flags: Flags, world: World) -> Flags:
    """With what the journal of --replay --study was asked, where words are left out. Raises InputError where nothing tells the model."""
    study = flags.text("study")
    if flags.flag("replay") and study is not None:
        header = next((one for one in world.store.trials_of(study) if one.number == HEADER), None)
        if header is None:
            raise InputError(f"no journal is called {study}: the answer of `ullage tune` names its own at the end of its summary")
        flags = verb.flags({**_stored(header.settings), **_given(verb, flags)})
    if flags.text("model") is None:
        raise InputError("say which model is to be tuned; or show a journal again by its name: ullage tune --replay --study NAME")
    return flags


def _given(verb: Verb, flags: Flags) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for option in verb.options:
        value = {"many": flags.texts, "whole": flags.whole, "flag": flags.flag}.get(option.kind, flags.text)(option.name)
        if value != option.absent:
            found[option.name] = value
    name = verb.argument.name if verb.argument is not None else ""
    return {**found, **({name: word} if (word := flags.text(name)) is not None else {})}


def _stored(words: Settings) -> dict[str, object]:
    """Of an older journal nothing, and of a word that is no longer read, nothing of that."""
    found: dict[str, object] = {}
    for name, text in words.items:
        try:
            found[name] = wire.loads(str(text))
        except MalformedFileError:
            continue
    return found
