"""True headers of weight files, made small: what tests read, cut and spoil."""

import json
import struct
from collections.abc import Mapping
from math import prod

from ullage.catalog.tensor_formats import GGML_TYPES, SAFETENSORS_DTYPES
from ullage.domain.checkpoint import Tensor

GGML_NUMBERS = {fmt.name: number for number, fmt in GGML_TYPES.items()}
_WORDS = {fmt.name: word for word, fmt in SAFETENSORS_DTYPES.items()}


def safetensors_header(header: object) -> bytes:
    """The header's bytes as they stand in a file."""
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text


def as_safetensors(tensors: tuple[Tensor, ...]) -> tuple[bytes, int]:
    """The header of a file that holds these tensors, every expert by its own name, and the file's size."""
    entries: dict[str, object] = {}
    position = 0
    for tensor in tensors:
        alone = "{expert}" in tensor.name
        shape = tensor.shape if alone or tensor.copies == 1 else (tensor.copies, *tensor.shape)
        nbytes = tensor.nbytes // tensor.copies if alone else tensor.nbytes
        for number in range(tensor.copies if alone else 1):
            place = {"dtype": _WORDS[tensor.format.name], "shape": list(shape), "data_offsets": [position, position + nbytes]}
            entries[tensor.name.replace("{expert}", str(number))] = place
            position += nbytes
    header = safetensors_header(entries)
    return header, len(header) + position


def _text(value: str) -> bytes:
    encoded = value.encode()
    return struct.pack("<Q", len(encoded)) + encoded


def _value(value: object) -> bytes:
    """A metadata value with its type before it."""
    match value:
        case bool():
            return struct.pack("<I?", 7, value)
        case int():
            return struct.pack("<II", 4, value)
        case float():
            return struct.pack("<If", 6, value)
        case str():
            return struct.pack("<I", 8) + _text(value)
        case list() if value and isinstance(value[0], str):
            return struct.pack("<IIQ", 9, 8, len(value)) + b"".join(_text(item) for item in value)
        case list():
            return struct.pack(f"<IIQ{len(value)}i", 9, 5, len(value), *value)
        case _:
            raise AssertionError(value)


def as_gguf(metadata: Mapping[str, object], tensors: Mapping[str, tuple[str, tuple[int, ...]]], *, version: int = 3) -> tuple[bytes, int]:
    """The header of a file with tensors given as name: (format, shape), and the file's size."""
    body, position, alignment = b"", 0, 32
    for name, (word, shape) in tensors.items():
        fmt = GGML_TYPES[GGML_NUMBERS[word]]
        sizes = struct.pack(f"<I{len(shape)}Q", len(shape), *reversed(shape))
        body += _text(name) + sizes + struct.pack("<IQ", GGML_NUMBERS[word], position)
        position += -(-(prod(shape) // fmt.block_elements * fmt.block_bytes) // alignment) * alignment
    entries = b"".join(_text(key) + _value(value) for key, value in metadata.items())
    header = struct.pack("<4sIQQ", b"GGUF", version, len(tensors), len(metadata)) + entries + body
    header += b"\0" * (-len(header) % alignment)
    return header, len(header) + position
