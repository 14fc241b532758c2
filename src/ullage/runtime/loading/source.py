"""A model's weights and documents, whatever they lie in: one way to ask for a tensor by its canonical name."""

import difflib
from collections.abc import Callable, Mapping
from pathlib import Path

from ullage.domain.hyperparameters import Json
from ullage.errors import InputError, MalformedFileError
from ullage.frozen import dataclass
from ullage.runtime.loading import directory, gguf_file
from ullage.runtime.loading.mapped import WeightMap
from ullage.runtime.loading.names import canonical
from ullage.runtime.loading.stored import Stored
from ullage.world.files import open_model

__all__ = ["Source", "Stored", "open_source"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Source:
    """``documents`` are the small files beside the weights, or what a GGUF file says in their place; ``metadata`` is GGUF's own.

    Names are those of Transformers' checkpoints, with every expert's matrix by itself.
    """

    documents: Mapping[str, bytes]
    metadata: Mapping[str, Json]
    entries: Mapping[str, Callable[[], Stored]]
    files: tuple[WeightMap, ...]

    def names(self) -> tuple[str, ...]:
        """Every tensor's canonical name, in the order of the files."""
        return tuple(self.entries)

    def has(self, name: str) -> bool:
        """Whether there is such a tensor."""
        return canonical(name) in self.entries

    def stored(self, name: str) -> Stored:
        """The tensor of that name. Raises MalformedFileError when the files lack it, UnsupportedModelError for a format not unpacked."""
        found = self.entries.get(canonical(name))
        if found is None:
            near = difflib.get_close_matches(canonical(name), self.entries, n=3) or list(self.entries)[:3]
            where = self.files[0].path.name
            raise MalformedFileError(f"{where} and what belongs to it hold no tensor {name[:120]}; the nearest names are {', '.join(near)}")
        return found()


def open_source(path: str) -> Source:
    """The weights of a directory with safetensors files, of one such file, or of a GGUF file with its splits.

    Raises InputError, WorldError, MalformedFileError and UnsupportedModelError. Nothing in the folder is executed or unpickled.
    """
    folder = open_model(path)
    if folder is None or not folder.weights:
        raise InputError(f"{path} holds no weights: give a directory with .safetensors files, or a .gguf file")
    at = Path(path).expanduser()
    at = at if at.is_dir() else at.parent
    paths = tuple(at / weight.name for weight in folder.weights)
    if paths[0].suffix == ".gguf":
        opened = gguf_file.open_files(paths)
        return Source(documents=opened.documents, metadata=opened.metadata, entries=opened.entries, files=opened.files)
    files, entries = directory.open_files(at, paths)
    return Source(documents=directory.Documents(at), metadata={}, entries=entries, files=files)
