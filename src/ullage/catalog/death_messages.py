"""What the framework, the driver, the operating system and the container say when a process dies, the same under every engine."""

import re
from typing import Final

from ullage.catalog.refusals import REFUSALS
from ullage.catalog.torch_messages import LONGEST, out_of_memory, without_names
from ullage.domain.facts import Fact
from ullage.units import GiB, KiB, MiB

_UNITS: Final = {"k": KiB, "m": MiB, "g": GiB}
_SIZE = r"(\d{1,15}(?:\.\d{1,9})?) ?([KMGT])i?B"
_OWNER = re.compile(r"\b(HIP|XPU|MPS|CUDA)\b")
_TAKEN = re.compile(rf"Tried to allocate {_SIZE}", re.IGNORECASE)

# "Memory (of the device) does not suffice, overflows, is used up" in Chinese, as many wrappers and their users write it.
_CHINESE_LACK = r"(?:\u4e0d\u8db3|\u6ea2\u51fa|\u8017\u5c3d|\u4e0d\u591f|\u5360\u7528\u8fc7\u9ad8)"
_CHINESE_HOST = rf"\u5185\u5b58{_CHINESE_LACK}|\u7206\u5185\u5b58"

_EXIT = r"[Ee]xit(?:ed with)?(?: [Ss]tatus| [Cc]ode)?[ :=]*\(?"
# A setting of a size, a count or a share, and what engines ask of one before they start.
_SETTING = (
    r"(?!(?:max|min)_(?:new_|completion_)?tokens\b)[a-z]\w{0,40}_"
    r"(?:size|len(?:gth)?|seqs|utilization|fraction|space|blocks|tokens|parallel\w{0,10}|layers|workers|heads|dtype|slots|gb)"
)
_BOUND = (
    r"(?:an? |strictly )?(?:positive|non-?negative|integer|at (?:least|most)|greater|less|larger|smaller|[<>]=?|divisible|multiple of"
    r"|power of|between|in (?:the )?(?:range|[(\[])|one of)"
)
# What systems and containers say, then what drivers, loaders and frameworks do. In order: the first that fits is meant.
_SYSTEM: Final = (
    (
        "error.host_killed",
        (
            r"[Mm]emory cgroup out of memory|oom-kill:|Out of memory: Killed process|OOMKilled(?!\W{1,4}false)",
            r"oom_reaper|result 'oom-kill'",
            r"low on resource: memory\b|had condition: \[MemoryPressure",
            r"killed due to (?:the node running low on memory|memory pressure)",
            r"(?i:container|process|pod|worker|task)\b.{0,20}\bkilled\b(?:(?!GPU|VRAM|CUDA).){0,60}\bmemory\b",
            r"ray-oom-prevention|RAY_memory_(?:usage_threshold|monitor_refresh)",
            r"killed it to free host memory|oom_kill event|OOM[- ][Kk]ill(?:ed|er)\b|invoked oom-killer|earlyoom|systemd-oomd",
            rf"{_EXIT}(?:137|-9)\b|signal: killed|\bsignal[ :=]{{1,2}}9\b|SIGKILL|\bstatus=9/KILL|exitcode *: ?-9\b",
            r"proc\(s\): .{0,200}: -9\b",
            r"^(?:\S{1,80}: line \d{1,6}: +\d{1,9} )?Killed\b|^\w{0,8}sh: killed\b|[\])]Killed$|^\[\d+\][+ -]+\d* *[Kk]illed\b",
        ),
    ),
    (
        "error.illegal_instruction",
        (
            r"[Ii]llegal instruction|SIGILL|trap invalid opcode|\bsignal[ :=]{1,2}4\b",
            rf"{_EXIT}(?:132|-4|0xc000001d)\b|exitcode *: ?-4\b|proc\(s\): .{{0,200}}: -4\b",
        ),
    ),
    (
        "error.shared_memory",
        (
            r"[Bb]us error|SIGBUS|insufficient shared memory|Error while creating shared memory segment",
            r"(?:posix_fallocate|shm|shared memory).{0,60}No space left on device|ncclShmOpen.{0,80}(?:rror|ailed)",
            r"No space left on device.{0,80}dev/shm|dev/shm.{0,80}(?:No space left|not enough|too small)",
            rf"{_EXIT}(?:135|-7)\b|\bsignal[ :=]{{1,2}}7\b|proc\(s\): .{{0,200}}: -7\b",
        ),
    ),
)
_FRAMEWORK: Final = (
    (
        "error.device_lost",
        (
            r"DEVICE_LOST|DeviceLost|[Dd]evice (?:was )?lost|GPU has fallen off the bus|GPU is lost|GPU Hang|hardware exception",
            r"\bXid \(?.{0,40}\b(?:79|48|74|94|95)\b|uncorrectable ECC error",
            r"amdgpu: .{0,40}(?:ring \S+ timeout|GPU reset)|hipErrorLaunchFailure|HSA_STATUS_ERROR_(?!OUT_OF|INVALID_ISA)\w+",
        ),
    ),
    (
        "error.driver",
        (
            r"(?:NVIDIA|CUDA) driver version is insufficient|driver on your system is too old|no CUDA-capable device|Found no NVIDIA",
            r"not compiled with (?:CUDA|ROCm|HIP|XPU|MPS) enabled",
            r"no kernel image is available|CUDA error: (?:unknown error|initialization error|invalid device)|libcuda\.so|libze_loader",
            r"support querying the available free memory|CUDA driver error: (?!out of memory|device not ready)",
            r"memory (?:query|info(?:rmation)? query) fail|quer(?:y|ying) .{0,40}\bmemory\b.{0,20}\bfail",
            r"nvidia-container-cli|could not select device driver|Failed to initialize NVML|NoBinaryForGpu|INVALID_ISA|TensileLibrary",
            r"forward compatibility was attempted|No (?:HIP|XPU|CUDA) (?:GPUs|devices?) (?:are|is) available|cuInit",
        ),
    ),
    (
        "error.missing_library",
        (
            r"cannot open shared object file|undefined symbol|DLL load failed|version `?(?:GLIBC|GLIBCXX)_[\d.]+'? not found",
            r"PackageNotFoundError|operator torchvision::nms does not exist|Failed to import from vllm\._C",
            rf"{_EXIT}0xc0000(?:135|07b)\b",
            r"fatal error: \S{1,80}\.h\b|requires? \S{1,40}\.(?:h|hpp|cuh)\b|ninja: build stopped",
            r"Error building extension|Could not find nvcc",
            r"Unable to find (?:a suitable compiler|vcvarsall)|Failed to find C compiler|CUDA_HOME environment variable is not set",
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
            r"(?i:CUDA error):? (?:2 |\d at \S+ )?out of memory",
            r"Triton Error \[\w{2,4}\]: out of memory|would exceed allowed memory",
            r"CUDA_ERROR_OUT_OF_MEMORY|cudaErrorMemoryAllocation|CUBLAS_STATUS_ALLOC_FAILED",
            r"Cuda failure (?:2 )?['(]out of memory|CUDNN_STATUS_ALLOC_FAILED|cu(?:da)?Mem(?:Create|Alloc\w*) failed",
            r"CL_OUT_OF_RESOURCES|CL_MEM_OBJECT_ALLOCATION_FAILURE|memory layout cannot be allocated",
            r"dxgkio_make_resident.{0,40}-12\b|[Cc]an(?:'t|not) allocate \d{1,18} [Bb]ytes of memory on device",
            r"Device memory allocation of size \d{1,18} failed|CURAND_STATUS_ALLOCATION_FAILED|CUSOLVER_STATUS_ALLOC_FAILED",
            r"(?:CUDA|HIP|XPU) runtime error.{0,200}: out of memory",
            r"hipErrorOutOfMemory|HIP error: out of memory|HSA_STATUS_ERROR_OUT_OF_RESOURCES|hipErrorMemoryAllocation",
        ),
    ),
    ("error.no_kv_blocks", (r"[Nn]ot enough memory.{0,40}increase.{0,8}mem.fraction.static",)),
    ("error.kernel_workspace", (r"Failed to allocate memory for \w{1,60} with size \d{1,18}",)),
    ("error.dispatched", (r"modules are dispatched on the CPU or the disk",)),
    ("error.swap_space", (r"lack of CPU swap space",)),
    *((one.fact, one.patterns) for one in REFUSALS),
    ("error.request_too_long", (r"\bmax_(?:new_|completion_)?tokens must be at least 1, got -?\d",)),
    (
        "error.arguments",
        (
            rf"(?:[Ee]rror|Exception)[:,] (?:.{{0,80}}\W)?{_SETTING}\W? must be {_BOUND}|\b{_SETTING}\W? must be {_BOUND}.{{0,60}}, got\b",
            r"\d{1,3} validation errors? for \w{0,40}(?:Config|Args|Arguments|Settings)\b",
            r"^(?:\S{1,80}: )? *Value error, .{1,4000}\[type=\w+, input_value=",
            r"(?:Error|Exception): .{0,160}\bnot supported (?:on|by) (?:the |this |your )?(?:current )?(?:platform|hardware)\b",
            r"unrecognized arguments?|no such option|invalid choice|unexpected keyword argument|[Cc]annot specify both|mutually exclusive",
            r"[Aa]ddress already in use|EADDRINUSE|Repository Not Found|is not a valid model identifier",
            r"couldn't bind|[Ff]ailed to bind|error: (?:invalid|unknown) argument:? -|404 Client Error",
            r"couldn't connect to 'http|failed to open GGUF|\.gguf['\"]? does not exist|\.gguf['\"]?: No such file",
            r"(?:FileNotFound|Permission|RepositoryNotFound|LocalEntryNotFound|IsADirectory|NotADirectory)Error",
            r"has wrong shape|size mismatch for \S|(?:weight|tensor) '?[\w.]{3,120}'? (?:does not exist|not found)",
        ),
    ),
    ("error.cache_full", (r"failed to find (?:free space in the KV cache|a (?:memory|KV) ?slot)",)),
    (
        "error.kv_too_small",
        (r"\((?P<need>\d{1,6}(?:\.\d{1,4})?) Gi?B\) ?>=? ?.{0,20}(?:KV|[Cc]ache).{0,20}\((?P<have>\d{1,6}(?:\.\d{1,4})?) Gi?B\)",),
    ),
    (
        "error.one_block",
        (
            r"can ?not allocate memory blocks? (?:with size larger than|over) 4 ?GB|Invalid buffer size",
            r"\[metal::malloc\]|maximum allowed buffer size|must not exceed \d{1,7} ?MB|failed assertion `Buffer Validation",
            r"larger than .{0,40}maxBufferLength|max(?:imum)? (?:memory )?allocation size|CL_INVALID_BUFFER_SIZE",
            r"SYCL\d? buffer (?:size )?.{0,30}(?:above|over|larger than|exceed\w*|>) ?~?(?:4(?:\.\d)? ?Gi?B|4[0-4]\d\d ?Mi?B)",
            r"(?i:can ?not|can't|unable to) allocate more th[ae]n \d{1,2} ?Gi?B",
            r"(?:beyond|over|exceeds?|larger than) .{0,20}max(?:imum)? (?:buffer|allocation) size",
            r"maxMemoryAllocationSize|exceeds? .{0,30}allocation limit|[Ss]ingle[- ]allocation limit",
        ),
    ),
    (
        "error.host_oom",
        (
            r"libgomp: Thread creation failed|pthread_create failed",  # there is no room for a thread's stack
            r"OUT_OF_HOST_MEMORY|std::bad_alloc|Cannot allocate memory|\bENOMEM\b|cudaHostAlloc|cudaErrorHostMemory",
            r"(?<![A-Za-z])MemoryError\b(?!: Memory footprint \d)",  # which is of a pool on the device
            r"memory allocation of \d{1,18} bytes failed|fatal error: runtime: (?:out of|cannot allocate) memory",
            r"_ArrayMemoryError|Unable to allocate [\d.]+ [KMGT]iB for an array",
            _CHINESE_HOST,
            r"ggml_aligned_malloc: insufficient|os error 1455|WinError 1455|mmap failed",
            r"ggml_backend_cpu_buffer_type_alloc_buffer: failed|\bCPU\w* buffer of size \d",
            r"mmap.{0,60}failed|failed to (?:mmap|pin)|paging file is too small",
            r"(?:allocate|alloc|pin) .{0,40}\bpinned (?:host )?memory|(?:[Ff]ailed|unable) to allocate CPU\w* buffer",
            r"pinn?(?:ed)? memory.{0,60}(?:fail|out of memory)|of pinned memory: out of memory",
            r"(?i:\b(?:host|system|CPU)\W{1,3}(?:(?:RAM|memory)\W{1,4})?(?:OOM\b|out of memory)|out of (?:host|system|CPU) (?:memory|RAM))",
        ),
    ),
    (
        "error.device_oom",
        (
            r"(?i:error_?out_?of_?(?:device_?)?memory)|(?:cuda|hip)Malloc\w{0,16} failed",
            r"OUT_OF_DEVICE_MEMORY|OutOfDeviceMemory|PI_ERROR_OUT_OF_RESOURCES|UR_RESULT_ERROR_OUT_OF_RESOURCES|out of device memory",
            r"kIOGPUCommandBufferCallbackErrorOutOfMemory|\[METAL\].{0,80}Insufficient Memory|MPS backend out of memory",
            r"OutOfMemoryError|(?:CUDA|HIP|XPU|GPU|VRAM|SYCL|ROCm|Vulkan|Metal)\W{0,3} ?out of memory|outOfMemory",
        ),
    ),
    (
        "error.bug",
        (
            r"out of resource: shared memory, Required|\bXid \(.{0,40}\): (?:13|31|43|45)\b|Memory access fault by GPU",
            r"(?i:(?:CUDA|HIP)(?: driver)? error):? (?!.{0,24}out of memory|CUBLAS|CUDNN|unknown|init)[a-z]",
            r"RuntimeError: invalid argument|ggml_\w+: not enough space in the buffer",
            r"(?:free|malloc|realloc)\(\): |double free or|corrupted (?:size|double-linked)|stack smashing|Watchdog timeout \(self",
            r"illegal memory access|device-side assert|misaligned address|[Ss]egmentation fault|SIGSEGV|\bsignal[ :=]{1,2}(?:6|11)\b",
            rf"{_EXIT}(?:139|-11|0xc0000005)\b|proc\(s\): .{{0,200}}: -11\b",
        ),
    ),
    (
        "error.network",
        (
            r"NCCL (?:error|WARN).{0,120}(?:timeout|unhandled|remote|connection)|DistBackendError",
            r"DistStoreError|Timed out after \d+ seconds waiting for clients",
            r"Watchdog caught collective|Connection (?:reset|closed|refused) by peer|gloo/transport/tcp",
        ),
    ),
)


