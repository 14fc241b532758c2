"""Read one line of what IPEX-LLM, its forks of vLLM and Intel's runtimes print about memory."""

import re
from typing import Final

from ullage.catalog.torch_messages import FOUND, LONGEST, out_of_memory
from ullage.domain.facts import Fact
from ullage.units import GiB

_N = r"(\d{1,9}(?:\.\d{1,18})?)"
_LIMIT = re.compile(r"can NOT allocate memory block with size larger than 4GB!? *(Tried to allocate .*)?", re.IGNORECASE)
_NATIVE = re.compile(r"Native API (?:failed\. Native API )?returns: (-?\d{1,9}) \(([^)]{1,60})\)")
# Name, unit, text. A GiB figure becomes bytes, a K figure of lengths tokens.
_SIZES: Final = (
    ("weights_bytes", rf"Loading model weights took {_N} GB"),
    ("weights_bytes", rf"loading of model costs {_N}s and (?P<gib>{_N})GB"),
    ("memory_before_profile_bytes", rf"model first init memory {_N} GB"),
    ("total_bytes", rf"one card total_gpu_memory ?= ?{_N} GB"),
    ("peak_bytes", rf"after first_token running, peak_memory {_N} GB"),
    ("available_bytes", rf"total_add_memory {_N} GB"),
    ("available_kv_bytes", rf"Available KV cache memory: {_N} GiB"),
)
_SIZE_PATTERNS: Final = tuple((name, re.compile(text)) for name, text in _SIZES)
_THOUSANDS: Final = (
    ("theoretical_input_tokens", re.compile(rf"Theoretical max input length A: {_N} K")),
    ("kv_tokens", re.compile(rf"Actually support max input length on this num_gpu_blocks B: ?{_N} K")),
)
_COUNTS: Final = (
    ("kv_blocks", re.compile(r"# (?:GPU|XPU|CPU) blocks: (\d{1,12})(?:, # CPU blocks: (\d{1,12}))?"), "cpu_blocks"),
    ("kv_tokens", re.compile(r"GPU KV cache size: ([\d,]{1,18}) tokens"), ""),
    ("recommended_input_tokens", re.compile(r"Recommended max input length: (\d{1,12})"), ""),
    (
        "error.kv_too_small",
        re.compile(r"max seq len \((\d{1,12})\) is larger than the maximum number of .{0,60}?\((\d{1,12})\)"),
        "kv_tokens",
    ),
    (
        "error.batched_tokens",
        re.compile(r"max_num_batched_tokens \((\d{1,12})\) is smaller than max_model_len \((\d{1,12})\)"),
        "max_model_len",
    ),
)
_WORDS: Final = (
    ("low_bit", re.compile(r"Converting the current model to (\w{1,30}) format")),
    ("error.no_kv_blocks", re.compile(r"(No available memory for the cache blocks)")),
    ("error.xpu_oom", re.compile(r"(Allocation is out of device memory on current platform)")),
    ("error.host_oom", re.compile(r"(UR_RESULT_ERROR_OUT_OF_HOST_MEMORY|PI_ERROR_OUT_OF_HOST_MEMORY)")),
    ("error.xpu_oom", re.compile(r"(UR_RESULT_ERROR_OUT_OF_DEVICE_MEMORY|(?:UR_RESULT|PI)_ERROR_OUT_OF_RESOURCES)")),
    ("error.fp8_cache", re.compile(r"(IPEX backend does not support FP8 KV cache)")),
    ("no_free_memory_query", re.compile(r"(doesn't support querying the available free memory)")),
    ("error.device_lost", re.compile(r"(\w{1,20}_ERROR_DEVICE_LOST)")),
)

READS: Final = (
    *(_LIMIT, *FOUND, _NATIVE),
    *(pattern for _, pattern in (*_SIZE_PATTERNS, *_THOUSANDS, *_WORDS)),
    *(pattern for _, pattern, _ in _COUNTS),
)


def read_log_line(line: str) -> Fact | None:
    """The fact a line states, or None. Failed allocations come first."""
    text = " ".join(line[:LONGEST].split())
    return _limit(text) or out_of_memory(text) or _native(text) or _sized(text) or _counted(text) or _worded(text)


def _limit(text: str) -> Fact | None:
    """A single allocation above 4 GB, with the figures of the message."""
    match = _LIMIT.search(text)
    if match is None:
        return None
    told = out_of_memory(f"out of memory. {match[1]}") if match[1] else None
    details = told.details if told is not None else ()
    return Fact(name="error.allocation_limit", value=told.value if told is not None else 4 * GiB, unit="bytes", details=details)


_CODES: Final = {
    "39": "error.xpu_oom",
    "40": "error.xpu_oom",
    "-5": "error.xpu_oom",
    "-6": "error.host_oom",
    "38": "error.host_oom",
    "20": "error.device_lost",
    "-999": "error.xpu_oom",  # no number of its own: the project's own threads take it for memory that ran out
}


def _native(text: str) -> Fact | None:
    """A SYCL or Level Zero error by its number; a lost device is usually no want of memory."""
    match = _NATIVE.search(text)
    if match is None:
        return None
    return Fact(name=_CODES.get(match[1], "error.native"), value=match[2], details=(("code", int(match[1])),))


def _sized(text: str) -> Fact | None:
    for name, pattern in _SIZE_PATTERNS:
        match = pattern.search(text)
        if match is not None:
            figure = match.groupdict().get("gib") or match[1]
            return Fact(name=name, value=round(float(figure) * GiB), unit="bytes")
    for name, pattern in _THOUSANDS:
        match = pattern.search(text)
        if match is not None:
            return Fact(name=name, value=round(float(match[1]) * 1024), unit="tokens")
    return None


def _counted(text: str) -> Fact | None:
    for name, pattern, second in _COUNTS:
        match = pattern.search(text)
        if match is not None:
            figure = match[1].replace(",", "")
            other = ((second, int(match[2])),) if second and match[2] else ()
            return Fact(name=name, value=int(figure or "0"), unit="" if name == "kv_blocks" else "tokens", details=other)
    return None


def _worded(text: str) -> Fact | None:
    for name, pattern in _WORDS:
        match = pattern.search(text)
        if match is not None:
            return Fact(name=name, value=match[1])
    return None
