"""What differs between builds of llama.cpp, as data. A release is its build number (b11434 is 11434); forks are dated by it."""

from functools import cache

from ullage.domain.case import Version
from ullage.domain.provenance import Assumed, Cited, Constant, Measured
from ullage.frozen import dataclass, replace
from ullage.units import MiB

# What the buffers take is printed at this level, from this build on only when it is asked for: ggml-org/llama.cpp#23021 of May 2026;
# b9181 has it. The flag itself came in September 2024.
SIZES_AT, QUIET_SINCE = "4", 9150
PAD_CELLS = 256  # blocks of cells in which lengths are chosen


def version(text: str) -> Version:
    """``11434`` or ``b11434`` as a version."""
    return Version((int(text.removeprefix("b")),), text)


OLDEST, NEWEST, DEFAULT = version("1500"), version("12500"), version("11434")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """One build's behaviour; ``context_tokens`` 0 takes the model's own length."""

    context_tokens: int = 512
    pad_cells: int = 1  # the cache is whole blocks of this many cells
    pad_cells_flash: int = 1  # and of this many where flash attention reads it
    auto_slots: int = 1  # llama-server's slots where -np is not said
    streams: bool = False  # a cache of its own for each slot unless -kvu; before, all slots shared one
    flash_by_default: bool = False
    offload_all: bool = False  # -ngl is all layers unless said
    latent_cache: bool = False  # MLA keeps the latent only; before, keys and values of every head
    window_cache: bool = False  # sliding-window layers have a smaller cache
    window_padded: bool = False  # that cache is padded to 256 cells
    fits: bool = False  # --fit is on unless said
    few_outputs: bool = False  # the server asks for one row of logits a slot, not for one a token
    narrow_mask: bool = False  # the attention mask is made in 16 bits where flash attention reads it
    held_inputs: bool = False  # inputs and the mask stay through the whole graph; before, they went when the last layer was done
    embedding_input: bool = False  # a second input of hidden width on the host, for prompts given as embeddings
    prompt_cache_mib: int = 0  # --cache-ram unless said
    checkpoints: int = 0  # --ctx-checkpoints unless said


_FIRST = Rules()
# Builds from which a rule holds. Boundaries are those of the pull requests' months; runs within a hundred builds of one may differ.
_CHANGES: tuple[tuple[int, dict[str, int | bool]], ...] = (
    (2900, {"pad_cells": 32, "pad_cells_flash": 256}),
    (4100, {"context_tokens": 4096}),
    (5130, {"latent_cache": True}),
    (5430, {"window_cache": True}),
    (5910, {"streams": True}),
    (6325, {"flash_by_default": True}),
    (6500, {"checkpoints": 3}),
    (6710, {"prompt_cache_mib": 8192, "checkpoints": 8}),
    (6990, {"pad_cells": 256, "window_padded": True}),
    (7100, {"auto_slots": 4}),
    (7410, {"fits": True, "offload_all": True, "context_tokens": 0}),
    (7900, {"embedding_input": True}),
    (8500, {"checkpoints": 32}),
    (8800, {"narrow_mask": True}),
    (9600, {"few_outputs": True}),
    (10500, {"held_inputs": True}),
)


@cache
def rules_at(build: int) -> Rules:
    """The rules of one build."""
    found = _FIRST
    for since, changes in _CHANGES:
        if build >= since:
            found = replace(found, **changes)  # type: ignore[arg-type]  # whole numbers and flags by their names
    return found


CONTEXT = Constant(
    name="llama_cpp_cuda_context",
    value=455 * MiB,
    low=300 * MiB,
    high=650 * MiB,
    unit="bytes",
    source=Cited(at="unaccounted 451 to 456 MiB of each RTX 4090 in a memory breakdown, ggml-org/llama.cpp#15860"),
)
POOL = Constant(
    name="llama_cpp_scratch_pool",
    value=48 * MiB,
    low=0,
    high=320 * MiB,
    unit="bytes",
    source=Assumed(why="the backend's pool for products of quantised matrices grows with the first prompts and is in no log line"),
)
PROCESS = Constant(
    name="llama_cpp_process",
    value=37 * MiB,
    low=30 * MiB,
    high=72 * MiB,
    unit="bytes",
    source=Measured(
        record="b11434 on a CPU, SmolLM2-135M: resident 145.0 MiB beside the cache, less weights and touched compute buffer; "
        "the same server carried by a Python process (b11549 in xllamacpp) takes 62 MiB"
    ),
)
PROCESS_CUDA = Constant(
    name="llama_cpp_process_with_a_driver",
    value=420 * MiB,
    low=150 * MiB,
    high=900 * MiB,
    unit="bytes",
    source=Assumed(why="the CUDA libraries and the driver's host side, as for other CUDA programs"),
)
SMALL_INPUTS = Constant(
    name="llama_cpp_small_inputs",
    value=31,
    low=16,
    high=64,
    unit="bytes per token of a micro-batch",
    source=Measured(record="b11434 on a CPU, SmolLM2-135M: 29,983 bytes a token, of which 29,952 are activations"),
)
PIPELINE_COPIES = Constant(
    name="llama_cpp_pipeline_copies",
    value=4,
    unit="copies of each input",
    source=Cited(at="GGML_SCHED_MAX_COPIES of ggml; n_copies=4 in the log of ggml-org/llama.cpp#6122"),
)
CONSTANTS = (CONTEXT, POOL, PROCESS, PROCESS_CUDA, SMALL_INPUTS, PIPELINE_COPIES)
