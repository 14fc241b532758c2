"""Our GGUF reader against the ``gguf`` package: block sizes, and files that its writer wrote."""

from pathlib import Path

import pytest

from ullage.catalog.tensor_formats import GGML_TYPES
from ullage.domain.weight_format import Header
from ullage.formats.gguf import read

gguf = pytest.importorskip("gguf")
numpy = pytest.importorskip("numpy")

pytestmark = pytest.mark.oracle


def test_block_sizes_are_those_of_ggml() -> None:
    theirs = {int(kind): sizes for kind, sizes in gguf.GGML_QUANT_SIZES.items()}
    ours = {number: (fmt.block_elements, fmt.block_bytes) for number, fmt in GGML_TYPES.items()}
    assert {number: ours.get(number) for number in theirs} == theirs


@pytest.mark.parametrize("big", [False, True])
def test_a_written_file_is_read_as_it_was_meant(tmp_path: Path, big: bool) -> None:  # noqa: FBT001 - a test's parameter
    path = tmp_path / "model.gguf"
    order = gguf.GGUFEndian.BIG if big else gguf.GGUFEndian.LITTLE
    writer = gguf.GGUFWriter(path, "llama", endianess=order)
    writer.add_context_length(4096)
    writer.add_array("tokenizer.ggml.tokens", [f"word{number}" for number in range(10_000)])
    writer.add_array("some.list", [1, 2, 3])
    writer.add_float64("some.number", 0.5)
    writer.add_bool("some.flag", val=True)
    writer.add_tensor("token_embd.weight", numpy.zeros((64, 32), dtype=numpy.float32))
    writer.add_tensor("blk.0.attn_q.weight", numpy.zeros((8, 34), dtype=numpy.uint8), raw_dtype=gguf.GGMLQuantizationType.Q8_0)
    writer.add_tensor("blk.0.attn_norm.weight", numpy.zeros(7, dtype=numpy.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    data = path.read_bytes()
    header = read(data, len(data))
    assert isinstance(header, Header)
    assert [(t.name, t.dtype, t.shape) for t in header.tensors] == [
        ("token_embd.weight", "F32", (64, 32)),
        ("blk.0.attn_q.weight", "q8_0", (8, 32)),
        ("blk.0.attn_norm.weight", "F16", (7,)),
    ]
    metadata = dict(header.metadata)
    assert (metadata["llama.context_length"], metadata["some.list"]) == (4096, [1, 2, 3])
    assert (metadata["some.number"], metadata["some.flag"]) == (0.5, True)
    assert metadata["tokenizer.ggml.tokens"] == {"length": 10_000}
