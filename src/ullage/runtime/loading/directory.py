"""Directories with safetensors files: documents read when asked for, tensors as views of the mapped shards."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from ullage import formats, wire
from ullage.domain.hyperparameters import Hyperparameters
from ullage.errors import InputError, MalformedFileError, UnsupportedModelError, WorldError, step_after
from ullage.formats.safetensors import read_index
from ullage.runtime.loading import fused
from ullage.runtime.loading.mapped import WeightMap, map_safetensors
from ullage.runtime.loading.names import canonical
from ullage.runtime.loading.scaled import SCALES, scale_of, scaled
from ullage.runtime.loading.stored import Stored
from ullage.runtime.loading.views import Place, lying
from ullage.world.files import LARGEST_DOCUMENT_BYTES

_DOCUMENTS = (".json", ".txt", ".jinja", ".model")
_INDEX = "model.safetensors.index.json"
_FP8 = frozenset({"fp8", "finegrained_fp8", "fbgemm_fp8"})
_READ_SCHEMES = _FP8 | {"mxfp4"}


class Documents(Mapping[str, bytes]):
    """The small files of a folder. Each is read when it is asked for, so that no tokenizer is held in memory twice."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._names = tuple(sorted(file.name for file in folder.iterdir() if file.suffix in _DOCUMENTS and file.is_file()))

    def __getitem__(self, name: str) -> bytes:
        if name not in self._names:
            raise KeyError(name)
        path = self._folder / name
        try:
            if path.stat().st_size > LARGEST_DOCUMENT_BYTES:
                raise InputError(f"{path} is larger than {LARGEST_DOCUMENT_BYTES >> 20} MiB, so it is no document of a model")
            return path.read_bytes()
        except OSError as error:
            raise WorldError(f"{path} cannot be read: {error.strerror or error}; {step_after(error)}") from error

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def open_files(folder: Path, paths: tuple[Path, ...]) -> tuple[tuple[WeightMap, ...], dict[str, Callable[[], Stored]]]:
    """The mapped shards, and what makes each tensor. Raises MalformedFileError and UnsupportedModelError."""
    documents = Documents(folder)
    scheme = _scheme(documents)
    _check_shards(documents, paths)
    files = tuple(map_safetensors(path) for path in paths)
    places: dict[str, Place] = {}
    for file in files:
        for tensor, begin in zip(file.header.tensors, file.begins, strict=True):
            name = canonical(tensor.name)
            if name in places:
                raise MalformedFileError(f"the tensor {name[:120]!r} stands in {places[name].file.path.name} and in {file.path.name}")
            places[name] = Place(file=file, tensor=tensor, begin=begin)
    return files, {name: make for stored, place in places.items() for name, make in _makers(stored, place, places, scheme)}


def _makers(
    name: str, place: Place, places: Mapping[str, Place], scheme: Hyperparameters | None
) -> Iterator[tuple[str, Callable[[], Stored]]]:
    experts = fused.experts_of(name, place, places)
    scale = scale_of(name, places) if scheme is not None else None
    if experts is not None:
        yield from experts.items()
    elif scale is not None and scheme is not None:
        yield name, scaled(place, scale, scheme)
    elif scheme is None or not name.endswith(SCALES):
        yield name, lambda: lying(place)


def _scheme(documents: Mapping[str, bytes]) -> Hyperparameters | None:
    """How the checkpoint is quantised, or None. Raises UnsupportedModelError for a scheme that is not read here."""
    if "config.json" not in documents:
        raise InputError("there is no config.json beside the weights: put the model's own there")
    config = wire.loads(documents["config.json"])
    if not isinstance(config, dict):
        raise MalformedFileError("config.json is no JSON object")
    scheme = formats.quantization_of(Hyperparameters(config))
    method = scheme.raw("quant_method") if scheme is not None else None
    if scheme is not None and method not in _READ_SCHEMES:
        raise UnsupportedModelError(
            f"quantization_config.quant_method is {str(method)[:60]!r}; the runtime reads plain, fp8 and mxfp4 safetensors, and GGUF files"
        )
    return scheme


def _check_shards(documents: Mapping[str, bytes], paths: tuple[Path, ...]) -> None:
    """Raises WorldError naming the first shard that the index lists and nobody has."""
    if _INDEX not in documents:
        return
    listed = read_index(documents[_INDEX]).shards
    present = {path.name for path in paths}
    missing = [name for name in listed if name not in present]
    if missing and (len(present) > 1 or present & set(listed)):
        raise WorldError(f"{paths[0].parent} lacks {missing[0]}, which its index lists ({len(missing)} missing): fetch it")
