"""GGUF files, versions 2 and 3, of either byte order: metadata, tensor places and sizes."""

import math
from math import prod

from ullage.catalog.tensor_formats import GGML_TYPES
from ullage.domain.checkpoint import TensorFormat
from ullage.domain.hyperparameters import Json
from ullage.domain.weight_format import Header, NeedMore, StoredTensor, WeightFormat
from ullage.errors import MalformedFileError
from ullage.formats._cursor import LONGEST_HEADER, Cursor, TooShortError
from ullage.frozen import dataclass

MAGIC = b"GGUF"
_FIXED_BYTES = 24  # magic, version and two counts
_LEAST_ENTRY_BYTES = 13  # a key of no letters, a type and one byte
_LEAST_TENSOR_BYTES = 24  # a name of no letters, no dimensions, a type and an offset
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_KEPT_ITEMS = 4096  # longer arrays are tokenizers: only their length is kept
_DEEPEST_ARRAY = 3
_MOST_DIMENSIONS = 4
_DEFAULT_ALIGNMENT = 32
_MOST_ITEMS = 1 << 22  # more than any tokenizer has; the lists stay below 200 MB however the file is made


@dataclass(frozen=True, slots=True, kw_only=True)
class Whole:
    """A header with arrays of any length, and the byte of the file at which each of its tensors begins, in its order."""

    header: Header
    begins: tuple[int, ...]
    little_endian: bool


def read(beginning: bytes, file_size: int) -> Header | NeedMore:
    """The header of a file of ``file_size`` bytes from its first bytes. Raises MalformedFileError.

    Arrays of more than 4096 items stand in the metadata as ``{"length": count}``.
    """
    found = _parse(beginning, file_size, _KEPT_ITEMS)
    return found.header if isinstance(found, Whole) else found


def read_whole(beginning: bytes, file_size: int) -> Whole | NeedMore:
    """What an engine needs to load the file: as ``read``, with whole tokenizers and places. Raises MalformedFileError."""
    return _parse(beginning, file_size, _MOST_ITEMS)


def _parse(beginning: bytes, file_size: int, kept: int) -> Whole | NeedMore:
    if beginning[: len(MAGIC)] != MAGIC[: len(beginning)]:
        raise MalformedFileError(f"a GGUF file begins with {MAGIC!r}; this one begins with {beginning[:4]!r}")
    if file_size < _FIXED_BYTES:
        raise MalformedFileError(f"a GGUF file has at least {_FIXED_BYTES} bytes; this one has {file_size}")
    if len(beginning) < _FIXED_BYTES:
        return NeedMore(nbytes=_FIXED_BYTES)
    try:
        order = _byte_order(beginning)
        header, begins = _read(Cursor(beginning, file_size, order=order, position=8), file_size, kept)
        return Whole(header=header, begins=begins, little_endian=order == "<")
    except TooShortError as short:
        # Twice as much as last time, so that a long header takes few readings.
        return NeedMore(nbytes=max(short.needed, min(2 * len(beginning), file_size, LONGEST_HEADER)))


def _byte_order(beginning: bytes) -> str:
    for order, word in (("<", "little"), (">", "big")):
        version = int.from_bytes(beginning[4:8], "little" if word == "little" else "big")
        if version in (2, 3):
            return order
    raise MalformedFileError(f"the GGUF version at offset 4 is {int.from_bytes(beginning[4:8], 'little')}; versions 2 and 3 are read")


def _read(cursor: Cursor, file_size: int, kept: int) -> tuple[Header, tuple[int, ...]]:
    tensor_count = cursor.integer("Q", "the number of tensors")
    entry_count = cursor.integer("Q", "the number of metadata entries")
    cursor.claim(entry_count * _LEAST_ENTRY_BYTES + tensor_count * _LEAST_TENSOR_BYTES, f"{entry_count} entries and {tensor_count} tensors")
    metadata: dict[str, Json] = {}
    for _ in range(entry_count):
        key = cursor.text("a metadata key")
        if key in metadata:
            raise MalformedFileError(f"the metadata key {key[:80]!r} stands twice")
        metadata[key] = _value(cursor, cursor.integer("I", "a metadata type"), f"metadata {key[:80]!r}", kept)
    placed = [_tensor(cursor) for _ in range(tensor_count)]
    alignment = metadata.get("general.alignment", _DEFAULT_ALIGNMENT)
    if not isinstance(alignment, int) or alignment < 1 or alignment & (alignment - 1):
        raise MalformedFileError(f"general.alignment is {str(alignment)[:40]}; a power of two is needed")
    start = _aligned(cursor.position, alignment)
    _check_places(placed, alignment, file_size - start)
    header = Header(tensors=tuple(tensor for _, tensor in placed), metadata=tuple(metadata.items()))
    return header, tuple(start + offset for offset, _ in placed)


