"""What the framework, the driver, the operating system and the container say when a process dies, the same under every engine."""

import re
from typing import Final

from ullage.catalog.torch_messages import LONGEST, out_of_memory
from ullage.domain.facts import Fact
from ullage.units import GiB, KiB, MiB

_UNITS: Final = {"k": KiB, "m": MiB, "g": GiB}
_SIZE = r"(\d{1,15}(?:\.\d{1,9})?) ?([KMGT])i?B"
_OWNER = re.compile(r"\b(HIP|XPU|MPS|CUDA)\b")
_TAKEN = re.compile(rf"Tried to allocate {_SIZE}", re.IGNORECASE)

_EXIT = r"exit(?:ed with)?(?: status| code)?[ :=]*\(?"
# What systems and containers say, then what drivers, loaders and frameworks do. In order: the first that fits is meant.
_SYSTEM: Final = (
    (
        "error.host_killed",
        (
            r"[Mm]emory cgroup out of memory|oom-kill:|Out of memory: Killed process|OOMKilled|oom_reaper|result 'oom-kill'",
            rf"{_EXIT}(?:137|-9)\b|signal: killed|SIGKILL|\bstatus=9/KILL|exitcode ?: ?-9\b",
            r"^(?:\S{1,80}: line \d{1,6}: +\d{1,9} )?Killed\b|^\[\d+\][+ -]+\d* *[Kk]illed\b",
        ),
    ),
    ("error.illegal_instruction", (r"[Ii]llegal instruction|SIGILL", rf"{_EXIT}(?:132|-4)\b|exitcode ?: ?-4\b")),
    (
        "error.shared_memory",
        (
            r"[Bb]us error|SIGBUS|insufficient shared memory|Error while creating shared memory segment",
            r"No space left on device.{0,80}dev/shm|dev/shm.{0,80}(?:No space left|not enough|too small)",
            rf"{_EXIT}(?:135|-7)\b",
        ),
    ),
)
_FRAMEWORK: Final = (
    (
        "error.device_lost",
        (
            r"DEVICE_LOST|device lost|GPU has fallen off the bus|GPU is lost|GPU Hang|hardware exception",
            r"\bXid \(?.{0,40}\b(?:79|48|74|94|95)\b|uncorrectable ECC error",
            r"hipErrorLaunchFailure|HSA_STATUS_ERROR_(?!OUT_OF)\w+",
        ),
    ),
    (
        "error.driver",
        (
            r"(?:NVIDIA|CUDA) driver version is insufficient|driver on your system is too old|no CUDA-capable device|Found no NVIDIA",
            r"no kernel image is available|CUDA error: (?:unknown error|initialization error|invalid device)|libcuda\.so|libze_loader",
            r"forward compatibility was attempted|No (?:HIP|XPU|CUDA) (?:GPUs|devices?) (?:are|is) available|cuInit",
        ),
    ),
    (
        "error.missing_library",
        (
            r"cannot open shared object file|undefined symbol|DLL load failed|version `?(?:GLIBC|GLIBCXX)_[\d.]+'? not found",
            r"PackageNotFoundError|operator torchvision::nms does not exist|Failed to import from vllm\._C",
        ),
    ),
    (
        "error.wrong_module",
        (
            r"No module named ['\"]?(?P<module>[\w.]{1,80})",
            r"ModuleNotFoundError|cannot import name '\w{1,80}'|: command not found|executable file not found",
        ),
    ),
    (
        "error.device_oom",
        (
            r"CUDA error: out of memory|CUDA_ERROR_OUT_OF_MEMORY|cudaErrorMemoryAllocation|CUBLAS_STATUS_ALLOC_FAILED",
            r"Cuda failure (?:2 )?'out of memory'|CUDNN_STATUS_ALLOC_FAILED|cu(?:da)?Mem(?:Create|Alloc\w*) failed",
            r"hipErrorOutOfMemory|HIP error: out of memory|HSA_STATUS_ERROR_OUT_OF_RESOURCES|hipErrorMemoryAllocation",
        ),
    ),
    (
        "error.one_block",
        (
            r"can ?not allocate memory blocks? (?:with size larger than|over) 4 ?GB|Invalid buffer size",
            r"larger than .{0,40}maxBufferLength|max(?:imum)? (?:memory )?allocation size|CL_INVALID_BUFFER_SIZE",
            r"maxMemoryAllocationSize|exceeds? .{0,30}allocation limit|[Ss]ingle[- ]allocation limit",
        ),
    ),
    (
        "error.host_oom",
        (
            r"OUT_OF_HOST_MEMORY|std::bad_alloc|Cannot allocate memory|\bENOMEM\b|cudaHostAlloc|cudaErrorHostMemory",
            r"^(?:\w+\.)*MemoryError\b|_ArrayMemoryError|Unable to allocate [\d.]+ [KMGT]iB for an array",
            r"mmap.{0,60}failed|failed to (?:mmap|pin|mlock)|paging file is too small",
            r"pinn?(?:ed)? memory.{0,60}(?:fail|out of memory)|of pinned memory: out of memory",
            r"\b(?:[Hh]ost|[Ss]ystem|CPU) (?:RAM |memory )?(?:OOM|out of memory)|out of (?:host|system|CPU) (?:memory|RAM)",
        ),
    ),
    (
        "error.device_oom",
        (
            r"OUT_OF_DEVICE_MEMORY|PI_ERROR_OUT_OF_RESOURCES|UR_RESULT_ERROR_OUT_OF_RESOURCES|out of device memory",
            r"kIOGPUCommandBufferCallbackErrorOutOfMemory|\[METAL\].{0,80}Insufficient Memory|MPS backend out of memory",
            r"OutOfMemoryError|(?:CUDA|HIP|XPU|GPU|VRAM|SYCL|ROCm|Vulkan|Metal)\W{0,3} ?out of memory|outOfMemory",
        ),
    ),
    (
        "error.bug",
        (
            r"illegal memory access|device-side assert|misaligned address|[Ss]egmentation fault|SIGSEGV",
            rf"{_EXIT}(?:139|-11)\b",
        ),
    ),
    (
        "error.network",
        (
            r"NCCL (?:error|WARN).{0,120}(?:timeout|unhandled|remote|connection)|DistBackendError",
            r"Watchdog caught collective|Connection reset by peer",
        ),
    ),
)


