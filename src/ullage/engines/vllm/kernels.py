"""Rows and columns that the kernels of MXFP4 experts add to a rank's matrices, so that they divide into tiles.

Read in mxfp4.py of 0.11 to 0.28 (Marlin, CUTLASS and TRT-LLM); Triton's own on Hopper are those of logged sizes of gpt-oss.
"""

from typing import NamedTuple

from ullage.domain.architecture import ExpertFeedForward
from ullage.domain.case import Model
from ullage.domain.checkpoint import Part, Role
from ullage.formulas.sharding import Degrees, ceil_div, shard_bytes

AMPERE, MARLIN_SINCE = (8, 0), (0, 4, 2)
HOPPER, BLACKWELL, CONSUMER_BLACKWELL = (9, 0), (10, 0), (12, 0)


class Tiles(NamedTuple):
    """What the inputs and outputs of gate-up and of down are padded to multiples of."""

    up_inputs: int
    up_outputs: int
    down_inputs: int
    down_outputs: int


SCALES_PADDED = (0, 17)
NO_TILES = Tiles(1, 1, 1, 1)


def tiles(at: tuple[int, ...], capability: tuple[int, int] | None) -> Tiles:
    """Triton on Hopper, TRT-LLM on data-centre Blackwell, Marlin elsewhere; MXFP4 came with 0.10.1."""
    if capability is None or at < (0, 10, 1):
        return NO_TILES
    if HOPPER <= capability < BLACKWELL:
        return Tiles(256, 256 if at >= (0, 17) else 64, 256, 1) if at >= (0, 11) else Tiles(256, 256, 128, 256)
    if BLACKWELL <= capability < CONSUMER_BLACKWELL:
        return Tiles(256, 512, 256, 256)
    return Tiles(256, 256, 128, 256)


def dropped_bytes(model: Model, at: tuple[int, ...], capability: tuple[int, int] | None, degrees: Degrees) -> dict[int, int]:
    """Zeros and group indices of GPTQ weights of each layer, which Marlin (from Ampere on, since 0.4.2) throws away after loading."""
    if not model.checkpoint.scheme.startswith("gptq") or capability is None or capability < AMPERE or at < MARLIN_SINCE:
        return {}
    layers, found = model.architecture.layers, dict[int, int]()
    for tensor in model.checkpoint.tensors:
        if tensor.layer is not None and tensor.part in {Part.ZERO, Part.INDEX}:
            found[tensor.layer] = found.get(tensor.layer, 0) + shard_bytes(tensor, layers[tensor.layer], degrees)
    return found


def padding_bytes(model: Model, at: tuple[int, ...], capability: tuple[int, int] | None, degrees: Degrees) -> dict[int, int]:
    """Bytes that padding adds to each layer on one rank; empty for other formats than MXFP4."""
    if not model.checkpoint.scheme.startswith("mxfp4"):
        return {}
    tile, hidden = tiles(at, capability), model.architecture.hidden_size
    ways = 1 if degrees.whole_experts else degrees.expert
    found: dict[int, int] = {}
    for tensor in model.checkpoint.tensors:
        feed = model.architecture.layers[tensor.layer].feed_forward if tensor.layer is not None else None
        if tensor.layer is None or not isinstance(feed, ExpertFeedForward) or tensor.format.name != "uint8":
            continue
        inner = ceil_div(feed.intermediate, ways)
        match tensor.role:
            case Role.EXPERT_GATE_UP | Role.EXPERT_GATE | Role.EXPERT_UP:
                sides = ((hidden, tile.up_inputs), (2 * inner, tile.up_outputs))
            case Role.EXPERT_DOWN:
                sides = ((inner, tile.down_inputs), (hidden, tile.down_outputs))
            case _:
                continue
        if tensor.part is not Part.WEIGHT and at < SCALES_PADDED:
            continue
        nbytes = padded = shard_bytes(tensor, None, degrees)
        for size, multiple in sides:
            padded = padded * ceil_div(size, multiple) * multiple // size
        found[tensor.layer] = found.get(tensor.layer, 0) + padded - nbytes
    return found