def _aligned(position: int, alignment: int) -> int:
    return -(-position // alignment) * alignment


def _value(cursor: Cursor, kind: int, what: str, kept: int, depth: int = 0) -> Json:
    if kind in _SCALARS:
        return _json(cursor.number(_SCALARS[kind], what))
    if kind == _STRING:
        return cursor.text(what, strict=False)
    if kind != _ARRAY or depth >= _DEEPEST_ARRAY:
        raise MalformedFileError(f"{what} at offset {cursor.position} has the unknown value type {kind}")
    item = cursor.integer("I", what)
    count = cursor.integer("Q", what)
    if item in _SCALARS and count <= kept:
        return [_json(number) for number in cursor.numbers(_SCALARS[item], count, what)]
    if item in _SCALARS:
        cursor.skip(count * _width(item), what)
        return {"length": count}
    if item == _STRING and count > kept:
        cursor.skip_texts(count, what)
        return {"length": count}
    cursor.claim(8 * count, what)
    if item != _STRING and count > _KEPT_ITEMS:
        raise MalformedFileError(f"{what} is an array of {count} arrays; at most {_KEPT_ITEMS} are read")
    return [_value(cursor, item, what, kept, depth + 1) for _ in range(count)]


def _width(kind: int) -> int:
    return {"B": 1, "b": 1, "?": 1, "H": 2, "h": 2, "I": 4, "i": 4, "f": 4, "Q": 8, "q": 8, "d": 8}[_SCALARS[kind]]


def _json(number: float | bool) -> Json:  # noqa: FBT001 - a value, not a setting
    """Numbers that JSON cannot write become null."""
    return None if isinstance(number, float) and not math.isfinite(number) else number


def _tensor(cursor: Cursor) -> tuple[int, StoredTensor]:
    """A tensor and its first byte after the header. Dimensions stand innermost first in the file."""
    name = cursor.text("a tensor's name")
    shown = f"tensor {name[:80]!r}"
    dimensions = cursor.integer("I", shown)
    if dimensions > _MOST_DIMENSIONS:
        raise MalformedFileError(f"{shown} has {dimensions} dimensions; at most {_MOST_DIMENSIONS} are allowed")
    inner_first = [int(size) for size in cursor.numbers("Q", dimensions, shown)]
    kind = cursor.integer("I", shown)
    fmt = GGML_TYPES.get(kind)
    if fmt is None:
        raise MalformedFileError(f"{shown} has the unknown tensor type {kind} at offset {cursor.position - 4}")
    offset = cursor.integer("Q", shown)
    shape = tuple(reversed(inner_first))
    return offset, StoredTensor(name=name, dtype=_word(fmt), shape=shape, nbytes=_nbytes(shape, fmt, shown))


def _word(fmt: TensorFormat) -> str:
    return _PLAIN_WORDS.get(fmt.name, fmt.name)


_PLAIN_WORDS = {"float32": "F32", "float16": "F16", "bfloat16": "BF16", "float64": "F64"} | {
    f"int{bits}": f"I{bits}" for bits in (8, 16, 32, 64)
}


def _nbytes(shape: tuple[int, ...], fmt: TensorFormat, shown: str) -> int:
    row = shape[-1] if shape else 1
    if row % fmt.block_elements:
        raise MalformedFileError(f"{shown} has rows of {row} elements, which {fmt.name} blocks of {fmt.block_elements} do not divide")
    return prod(shape) // fmt.block_elements * fmt.block_bytes


def _check_places(placed: list[tuple[int, StoredTensor]], alignment: int, data_bytes: int) -> None:
    """No tensor may overlap another, lie unaligned or pass the end of the file; no name may stand twice."""
    end = 0
    for offset, tensor in sorted(placed, key=lambda pair: (pair[0], pair[1].nbytes)):
        if offset < end or offset % alignment:
            raise MalformedFileError(f"tensor {tensor.name[:80]!r} at {offset} overlaps another or is not aligned to {alignment}")
        end = offset + tensor.nbytes
        if end > data_bytes:
            raise MalformedFileError(
                f"tensor {tensor.name[:80]!r} ends at {end}; the file has {max(data_bytes, 0)} bytes of data: it is cut off"
            )
    if len({tensor.name for _, tensor in placed}) < len(placed):
        raise MalformedFileError("two tensors have the same name")


def split(header: Header) -> tuple[int, int] | None:
    """(number from 0, count) of a file that is one of several, or None."""
    values = dict(header.metadata)
    number, count = values.get("split.no"), values.get("split.count")
    if not isinstance(number, int) or not isinstance(count, int) or count <= 1:
        return None
    if not 0 <= number < count:
        raise MalformedFileError(f"split.no is {number} of split.count {count}")
    return number, count


FORMAT = WeightFormat(name="gguf", suffixes=(".gguf",), read=read)
