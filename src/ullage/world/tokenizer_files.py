"""The small files a tokeniser is read from: in a folder, in the Hub's local cache, on the Hub."""

from collections.abc import Mapping
from pathlib import Path

from ullage.errors import WorldError

NAMES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "generation_config.json", "chat_template.jinja")
_MAIN = NAMES[0]
_TIMEOUT_S = 5


def find(word: str, *, offline: bool) -> Mapping[str, bytes] | None:
    """The files by name; None where there is no ``tokenizer.json``. Raises WorldError for one that cannot be read."""
    path = Path(word).expanduser()
    try:
        if path.is_file() and path.suffix == ".json":
            return {_MAIN: path.read_bytes()} if path.name != "config.json" else _in_folder(path.parent)
        if path.is_dir():
            return _in_folder(path)
    except OSError as error:
        raise WorldError(f"{path} cannot be read: {error.strerror or error}; check the path and its permissions") from error
    return _of_hub(word, offline=offline)


def _in_folder(folder: Path) -> Mapping[str, bytes] | None:
    found = {name: (folder / name).read_bytes() for name in NAMES if (folder / name).is_file()}
    return found if _MAIN in found else None


def _of_hub(word: str, *, offline: bool) -> Mapping[str, bytes] | None:
    from ullage.world import hub

    if "/" not in word or not hub.is_id(word):
        return None
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError

    model = word.removeprefix("hf:").partition("@")[0].partition(":")[0]
    found: dict[str, bytes] = {}
    for name in NAMES:
        try:
            found[name] = Path(hf_hub_download(model, name, local_files_only=offline, etag_timeout=_TIMEOUT_S)).read_bytes()
        except EntryNotFoundError:
            if name == _MAIN:
                return None
        except Exception:  # noqa: BLE001 - whatever the HTTP library of the day raises; an estimate is said to be one
            return found if _MAIN in found else None
    return found