def _compiled(table: tuple[tuple[str, tuple[str, ...]], ...]) -> tuple[tuple[str, re.Pattern[str]], ...]:
    return tuple((name, re.compile("|".join(texts))) for name, texts in table)


_SYSTEM_PATTERNS: Final = _compiled(_SYSTEM)
_FRAMEWORK_PATTERNS: Final = _compiled(_FRAMEWORK)
_BYTES = re.compile(r"(?:allocation of size|can(?:'t|not) allocate|with size) (\d{4,18})\b")
_KILLED_SIZE = re.compile(r"(?:anon-rss:|\bwas using )(\d{1,15})(?:([KMG])i\b|(k)B)")
# What is said and ends nothing: pages that are not held fast are read again when they are needed.
_WARNING = re.compile(r"failed to mlock|RLIMIT_MEMLOCK|\bmlock\b.{0,40}fail")
READY: Final = "started"  # what a server says once, when it answers: after a death it was started again
_READY = re.compile(
    r"Application startup complete|Uvicorn running on|[Tt]he server is fired up|(?:server|HTTP server) is listening on|llama runner started"
    r"|Starting vLLM (?:API )?server \d* ?on"
)
_STATED: Final = frozenset(one.fact for one in REFUSALS)
_TOTAL = re.compile(r"(\d{1,4}(?:\.\d{1,4})?) ?G(?:i?)B total capacity")