def _compiled(table: tuple[tuple[str, tuple[str, ...]], ...]) -> tuple[tuple[str, re.Pattern[str]], ...]:
    return tuple((name, re.compile("|".join(texts))) for name, texts in table)


_SYSTEM_PATTERNS: Final = _compiled(_SYSTEM)
_FRAMEWORK_PATTERNS: Final = _compiled(_FRAMEWORK)
_LEAST: Final = re.compile(
    r"\bOOMs?\b|out[ -]of[ -]memory|(?:not enough|insufficient) (?:GPU |device )?memory|runs out of .{0,20}memory|memory error",
    re.IGNORECASE,
)
_KILLED_SIZE = re.compile(r"anon-rss:(\d{1,15})kB")
_TOTAL = re.compile(r"(\d{1,4}(?:\.\d{1,4})?) ?G(?:i?)B total capacity")


def read_death(line: str) -> Fact | None:
    """The end of a process as a fact, or None. What the allocator itself says comes first."""
    text = line[:LONGEST]
    killed = _first(_SYSTEM_PATTERNS, text)
    if killed is not None:
        return killed
    return out_of_memory(text) or _allocation(text) or _first(_FRAMEWORK_PATTERNS, text)


def _first(patterns: tuple[tuple[str, re.Pattern[str]], ...], text: str) -> Fact | None:
    for name, pattern in patterns:
        match = pattern.search(text)
        if match is not None:
            return _fact(name, match, text)
    return None


def _allocation(text: str) -> Fact | None:
    """An allocator's sentence that lost its beginning."""
    return out_of_memory(f"out of memory. {text}") if _TAKEN.search(text) else None


# A cache that does not hold what it should, in the words of people and of functions.
_NO_CACHE = re.compile(
    r"no (?:KV[ -]?)?cache room|no room for .{0,30}(?:KV|cache|pool)|no (?:GPU )?blocks? (?:left|available)", re.IGNORECASE
)
_SMALL_CACHE = re.compile(
    r"(?:KV|cache) .{0,20}too small|not fit .{0,30}\bKV\b|raise_if_cache_size_invalid|check_enough_kv_cache_memory", re.IGNORECASE
)


def read_least(line: str) -> Fact | None:
    """Words about memory that ran out, which say no more than that; a last resort."""
    text = line[:LONGEST]
    for name, pattern in (("error.no_kv_blocks", _NO_CACHE), ("error.kv_too_small", _SMALL_CACHE)):
        if pattern.search(text):
            return Fact(name=name, value=text.strip()[:200])
    return Fact(name="error.memory", value=text.strip()[:200]) if _LEAST.search(text) else None


def _fact(name: str, match: re.Match[str], text: str) -> Fact:
    details: tuple[tuple[str, int | float | str], ...] = ()
    module = match.groupdict().get("module")
    if module:
        details = (("module", module),)
    killed = _KILLED_SIZE.search(text)
    if killed is not None:
        details = (("resident_bytes", int(killed[1]) * KiB),)
    size = _TAKEN.search(text)
    if size is not None and size[2].lower() in _UNITS:
        details = (*details, ("requested_bytes", int(float(size[1]) * _UNITS[size[2].lower()])))
    total = _TOTAL.search(text)
    if total is not None:
        details = (*details, ("total_bytes", int(float(total[1]) * GiB)))
    owner = _OWNER.search(text)
    return Fact(name=name, value=text.strip()[:200], details=(*details, *((("owner", owner[1]),) if owner else ())))
