"""The bundled model configurations: found by Hub id or bare name without reading any other's file.

The files are read through the module's own loader, the resource interface of the import system: ``importlib.resources`` would add
20 ms to every start.
"""

from functools import cache
from typing import NamedTuple

from ullage.errors import InputError

_FOLDER = "configs"


class BundledModel(NamedTuple):
    """One bundled configuration: its Hub id and its file."""

    id: str
    file: str


class FineTune(NamedTuple):
    """A published model that has the shape of a bundled one, and where that is said."""

    id: str
    shape_of: str
    source: str


# Fine-tunes have the tensors of what they were tuned from; a name stands here only where its publisher or a log says from what.
ALIASES = (
    FineTune(
        "abacusai/Smaug-72B-v0.1", "Qwen/Qwen1.5-72B", "model card: tuned from MoMo-72B, itself Qwen-72B; turboderp-org/exllamav2#339"
    ),
    FineTune("abacusai/Smaug-72B", "Qwen/Qwen1.5-72B", "short for abacusai/Smaug-72B-v0.1"),
    FineTune("deepcogito/cogito-v1-preview-qwen-32B", "Qwen/Qwen2.5-32B", "model card: tuned from Qwen2.5-32B"),
)


def _resource(name: str) -> bytes:
    here = __file__.rpartition("models.py")[0]
    return bytes(__spec__.loader.get_data(f"{here}{_FOLDER}/{name}"))  # type: ignore[union-attr]


@cache
def _index() -> list[str]:
    return _resource("INDEX.csv").decode().splitlines()


@cache
def bundled() -> tuple[BundledModel, ...]:
    """Every bundled model. No id and no file name holds a comma, so the rest of a line is not parsed."""
    return tuple(BundledModel(*line.split(",", 2)[:2]) for line in _index()[1:])


def origin(model: BundledModel) -> str:
    """Where the configuration was published, and what is to be known about it."""
    import csv  # noqa: PLC0415 - only the listing of one model needs it

    tuned = next((alias for alias in ALIASES if alias.id == model.id), None)
    if tuned is not None:
        return f"the shape of {tuned.shape_of} ({tuned.source})"
    for row in csv.DictReader(_index()):
        if row["model"] == model.id:
            commit = f" at {row['commit']}" if row["commit"] else ""
            return f"{row['source']}{commit}" + (f" ({row['notes']})" if row["notes"] else "")
    return ""


def _plain(name: str) -> str:
    """In small letters with one separator; dropping it would make Qwen2.5-7B and Qwen2-57B alike."""
    return name.lower().replace("_", "-").replace(".", "-").replace(" ", "-")


def lookup(word: str) -> BundledModel | None:
    """The model of that Hub id or bare name; case, ``-``, ``_`` and ``.`` do not matter. None when it is not bundled.

    Raises InputError when several organisations have published the bare name.
    """
    wanted = _plain(word)
    at = _plain if "/" in wanted else _bare
    found = [model for model in bundled() if at(model.id) == wanted] or [model for model in _tuned() if at(model.id) == wanted]
    exact = [model for model in found if word in {model.id, model.id.rpartition("/")[2]}]
    best = exact or found
    if len(best) > 1:
        raise InputError(f"{word!r} may be any of {', '.join(model.id for model in best)}: give the whole id")
    return best[0] if best else None


def _tuned() -> list[BundledModel]:
    """The fine-tunes, each with the file of its shape."""
    files = {model.id: model.file for model in bundled()}
    return [BundledModel(alias.id, files[alias.shape_of]) for alias in ALIASES if alias.shape_of in files]


def _bare(model_id: str) -> str:
    return _plain(model_id.rpartition("/")[2])


def near(word: str, limit: int = 5) -> tuple[str, ...]:
    """The ids whose bare names are nearest to ``word``."""
    import difflib  # noqa: PLC0415 - only an error needs it

    wanted = _bare(word)
    ids = {_bare(model.id): model.id for model in bundled()}
    inside = [model_id for name, model_id in ids.items() if wanted and wanted in name]
    close = [ids[name] for name in difflib.get_close_matches(wanted, ids, n=limit, cutoff=0.55)]
    return tuple(dict.fromkeys([*close, *sorted(inside, key=len)]))[:limit]


def configuration(model: BundledModel) -> bytes:
    """The text of its ``config.json``."""
    return _resource(model.file)