FOUND: Final = (_WARNING, *(pattern for _, pattern in (*_SYSTEM_PATTERNS, *_FRAMEWORK_PATTERNS)), _TAKEN, _READY)  # one in all it reads


def read_death(line: str) -> Fact | None:
    """The end of a process as a fact, or None. What the allocator itself says comes first."""
    text = without_names(line[:LONGEST])
    if _WARNING.search(text):
        return Fact(name="warning", value=text.strip()[:200])
    killed = _first(_SYSTEM_PATTERNS, text)
    if killed is not None:
        return killed
    dead = out_of_memory(text) or _allocation(text) or _first(_FRAMEWORK_PATTERNS, text)
    return Fact(name=READY, value=text.strip()[:200]) if dead is None and _READY.search(text) else dead


def _first(patterns: tuple[tuple[str, re.Pattern[str]], ...], text: str) -> Fact | None:
    for name, pattern in patterns:
        match = pattern.search(text)
        if match is not None:
            return _fact(name, match, text)
    return None


def _allocation(text: str) -> Fact | None:
    """An allocator's sentence that lost its beginning."""
    return out_of_memory(f"out of memory. {text}") if _TAKEN.search(text) else None


def _fact(name: str, match: re.Match[str], text: str) -> Fact:
    details: tuple[tuple[str, int | float | str], ...] = ()
    module = match.groupdict().get("module")
    if module:
        details = (("module", module),)
    need, have = match.groupdict().get("need"), match.groupdict().get("have")
    if need and have:
        details = (("needed_bytes", int(float(need) * GiB)), ("available_bytes", int(float(have) * GiB)))
    if name == "error.swap_space":
        details = (("swap", 1),)
    if name in _STATED:
        details = ((name.removeprefix("error."), 1),)
    killed = _KILLED_SIZE.search(text)
    if killed is not None:
        details = (("resident_bytes", int(killed[1]) * _UNITS[(killed[2] or killed[3]).lower()]),)
    size = _TAKEN.search(text)
    if size is not None and size[2].lower() in _UNITS:
        details = (*details, ("requested_bytes", int(float(size[1]) * _UNITS[size[2].lower()])))
    whole = _BYTES.search(text)
    if whole is not None and size is None:
        details = (*details, ("requested_bytes", int(whole[1])))
    total = _TOTAL.search(text)
    if total is not None:
        details = (*details, ("total_bytes", int(float(total[1]) * GiB)))
    owner = _OWNER.search(text)
    return Fact(name=name, value=text.strip()[:200], details=(*details, *((("owner", owner[1]),) if owner else ())))
