import json

import pytest
from tests.header_files import safetensors_header

from ullage.domain.weight_format import Header, NeedMore
from ullage.errors import MalformedFileError
from ullage.formats.safetensors import read, read_index

TRUE = {
    "__metadata__": {"format": "pt"},
    "b": {"dtype": "F32", "shape": [], "data_offsets": [24, 28]},
    "a": {"dtype": "BF16", "shape": [3, 4], "data_offsets": [0, 24]},
    "empty": {"dtype": "I64", "shape": [0, 7], "data_offsets": [24, 24]},
    "f4": {"dtype": "F4", "shape": [2, 2], "data_offsets": [28, 30]},
}


def test_a_true_header_gives_its_tensors_in_file_order() -> None:
    beginning = safetensors_header(TRUE)
    header = read(beginning, len(beginning) + 30)
    assert isinstance(header, Header)
    assert [(t.name, t.dtype, t.shape, t.nbytes) for t in header.tensors] == [
        ("a", "BF16", (3, 4), 24),
        ("empty", "I64", (0, 7), 0),
        ("b", "F32", (), 4),
        ("f4", "F4", (2, 2), 2),
    ]
    assert header.metadata == (("format", "pt"),)


def test_too_few_bytes_ask_for_the_whole_header() -> None:
    beginning = safetensors_header(TRUE)
    size = len(beginning) + 30
    assert read(b"", size) == NeedMore(nbytes=8)
    assert read(beginning[:8], size) == NeedMore(nbytes=len(beginning))
    assert read(beginning[:-1], size) == NeedMore(nbytes=len(beginning))


def one(**changes: object) -> dict[str, object]:
    return {"a": {"dtype": "BF16", "shape": [3, 4], "data_offsets": [0, 24], **changes}}


@pytest.mark.parametrize(
    ("header", "data_bytes", "words"),
    [
        (one(), 25, "take 24 bytes"),
        (one(), 23, "take 24 bytes"),
        (one(dtype="F99"), 24, "F99"),
        (one(dtype=None), 24, "None"),
        (one(shape=[3, 5]), 24, "does not take"),
        (one(shape=[-3, -4]), 24, "whole numbers"),
        (one(shape=[2**40] * 20), 24, "does not take"),
        (one(shape=[True, 12]), 24, "whole numbers"),
        (one(data_offsets=[24, 0]), 24, "beginning and an end"),
        (one(data_offsets=[1, 25]), 25, "1 bytes unused"),
        ({**one(), "b": {"dtype": "U8", "shape": [4], "data_offsets": [20, 24]}}, 24, "overlaps"),
        ({"__metadata__": {"n": 1}}, 0, "__metadata__"),
        ({"a": 7}, 0, "object"),
        ([], 0, "begin with"),
    ],
)
def test_a_header_that_lies_is_refused(header: object, data_bytes: int, words: str) -> None:
    beginning = safetensors_header(header)
    with pytest.raises(MalformedFileError, match=words):
        read(beginning, len(beginning) + data_bytes)


@pytest.mark.parametrize("length", [0, 100_000_001, 2**64 - 1, 10**6])
def test_a_length_that_cannot_be_is_refused(length: int) -> None:
    with pytest.raises(MalformedFileError):
        read(length.to_bytes(8, "little") + b"{}", 1000)


def test_an_index_names_its_shards_once() -> None:
    index = read_index(b'{"metadata": {"total_size": 5}, "weight_map": {"x": "b.safetensors", "y": "a.safetensors", "z": "a.safetensors"}}')
    assert (index.shards, index.total_bytes) == (("a.safetensors", "b.safetensors"), 5)


@pytest.mark.parametrize("shard", ["../x", "/etc/passwd", "a/../../x", "C:\\x", "", "a\x00b"])
def test_an_index_cannot_point_outside_its_folder(shard: str) -> None:
    with pytest.raises(MalformedFileError, match="no file name"):
        read_index(json.dumps({"weight_map": {"x": shard}}).encode())
