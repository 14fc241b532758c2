"""Safetensors files: eight bytes of length, a JSON header, and data that the tensors cover without gap or overlap."""

from math import prod
from typing import cast

from ullage import wire
from ullage.catalog.tensor_formats import SAFETENSORS_DTYPES
from ullage.domain.hyperparameters import Json
from ullage.domain.weight_format import Header, NeedMore, StoredTensor, WeightFormat
from ullage.errors import MalformedFileError
from ullage.frozen import dataclass

LENGTH_BYTES = 8
LONGEST_HEADER = 100_000_000  # the limit of safetensors' own reader
_MOST_DIMENSIONS = 32
_LARGEST = 1 << 62


@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    """``model.safetensors.index.json``: the shards' file names in order, and the bytes of all tensors where it says so."""

    shards: tuple[str, ...]
    total_bytes: int | None
    names: tuple[str, ...]


def read(beginning: bytes, file_size: int) -> Header | NeedMore:
    """The header of a file of ``file_size`` bytes from its first bytes. Raises MalformedFileError."""
    if file_size < LENGTH_BYTES:
        raise MalformedFileError(f"a safetensors file begins with {LENGTH_BYTES} bytes of length; this file has {file_size} bytes")
    if len(beginning) < LENGTH_BYTES:
        return NeedMore(nbytes=LENGTH_BYTES)
    length = int.from_bytes(beginning[:LENGTH_BYTES], "little")
    if length > LONGEST_HEADER:
        raise MalformedFileError(f"the safetensors header claims {length} bytes at offset 0; at most {LONGEST_HEADER} are allowed")
    data_start = LENGTH_BYTES + length
    if data_start > file_size:
        raise MalformedFileError(f"the safetensors header claims {length} bytes, but the file has {file_size}: it is cut off")
    if beginning[LENGTH_BYTES : LENGTH_BYTES + 1] not in (b"{", b"") or not length:
        raise MalformedFileError(f"the safetensors header does not begin with '{{' at offset {LENGTH_BYTES}")
    if len(beginning) < data_start:
        return NeedMore(nbytes=data_start)
    value = wire.loads(beginning[LENGTH_BYTES:data_start])
    if not isinstance(value, dict):
        raise MalformedFileError(f"the safetensors header at offset {LENGTH_BYTES} is no JSON object")
    return _header(value, file_size - data_start)


def _header(value: dict[str, Json], data_bytes: int) -> Header:
    metadata = value.pop("__metadata__", None) or {}
    if not isinstance(metadata, dict) or not all(isinstance(item, str) for item in metadata.values()):
        raise MalformedFileError("__metadata__ should map names to strings")
    placed = sorted((_tensor(name, entry) for name, entry in value.items()), key=lambda pair: (pair[0], pair[1].nbytes, pair[1].name))
    position = 0
    for start, tensor in placed:
        if start != position:
            what = "overlaps the tensor before it" if start < position else f"leaves {start - position} bytes unused before it"
            raise MalformedFileError(f"{tensor.name[:120]!r} begins at {start} and {what}")
        position += tensor.nbytes
    if position != data_bytes:
        raise MalformedFileError(f"the tensors take {position} bytes, but the file has {data_bytes} after its header")
    return Header(tensors=tuple(tensor for _, tensor in placed), metadata=tuple(sorted(metadata.items())))


def _tensor(name: str, entry: Json) -> tuple[int, StoredTensor]:
    """A tensor and its first byte after the header."""
    shown = repr(name[:120])
    if not isinstance(entry, dict):
        raise MalformedFileError(f"{shown} should be an object")
    word = entry.get("dtype")
    if not isinstance(word, str) or word not in SAFETENSORS_DTYPES:
        raise MalformedFileError(f"{shown} has the dtype {str(word)[:40]!r}; known are {', '.join(SAFETENSORS_DTYPES)}")
    shape = _integers(entry.get("shape"), f"{shown}: shape")
    offsets = _integers(entry.get("data_offsets"), f"{shown}: data_offsets")
    if len(offsets) != 2 or offsets[0] > offsets[1]:  # noqa: PLR2004 - begin and end
        raise MalformedFileError(f"{shown}: data_offsets should be a beginning and an end, not {offsets[:4]}")
    elements = prod(shape)
    fmt = SAFETENSORS_DTYPES[word]
    nbytes = offsets[1] - offsets[0]
    if elements % fmt.block_elements or elements // fmt.block_elements * fmt.block_bytes != nbytes:
        raise MalformedFileError(f"{shown}: {word} of shape {list(shape)} does not take the {nbytes} bytes of its data_offsets")
    return offsets[0], StoredTensor(name=name, dtype=word, shape=shape, nbytes=nbytes)


def _integers(value: Json, what: str) -> tuple[int, ...]:
    if (
        not isinstance(value, list)
        or len(value) > _MOST_DIMENSIONS
        or not all(type(item) is int and 0 <= item <= _LARGEST for item in value)
    ):
        raise MalformedFileError(f"{what} should be a list of at most {_MOST_DIMENSIONS} whole numbers")
    return tuple(cast("list[int]", value))


def read_index(data: bytes) -> Index:
    """The index of a checkpoint in several files. Raises MalformedFileError."""
    value = wire.loads(data)
    places = value.get("weight_map") if isinstance(value, dict) else None
    if not isinstance(value, dict) or not isinstance(places, dict) or not places:
        raise MalformedFileError("the index has no weight_map")
    for name, shard in places.items():
        if not isinstance(shard, str) or not _is_plain_name(shard):
            raise MalformedFileError(f"weight_map places {name[:120]!r} in {str(shard)[:120]!r}, which is no file name")
    metadata = value.get("metadata")
    total = metadata.get("total_size") if isinstance(metadata, dict) else None
    if isinstance(total, float) and total.is_integer():
        total = int(total)
    return Index(
        shards=tuple(sorted(set(cast("dict[str, str]", places).values()))),
        total_bytes=total if type(total) is int and 0 <= total <= _LARGEST else None,
        names=tuple(places),
    )


def _is_plain_name(shard: str) -> bool:
    """A name below the checkpoint's own folder."""
    return shard.isprintable() and not any(part in ("", ".", "..") for part in shard.replace("\\", "/").split("/")) and ":" not in shard


FORMAT = WeightFormat(name="safetensors", suffixes=(".safetensors",), read=read)
