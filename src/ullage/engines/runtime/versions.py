"""The runtime's release is the package's own; what it takes that no formula gives."""

from ullage.domain.case import Version
from ullage.domain.provenance import Assumed, Constant, Measured
from ullage.units import MiB

OLDEST = NEWEST = DEFAULT = Version.of("0.1.0")  # the package's own, as a test holds

PROCESS = Constant(
    name="runtime_process",
    value=245 * MiB,
    unit="bytes",
    low=230 * MiB,
    high=270 * MiB,
    source=Measured(record="runtime-process-cpu: tests/data/runtime_process.json, beside weights before the first step"),
)
_VOCABULARIES = "runtime-vocabularies: tests/data/runtime_process.json, two vocabularies of tokenizer.json and one of a GGUF file"
TOKEN = Constant(
    name="runtime_token",
    value=415,
    unit="bytes",
    low=370,
    high=520,
    source=Measured(record=_VOCABULARIES),
)
GGUF_TOKEN = Constant(
    name="runtime_gguf_token",
    value=780,
    unit="bytes",
    low=600,
    high=900,
    source=Measured(record=_VOCABULARIES),
)
READING = Constant(
    name="runtime_token_reading",
    value=540,
    unit="bytes",
    low=200,
    high=900,
    source=Measured(record="runtime-readings: tests/data/runtime_process.json, the most that loading took beside all that stays"),
)
STEPPING = Constant(
    name="runtime_stepping",
    value=14 * MiB,
    unit="bytes",
    low=4 * MiB,
    high=40 * MiB,
    source=Measured(record="runtime-process-cpu: tests/data/runtime_process.json, the peak of a prompt beside all that is counted"),
)
DEVICE_CONTEXT = Constant(
    name="runtime_device_context",
    value=520 * MiB,
    unit="bytes",
    low=300 * MiB,
    high=760 * MiB,
    source=Assumed(
        why="a CUDA context with PyTorch's kernels and cuBLAS, as other engines on PyTorch show; the runtime is unmeasured there"
    ),
)
HOST_PROCESS = Constant(
    name="runtime_host_process",
    value=1200 * MiB,
    unit="bytes",
    low=600 * MiB,
    high=2500 * MiB,
    source=Assumed(why="Python and PyTorch with the libraries of CUDA, of which nobody has stored an observation"),
)
CONSTANTS = (PROCESS, TOKEN, GGUF_TOKEN, READING, STEPPING, DEVICE_CONTEXT, HOST_PROCESS)
