"""What differs between releases of ExLlamaV2, as data. Boundaries are the releases' own sources."""

from functools import cache

from ullage.domain.case import Version
from ullage.domain.provenance import Assumed, Cited, Constant, Measured
from ullage.frozen import dataclass
from ullage.units import MiB

Release = tuple[int, ...]


def version(text: str) -> Version:
    """``0.1.0`` as a version."""
    return Version.of(text)


OLDEST, NEWEST, DEFAULT = version("0.0.13"), version("0.3.2"), version("0.3.2")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """The rules of a release."""

    dequantised_at_most: int | None  # elements of one matrix unpacked at once; None: the whole matrix
    head_forward: bool  # the scratch of the head also holds its output as float32
    state_widths: str  # what the scratch of attention is wide: "hidden", "heads" or "larger"
    dynamic: bool  # the generator with pages of 256 tokens, which needs flash-attn
    tensor_parallel: bool
    cache_modes: tuple[str, ...]


_SINCE_DQ: Release = (0, 0, 18)
_SINCE_Q4: Release = (0, 0, 15)
_SINCE_HEADS: Release = (0, 0, 14)
_SINCE_DYNAMIC: Release = (0, 1, 0)
_SINCE_Q8: Release = (0, 1, 5)
_SINCE_TENSOR: Release = (0, 2, 0)

MAX_DEQUANTISED = Constant(
    name="exllamav2_max_dq_size",
    value=512 * 1024 * 1024,
    unit="elements",
    source=Cited(at="turboderp-org/exllamav2 v0.0.18 exllamav2/config.py, max_dq_size"),
)
CONTEXT = Constant(
    name="exllamav2_cuda_context",
    value=560 * MiB,
    low=450 * MiB,
    high=720 * MiB,
    unit="bytes",
    source=Measured(record="turboderp-org/exllamav2#339 (694 MiB a card, RTX 4090) and oobabooga/textgen#5645 (510 to 640 MiB)"),
)
AUTOSPLIT_MINIMUM = Constant(
    name="exllamav2_autosplit_minimum_reserve",
    value=256 * MiB,
    unit="bytes",
    source=Cited(at="turboderp-org/exllamav2 v0.0.13 exllamav2/model.py, load_autosplit_gen"),
)
TABBY_RESERVE_MIB = Constant(
    name="tabbyapi_autosplit_reserve",
    value=96,
    unit="MiB on the first device",
    source=Cited(at="theroyallab/tabbyAPI backends/exllamav2/model.py before 2026-07-14"),
)
TILT_PERCENT = Constant(
    name="exl2_bits_tilt",
    value=40,
    unit="per cent fewer bits in the first layer, as many more in the last",
    source=Assumed(why="the placement of turboderp-org/exllamav2#339 is met by about 40 per cent fewer bits in the first layer"),
)
CONSTANTS = (MAX_DEQUANTISED, CONTEXT, AUTOSPLIT_MINIMUM, TABBY_RESERVE_MIB, TILT_PERCENT)


@cache
def rules_for(at: Release) -> Rules:
    """The rules of the release ``at``."""
    modes = ["FP16", "FP8"]
    if at >= _SINCE_Q4:
        modes.append("Q4")
    if at >= _SINCE_Q8:
        modes += ["Q6", "Q8"]
    widths = "larger" if at >= _SINCE_TENSOR else "heads" if at >= _SINCE_HEADS else "hidden"
    return Rules(
        dequantised_at_most=MAX_DEQUANTISED.value if at >= _SINCE_DQ else None,
        head_forward=at < _SINCE_DYNAMIC,
        state_widths=widths,
        dynamic=at >= _SINCE_DYNAMIC,
        tensor_parallel=at >= _SINCE_TENSOR,
        cache_modes=tuple(modes),
    )
