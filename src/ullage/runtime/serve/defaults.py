"""How the maker of a model wants its tokens chosen, where a request does not say."""

from collections.abc import Mapping
from math import isfinite

from ullage import wire
from ullage.errors import MalformedFileError

FILE = "generation_config.json"
_SETTINGS = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty")


def sampling_defaults(documents: Mapping[str, bytes]) -> dict[str, float]:
    """The numbers of ``generation_config.json`` that requests know too; none of a file that is no JSON object."""
    try:
        said = wire.loads(documents.get(FILE, b"{}"))
    except MalformedFileError:
        return {}
    found: dict[str, float] = {}
    for name in _SETTINGS:
        value = said.get(name) if isinstance(said, dict) else None
        if isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value):
            found[name] = value
    return found
