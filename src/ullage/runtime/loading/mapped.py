"""Weight files mapped into memory: their headers, and every tensor's bytes as a view of the map."""

import mmap
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch

from ullage.domain.weight_format import Header, NeedMore
from ullage.errors import MalformedFileError, UnsupportedModelError, WorldError, step_after
from ullage.formats import gguf, safetensors
from ullage.frozen import dataclass

_FIRST_BYTES = 1 << 20
Read = TypeVar("Read", Header, gguf.Whole)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class WeightMap:
    """One file: ``data`` are all its bytes as a uint8 tensor, ``begins`` where each tensor of the header begins.

    The map is private: nothing that is written to a view reaches the file.
    """

    path: Path
    map: mmap.mmap
    data: torch.Tensor
    header: Header
    begins: tuple[int, ...]


def _map(path: Path) -> mmap.mmap:
    """Raises MalformedFileError for an empty file and WorldError for one that cannot be read."""
    try:
        with path.open("rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    except ValueError as error:
        raise MalformedFileError(f"{path} is empty: fetch it again") from error
    except OSError as error:
        raise WorldError(f"{path} cannot be mapped: {error.strerror or error}; {step_after(error)}") from error


def _header(path: Path, whole: mmap.mmap, read: Callable[[bytes, int], Read | NeedMore]) -> Read:
    wanted = min(_FIRST_BYTES, len(whole))
    try:
        while True:
            found = read(whole[:wanted], len(whole))
            if not isinstance(found, NeedMore):
                return found
            wanted = min(max(found.nbytes, 2 * wanted), len(whole))
    except MalformedFileError as error:
        raise MalformedFileError(f"{path}: {error}") from error


def _bytes(whole: mmap.mmap) -> torch.Tensor:
    return torch.frombuffer(whole, dtype=torch.uint8)


def map_safetensors(path: Path) -> WeightMap:
    """A mapped ``.safetensors`` file. Raises MalformedFileError and WorldError."""
    whole = _map(path)
    header = _header(path, whole, safetensors.read)
    position = safetensors.LENGTH_BYTES + int.from_bytes(whole[: safetensors.LENGTH_BYTES], "little")
    begins = []
    for tensor in header.tensors:  # in the order of their bytes, without gaps
        begins.append(position)
        position += tensor.nbytes
    return WeightMap(path=path, map=whole, data=_bytes(whole), header=header, begins=tuple(begins))


def map_gguf(path: Path) -> WeightMap:
    """A mapped ``.gguf`` file. Raises MalformedFileError, WorldError, and UnsupportedModelError for big-endian numbers."""
    whole = _map(path)
    found = _header(path, whole, gguf.read_whole)
    if not found.little_endian:
        raise UnsupportedModelError(f"{path} is a big-endian GGUF file; only little-endian weights are computed with")
    return WeightMap(path=path, map=whole, data=_bytes(whole), header=found.header, begins=found.begins)
