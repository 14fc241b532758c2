import base64
import json
from pathlib import Path

import pytest
import torch

from ullage.catalog.tensor_formats import GGML_BY_NAME, GGML_TYPES
from ullage.errors import UnsupportedModelError
from ullage.runtime.loading.unpack import UNPACKERS, check_unpackable, unpack

GOLDEN = json.loads((Path(__file__).parent.parent / "data" / "ggml_blocks.json").read_text())


def bytes_of(text: str) -> torch.Tensor:
    return torch.frombuffer(bytearray(base64.b64decode(text)), dtype=torch.uint8)


def test_every_format_that_is_unpacked_has_golden_blocks() -> None:
    assert set(GOLDEN) == set(UNPACKERS)


@pytest.mark.parametrize("name", sorted(UNPACKERS))
def test_blocks_unpack_to_the_reference_bit_for_bit(name: str) -> None:
    fmt = GGML_BY_NAME[name]
    found = unpack(bytes_of(GOLDEN[name]["blocks"]).view(1, -1), fmt)
    expected = bytes_of(GOLDEN[name]["values"]).view(torch.float32)
    assert torch.equal(found.view(-1).view(torch.int32), expected.view(torch.int32))


@pytest.mark.parametrize("name", sorted(UNPACKERS))
def test_rows_unpack_one_by_one_as_together(name: str) -> None:
    fmt = GGML_BY_NAME[name]
    rows = bytes_of(GOLDEN[name]["blocks"]).view(-1, fmt.block_bytes).repeat(3, 2)
    together = unpack(rows, fmt)
    assert together.shape == (rows.shape[0], 2 * fmt.block_elements)
    assert torch.equal(torch.cat([unpack(row[None], fmt) for row in rows]), together)


@pytest.mark.parametrize("fmt", GGML_TYPES.values(), ids=lambda fmt: fmt.name)
def test_a_format_is_unpacked_or_refused_by_name(fmt: object) -> None:
    name = fmt.name  # type: ignore[attr-defined]
    if GGML_BY_NAME[name].block_elements == 1 or name in UNPACKERS:
        check_unpackable(GGML_BY_NAME[name], "blk.0.ffn_up.weight")
        return
    with pytest.raises(UnsupportedModelError, match=name):
        check_unpackable(GGML_BY_NAME[name], "blk.0.ffn_up.weight")
