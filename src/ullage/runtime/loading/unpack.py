"""From packed blocks to numbers: which function unpacks which format."""

from collections.abc import Callable, Mapping

import torch

from ullage.domain.checkpoint import TensorFormat
from ullage.errors import UnsupportedModelError
from ullage.runtime.loading import blocks, superblocks

Unpacker = Callable[[torch.Tensor], torch.Tensor]  # (blocks, bytes) of uint8 to (blocks, elements) of fp32

UNPACKERS: Mapping[str, Unpacker] = {
    "q4_0": blocks.q4_0,
    "q4_1": blocks.q4_1,
    "q5_0": blocks.q5_0,
    "q5_1": blocks.q5_1,
    "q8_0": blocks.q8_0,
    "iq4_nl": blocks.iq4_nl,
    "mxfp4": blocks.mxfp4,
    "q2_k": superblocks.q2_k,
    "q3_k": superblocks.q3_k,
    "q4_k": superblocks.q4_k,
    "q5_k": superblocks.q5_k,
    "q6_k": superblocks.q6_k,
    "iq4_xs": superblocks.iq4_xs,
    "tq1_0": superblocks.tq1_0,
    "tq2_0": superblocks.tq2_0,
}


def check_unpackable(fmt: TensorFormat, name: str) -> None:
    """Raises UnsupportedModelError for packed formats that nothing here unpacks."""
    if fmt.block_elements > 1 and fmt.name not in UNPACKERS:
        known = ", ".join(sorted(UNPACKERS))
        raise UnsupportedModelError(
            f"the tensor {name[:120]} is stored as {fmt.name}, which is not unpacked here; packed formats read: {known}"
        )


def unpack(rows: torch.Tensor, fmt: TensorFormat) -> torch.Tensor:
    """(rows, bytes) of blocks as (rows, elements) in fp32, bit for bit what the format's own reference gives."""
    values = UNPACKERS[fmt.name](rows.reshape(-1, fmt.block_bytes))
    return values.reshape(rows.shape[0], -1)
