"""Single lines that systems, drivers, frameworks and engines write when a process dies, and lines that sound like it and are not."""

import pytest
from tests.accuracy.diagnosed_rows import diagnosed

from ullage.domain.cause import Family
from ullage.planning import diagnose_gather

HOST = (
    "      Reason:       OOMKilled",
    "[Tue Nov 21 10:00:00 2026] Out of memory: Killed process 42 (python3) total-vm:123456kB, anon-rss:98765432kB, file-rss:0kB",
    '{"MESSAGE":"vllm.service: Main process exited, code=killed, status=9/KILL","_PID":"1"}',
    "vllm.service: A process of this unit has been killed by the OOM killer.",
    "slurmstepd: error: Detected 1 oom_kill event in StepId=123.batch. Some of the step tasks have been OOM Killed.",
    "container exited with code 137",
    '"OOMKilled": true,',
    "  exitcode  : -9 (pid: 17)",
    "  traceback : Signal 9 (SIGKILL) received by PID 17",
    "memory allocation of 34359738368 bytes failed",
    "fatal error: runtime: out of memory",
    "RuntimeError: [enforce fail at alloc_cpu.cpp:75] . DefaultCPUAllocator: not enough memory: you tried to allocate 268435456 bytes.",
    "OSError: The paging file is too small for this operation to complete. (os error 1455)",
    "ggml_aligned_malloc: insufficient memory (attempted to allocate 1024.00 MB)",
    "ggml_cuda_host_malloc: failed to allocate 512.00 MiB of pinned memory: out of memory",
    "Error: model requires more system memory (12.5 GiB) than is available (7.1 GiB)",
    "DataLoader worker (pid 7) is killed by signal: Bus error. It is possible that dataloader's workers are out of shared memory.",
    "include/shm.h:28 NCCL WARN Call to posix_fallocate failed : No space left on device",
)
DEVICE = (
    "NCCL WARN Cuda failure 2 'out of memory'",
    "Last error: Cuda failure 2 (out of memory)",
    "RuntimeError: cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
    "RuntimeError: CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
    "RuntimeError: level_zero backend failed with error: 40 (UR_RESULT_ERROR_OUT_OF_RESOURCES)",
    "Native API failed. Native API returns: -5 (PI_ERROR_OUT_OF_RESOURCES) -5 (PI_ERROR_OUT_OF_RESOURCES)",
    "clCreateBuffer failed: CL_MEM_OBJECT_ALLOCATION_FAILURE",
    "ggml_vulkan: Device memory allocation of size 118497280 failed.",
    "hipErrorOutOfMemory",
    "CUDA driver error: out of memory",
    "dxgkio_make_resident: Ioctl failed: -12",
    "ValueError: Some modules are dispatched on the CPU or the disk. Make sure you have enough GPU RAM to fit the quantized model.",
)
NOT_MEMORY = (
    "Exception: Capture cuda graph failed: Triton Error [CUDA]: an illegal memory access was encountered",
    "Exception: Capture cuda graph failed: [gloo/transport/tcp/pair.cc:534] Connection closed by peer",
    "triton.runtime.errors.OutOfResources: out of resource: shared memory, Required: 131072, Hardware limit: 101376.",
    "NVRM: Xid (PCI:0000:65:00): 31, pid=1234, MMU Fault",
    "NVRM: Xid (PCI:0000:65:00): 79, pid=1234, GPU has fallen off the bus.",
    "vk::Queue::submit: ErrorDeviceLost",
    "Memory access fault by GPU node-1 (Agent handle: 0x55) on address 0x7f. Reason: Page not present or supervisor privilege.",
    "RuntimeError: CUDA error: unspecified launch failure",
    "RuntimeError: CUDA error: no kernel image is available for execution on the device",
    "traps: python3[2139] trap invalid opcode ip:7f4aa44a4e94 sp:7ffceec92e60 error:0 in libllama.so[7f4aa448a000+9f000]",
    "torch.distributed.DistBackendError: NCCL error in: ProcessGroupNCCL.cpp:2395, remote process exited or there was a network error",
)
ONE_BLOCK = (
    "RuntimeError: [metal::malloc] Attempting to allocate 25353916928 bytes which is",
    "newBufferWith*:length 0x6692c000 must not exceed 1024 MB.",
    "RuntimeError: Invalid buffer size: 9.00 GiB",
)
REFUSED = ("vllm serve: error: unrecognized arguments: --max-modle-len 5", "OSError: [Errno 98] Address already in use")


