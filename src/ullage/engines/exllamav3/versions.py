"""What differs between releases of ExLlamaV3, and the figures that are not derived."""

from ullage.domain.case import Version
from ullage.domain.provenance import Cited, Constant, Measured
from ullage.units import MiB


def version(text: str) -> Version:
    """``1.4.1`` as a version."""
    return Version.of(text)


OLDEST, NEWEST, DEFAULT = version("0.0.1"), version("1.4.9"), version("1.4.1")
WINDOW_SLOTS_SINCE = (0, 0, 30)  # before, layers with a sliding window cached the whole length
WINDOW_SPARE_TOKENS = 512  # kept beside the window, for drafts that are taken back

CONTEXT = Constant(
    name="exllamav3_cuda_context",
    value=560 * MiB,
    low=400 * MiB,
    high=800 * MiB,
    unit="bytes",
    source=Measured(record="oobabooga/textgen#6903: 16827 to 18665 MiB in use, less weights, cache and one forward pass"),
)
RESERVE_REST = Constant(
    name="exllamav3_reserve_per_device",
    value=512 * MiB,
    unit="bytes on every device that is not said",
    source=Cited(at="turboderp-org/exllamav3 v1.4.1 exllamav3/model/model.py, load_gen"),
)
TABBY_RESERVE_MIB = Constant(
    name="tabbyapi_autosplit_reserve",
    value=96,
    unit="MiB on the first device",
    source=Cited(at="theroyallab/tabbyAPI e632af4 common/config_models.py, autosplit_reserve"),
)
SLOTS = Constant(
    name="tabbyapi_max_batch_size",
    value=128,
    unit="jobs at once",
    source=Cited(at="theroyallab/tabbyAPI e632af4 backends/exllamav3/model.py, default_mbs; its sample file says 32"),
)
RECURRENT_SLOTS = Constant(
    name="tabbyapi_max_batch_size_recurrent",
    value=4,
    unit="jobs at once where layers keep a state",
    source=Cited(at="theroyallab/tabbyAPI e632af4 backends/exllamav3/model.py, default_mbs"),
)
OUTPUT_TOKENS = Constant(
    name="exllamav3_max_output_size",
    value=32,
    unit="positions whose logits are computed at once",
    source=Cited(at="turboderp-org/exllamav3 v1.4.1 exllamav3/model/model.py, load_gen"),
)
CONSTANTS = (CONTEXT, RESERVE_REST, TABBY_RESERVE_MIB, SLOTS, RECURRENT_SLOTS, OUTPUT_TOKENS)
