"""The small files a tokeniser is read from: in a folder, in the Hub's local cache, on the Hub."""

from collections.abc import Mapping
from pathlib import Path

from ullage.errors import WorldError, step_after

NAMES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "generation_config.json", "chat_template.jinja")
_MAIN = NAMES[0]


def find(word: str, *, offline: bool) -> Mapping[str, bytes] | None:
    """The files by name; None where there is no ``tokenizer.json``. Raises WorldError for one that cannot be read."""
    path = Path(word).expanduser()
    try:
        if path.is_file() and path.suffix == ".json":
            return {_MAIN: path.read_bytes()} if path.name != "config.json" else _in_folder(path.parent)
        if path.is_dir():
            return _in_folder(path)
    except OSError as error:
        raise WorldError(f"{path} cannot be read: {error.strerror or error}; {step_after(error)}") from error
    return _of_hub(word, offline=offline)


def _in_folder(folder: Path) -> Mapping[str, bytes] | None:
    found = {name: (folder / name).read_bytes() for name in NAMES if (folder / name).is_file()}
    return found if _MAIN in found else None


def _of_hub(word: str, *, offline: bool) -> Mapping[str, bytes] | None:
    from ullage.world import hub

    if "/" not in word or not hub.is_id(word):
        return None
    found = hub.documents(word, NAMES, offline=offline)
    return found if _MAIN in found else None