@pytest.mark.parametrize(
    ("family", "line"),
    [
        (family, line)
        for family, lines in (
            (Family.HOST, HOST),
            (Family.DEVICE, DEVICE),
            (Family.NOT_MEMORY, NOT_MEMORY),
            (Family.ONE_BLOCK, ONE_BLOCK),
            (Family.COMMAND, REFUSED),
        )
        for line in lines
    ],
)
def test_one_line_tells_the_class(family: Family, line: str) -> None:
    found = diagnosed(line)
    assert found.causes
    assert found.causes[0].family is family


@pytest.mark.parametrize(
    "line",
    [
        "WARNING If out-of-memory error occurs during cudagraph capture, consider decreasing `gpu_memory_utilization`.",
        "INFO CUDA graphs can take additional 1~3 GiB memory per GPU. If you are running out of memory, consider enforcing eager mode.",
        "We will use 90% of the memory on device 0 for storing the model, and 10% for the buffer to avoid OOM.",
        '"OOMKilled": false,',
        'INFO: 10.0.0.1 - "GET /oom HTTP/1.1" 200 OK',
        "Process exited with exit code 0",
    ],
)
def test_what_is_said_of_memory_while_all_is_well_is_no_death(line: str) -> None:
    assert not diagnosed(line).found


def test_want_of_memory_stands_before_the_lost_ranks_it_brings_about() -> None:
    lines = (
        "torch.distributed.DistBackendError: NCCL error in: x.cpp:9, unhandled cuda error",
        "Last error:",
        "Cuda failure 2 (out of memory)",
    )
    assert diagnosed("\n".join(lines)).causes[0].family is Family.DEVICE


def test_where_nothing_tells_how_far_a_run_was_the_first_changes_help_against_each_explanation() -> None:
    line = "vLLM: CUDA out of memory. Tried to allocate 2.00 MiB. GPU 6 has a total capacity of 44.53 GiB of which 448.00 KiB is free."
    found = diagnosed(line)
    assert len({cause.kind for cause in found.causes}) > 1
    assert not any(cause.stated for cause in found.causes)
    assert {"gpu_memory_utilization", "max_num_seqs", "quantization"} <= {change.setting for change in found.changes[:4]}
    assert len({change.setting for change in found.changes}) == len(found.changes)


def test_a_log_that_shows_the_newest_line_first_is_understood() -> None:
    lines = (
        "Error initializing vLLM engine: CUDA out of memory. Tried to allocate 112.00 MiB. GPU 0 has a total capacty of 44.35 GiB",
        "INFO 02-03 03:43:49 model_runner.py:625] Capturing the model for CUDA graphs.",
        "INFO 02-03 03:43:48 llm_engine.py:316] # GPU blocks: 7754, # CPU blocks: 2048",
    )
    assert diagnosed("\n".join(lines)).causes[0].kind.value == "graphs"


def test_the_host_buffer_that_failed_is_the_hosts_whatever_it_was_for() -> None:
    lines = (
        "ggml_backend_cpu_buffer_type_alloc_buffer: failed to allocate buffer of size 137438953504",
        "llama_kv_cache_init: failed to allocate buffer for kv cache",
    )
    (cause,) = diagnosed("\n".join(lines)).causes
    assert (cause.family, cause.term and cause.term.value) == (Family.HOST, "kv_cache")


def test_long_words_without_a_number_cost_their_length() -> None:
    word = "x" * 2_000_000  # a pattern that begins anew at each letter would not end
    assert diagnose_gather._NUMBERED.sub("0", f"{word} a1") == f"{word} 0"


def test_stamps_and_tags_that_are_taken_off_tell_the_engine() -> None:
    tagged = "(EngineCore_DP0 pid=7) ERROR 10-29 01:56:59 [v1/engine/core.py:779] torch.OutOfMemoryError: CUDA out of memory."
    framed = '  File "/opt/site-packages/sglang/srt/managers/scheduler.py", line 5, in run\nRuntimeError: CUDA error: out of memory'
    assert (diagnosed(tagged).log.engine, diagnosed(framed).log.engine) == ("vllm", "sglang")
