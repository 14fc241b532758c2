"""Whatever the bytes: a header, a wish for more bytes, or MalformedFileError; quickly, and without a large allocation."""

import tracemalloc
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.header_files import as_gguf, safetensors_header

from ullage import wire
from ullage.domain.weight_format import Header, NeedMore
from ullage.errors import MalformedFileError
from ullage.formats import gguf, safetensors

Reader = Callable[[bytes, int], Header | NeedMore]

TRUE_SAFETENSORS = safetensors_header(
    {
        "__metadata__": {"format": "pt"},
        "a.weight": {"dtype": "BF16", "shape": [3, 4], "data_offsets": [0, 24]},
        "b.weight": {"dtype": "F32", "shape": [2], "data_offsets": [24, 32]},
    }
)
TRUE_GGUF, GGUF_SIZE = as_gguf(
    {"general.architecture": "llama", "general.alignment": 32, "x": [1, 2, 3], "names": ["a", "bc"], "flag": True, "half": 0.5},
    {"token_embd.weight": ("q8_0", (4, 32)), "blk.0.attn_q.weight": ("q4_k", (2, 256)), "output_norm.weight": ("float32", (32,))},
)
SIZES = st.one_of(st.integers(0, 5000), st.integers(0, 1 << 62))
EDITS = st.lists(st.tuples(st.integers(0, 1 << 16), st.integers(0, 255)), min_size=1, max_size=8)
WORDS = st.tuples(st.integers(0, 1 << 16), st.sampled_from([0, 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1]))


def outcome(read: Reader, data: bytes, size: int) -> Header | NeedMore | None:
    try:
        answer = read(data, size)
    except MalformedFileError:
        return None
    if isinstance(answer, NeedMore):
        assert len(data) < answer.nbytes <= max(size, answer.nbytes)
        assert answer.nbytes <= max(size, 24)
    return answer


def spoilt(data: bytes, edits: list[tuple[int, int]], word: tuple[int, int] | None, keep: int) -> bytes:
    changed = bytearray(data)
    for position, value in edits:
        changed[position % len(changed)] = value
    if word is not None:
        position = word[0] % max(len(changed) - 8, 1)
        changed[position : position + 8] = word[1].to_bytes(8, "little")
    return bytes(changed[: max(keep, 1)])


@given(data=st.binary(max_size=300), size=SIZES, reader=st.sampled_from([safetensors.read, gguf.read]))
def test_any_bytes_have_an_outcome(data: bytes, size: int, reader: Reader) -> None:
    outcome(reader, data, max(size, len(data)))


@given(data=st.binary(max_size=300), size=SIZES)
def test_any_bytes_after_a_true_beginning_have_an_outcome(data: bytes, size: int) -> None:
    for reader, start in ((gguf.read, TRUE_GGUF[:8]), (safetensors.read, (len(data)).to_bytes(8, "little"))):
        outcome(reader, start + data, max(size, len(data) + 8))


@settings(max_examples=400)
@given(edits=EDITS, word=st.none() | WORDS, keep=st.integers(1, 600), grow=st.integers(0, 100))
def test_spoilt_headers_have_an_outcome(edits: list[tuple[int, int]], word: tuple[int, int] | None, keep: int, grow: int) -> None:
    for reader, data, size in ((safetensors.read, TRUE_SAFETENSORS, len(TRUE_SAFETENSORS) + 32), (gguf.read, TRUE_GGUF, GGUF_SIZE)):
        outcome(reader, spoilt(data, edits, word, keep), size + grow)


@given(cut=st.integers(0, 1000))
def test_a_cut_true_header_asks_for_more_and_then_is_read(cut: int) -> None:
    for reader, data, size in ((safetensors.read, TRUE_SAFETENSORS, len(TRUE_SAFETENSORS) + 32), (gguf.read, TRUE_GGUF, GGUF_SIZE)):
        given_bytes = cut % len(data)
        answer = reader(data[:given_bytes], size)
        for _ in range(20):
            if isinstance(answer, Header):
                break
            assert answer.nbytes > given_bytes
            given_bytes = answer.nbytes
            answer = reader((data + bytes(size))[:given_bytes], size)
        assert answer == reader(data, size)


@pytest.mark.parametrize("word", [2**31, 2**40, 2**62, 2**64 - 1])
def test_no_claimed_count_leads_to_an_allocation(word: int) -> None:
    tracemalloc.start()
    for position in range(4, len(TRUE_GGUF) - 8, 3):
        outcome(gguf.read, spoilt(TRUE_GGUF, [], (position, word), len(TRUE_GGUF)), 1 << 50)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 << 20


@given(data=st.binary(max_size=200))
def test_any_bytes_are_json_or_refused(data: bytes) -> None:
    try:
        value = wire.loads(data)
    except MalformedFileError:
        return
    assert wire.loads(wire.dumps(value)) == value


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner, max_size=4),
    max_leaves=20,
)


@given(value=JSON, indent=st.none() | st.just(2))
def test_what_is_written_is_read_back(value: object, indent: int | None) -> None:
    assert wire.loads(wire.dumps(value, indent=indent)) == value  # type: ignore[arg-type]


@given(value=JSON)
def test_any_json_as_a_header_or_an_index_has_an_outcome(value: object) -> None:
    data = safetensors_header({"a": value, "__metadata__": value})
    outcome(safetensors.read, data, len(data))
    try:
        safetensors.read_index(wire.dumps({"weight_map": value, "metadata": value}).encode())  # type: ignore[dict-item]
    except MalformedFileError:
        return
