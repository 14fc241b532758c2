"""A tokeniser from the files of a model's folder."""

from collections.abc import Mapping
from typing import Any

from ullage.domain.hyperparameters import Json
from ullage.errors import MalformedFileError, UnsupportedModelError
from ullage.text._gguf import tokenizer_from_gguf
from ullage.text._library import LibraryTokenizer
from ullage.text._optional import library
from ullage.text._tiktoken import tokenizer_from_ranks
from ullage.text.tokenizer import Tokenizer
from ullage.wire import loads

_SETTINGS = ("tokenizer_config.json", "special_tokens_map.json", "generation_config.json", "config.json")
_SLOW_FILES = ("tokenizer.model", "spiece.model", "sentencepiece.bpe.model", "tekken.json", "vocab.json", "vocab.txt")

__all__ = ["open_tokenizer", "tokenizer_from_gguf"]


def open_tokenizer(documents: Mapping[str, bytes]) -> Tokenizer:
    """The tokeniser of a folder's files by name. Raises UnsupportedModelError naming what is there, and MalformedFileError."""
    settings = {name: _settings(documents, name) for name in _SETTINGS}
    ends = _ends(settings)
    if "tokenizer.json" in documents:
        return _from_json(documents["tokenizer.json"], settings, ends)
    ranks = next((name for name in sorted(documents) if name.endswith(".tiktoken") or name == "tiktoken.model"), None)
    if ranks is not None:
        return tokenizer_from_ranks(documents[ranks], settings["tokenizer_config.json"], ends)
    slow = next((name for name in _SLOW_FILES if name in documents), None)
    there = f"the folder has {slow}, which is not read" if slow else "the folder has no tokeniser"
    raise UnsupportedModelError(
        f"{there}; tokenizer.json, *.tiktoken and GGUF files are: write one with transformers, "
        "AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)"
    )


def _settings(documents: Mapping[str, bytes], name: str) -> dict[str, Json]:
    found = loads(documents[name]) if name in documents else {}
    if not isinstance(found, dict):
        raise MalformedFileError(f"{name} is no JSON object")
    return found


def _from_json(data: bytes, settings: Mapping[str, dict[str, Json]], ends: tuple[int, ...]) -> Tokenizer:
    tokenizers = library("tokenizers", "reading tokenizer.json")
    try:
        backend = tokenizers.Tokenizer.from_buffer(data)
    except Exception as error:  # the library raises Exception itself
        raise MalformedFileError(f"tokenizer.json cannot be read: {str(error)[:200]}") from error
    begin, *_ = [*_named(backend, settings, "bos_token"), None]
    return LibraryTokenizer(backend, eos_ids=frozenset((*ends, *_named(backend, settings, "eos_token"))), bos_id=begin)


def _named(backend: Any, settings: Mapping[str, dict[str, Json]], key: str) -> tuple[int, ...]:
    """The id of the token that a setting names, by its text or as an object with a ``content``."""
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        said = settings[name].get(key)
        word = said.get("content") if isinstance(said, dict) else said
        token = backend.token_to_id(word) if isinstance(word, str) else None
        if token is not None:
            return (int(token),)
    return ()


def _ends(settings: Mapping[str, dict[str, Json]]) -> tuple[int, ...]:
    """The ids at which generation stops, of the first configuration that says."""
    config = settings["config.json"]
    inner = config.get("text_config")
    places = (settings["generation_config.json"], config, inner if isinstance(inner, dict) else {})
    said = next((place["eos_token_id"] for place in places if place.get("eos_token_id") is not None), None)
    return tuple(token for token in (said if isinstance(said, list) else [said]) if type(token) is int)
