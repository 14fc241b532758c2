"""What is no want of memory though it ends an engine, and what is one in other words: what drivers, loaders, systems and servers say."""

import pytest

from ullage.commands.diagnose import VERB, make_diagnosis
from ullage.domain.cause import Family
from ullage.world import real

NO_MEMORY = (
    ("/app/llama-server: error while loading shared libraries: libcuda.so.1: cannot open shared object file: No such file or directory"),
    "terminate called after throwing an instance of 'vk::DeviceLostError'\n  what():  vk::Queue::submit: ErrorDeviceLost",
    (
        "llama_model_load: error loading model: error loading model architecture: unknown model architecture: 'gemma4'\n"
        "llama_model_load_from_file_impl: failed to load model"
    ),
    "couldn't bind HTTP server socket, hostname: 127.0.0.1, port: 8080",
    "[Errno 98] error while attempting to bind on address ('0.0.0.0', 8000): address already in use",
    "OSError: [Errno 98] Address already in use",
    "Error: listen tcp 127.0.0.1:11434: bind: address already in use",
    "    State:          Terminated\n      Reason:       Error\n      Exit Code:    132",
    "vllm-1 exited with code 139",
    "RuntimeError: Expected all tensors to be on the same device, but found at least two devices, cuda:0 and cpu!",
    "RuntimeError: CUDA error: an illegal memory access was encountered",
    "torch.AcceleratorError: CUDA error: device-side assert triggered",
    (
        "RuntimeError: Error(s) in loading state_dict for LlamaForCausalLM:\n"
        "\tsize mismatch for model.embed_tokens.weight: copying a param with shape torch.Size([32001, 4096]) from "
        "checkpoint, the shape in current model is torch.Size([32000, 4096])."
    ),
    (
        "ValueError: Bfloat16 is only supported on GPUs with compute capability of at least 8.0. Your Tesla T4 GPU has "
        "compute capability 7.5."
    ),
    "ValueError: Total number of attention heads (14) must be divisible by tensor parallel size (4).",
    "ValueError: Model architectures ['Gemma4ForCausalLM'] are not supported for now.",
    "huggingface_hub.errors.GatedRepoError: 401 Client Error. Access to model meta-llama/Llama-3.1-8B is restricted.",
    "OSError: We couldn't connect to 'https://huggingface.co' to load this file, couldn't find it in the cached files",
    "safetensors_rust.SafetensorError: Error while deserializing header: HeaderTooLarge",
    "ModuleNotFoundError: No module named 'flash_attn'",
    "ImportError: /lib/x86_64-linux-gnu/libc.so.6: version `GLIBC_2.38' not found",
    "ImportError: libcudart.so.12: cannot open shared object file: No such file or directory",
    "RuntimeError: Failed to infer device type",
    "RuntimeError: The NVIDIA driver on your system is too old (found version 11040).",
    (
        "[rank0]:[E ProcessGroupNCCL.cpp:616] [Rank 0] Watchdog caught collective operation timeout: "
        "WorkNCCL(SeqNum=5, OpType=ALLREDUCE, Timeout(ms)=600000) ran for 600012 milliseconds before timing out."
    ),
    "torch.distributed.DistStoreError: Timed out after 601 seconds waiting for clients. 1/2 clients joined.",
    (
        "RuntimeError: [1] is setting up NCCL communicator and retrieving ncclUniqueId from [0] via c10d key-value "
        "store by key '0', but store->get('0') got error: Connection reset by peer"
    ),
    "OSError: [Errno 28] No space left on device: '/root/.cache/huggingface/hub/models--Qwen'",
    (
        "triton.runtime.errors.OutOfResources: out of resource: shared memory, Required: 131072, Hardware limit: "
        "101376. Reducing block sizes or `num_stages` may help."
    ),
    "[2026-03-03 03:53:36] Watchdog timeout (self.watchdog_timeout=300)",
    "Illegal instruction (core dumped)",
    "Shard process was signaled to shutdown with signal 4 rank=1",
    "Shard process was signaled to shutdown with signal 11 rank=0",
    "Eval bug: the SYCL backend aborts at start: the query of the device's memory failed",
    "get_memory: querying device memory failed on this driver",
    "traps: llama-server[1234] trap invalid opcode ip:55d0 sp:7ffc error:0 in llama-server",
    "free(): invalid pointer\nAborted (core dumped)",
    "double free or corruption (!prev)\nAborted (core dumped)",
    "RuntimeError: shape '[1, 32, 4096]' is invalid for input of size 98304",
    "RuntimeError: mat1 and mat2 shapes cannot be multiplied (77x2048 and 768x320)",
    "RuntimeError: level_zero backend failed with error: 20 (UR_RESULT_ERROR_DEVICE_LOST)",
    "amdgpu: ring gfx_0.0.0 timeout, signaled seq=1, emitted seq=3",
    "NVRM: Xid (PCI:0000:01:00): 79, pid=1234, GPU has fallen off the bus.",
    "HSA_STATUS_ERROR_INVALID_ISA: The instruction set architecture is invalid.",
    "hipErrorNoBinaryForGpu: Unable to find code object for all current devices!",
    "rocBLAS error: Cannot read /opt/rocm/lib/rocblas/library/TensileLibrary.dat: No such file or directory for GPU arch : gfx1031",
    "error: invalid argument: --flash-attention",
    "ullage.runtime: /models/gone.gguf does not exist: give a directory with .safetensors files, or a .gguf file",
    "ullage.runtime: --model is no option of the runtime",
    "ullage.runtime: error: --model is no option of the runtime",
    "ullage.runtime: error: q9: no such type of the cache",
    "gguf_init_from_file: failed to open GGUF file '/models/gone.gguf'",
    "ValueError: Unrecognized model in /models/x. Should have a `model_type` key in its config.json",
    "json.decoder.JSONDecodeError: Expecting value: line 1 column 1 (char 0)",
    "PermissionError: [Errno 13] Permission denied: '/models/config.json'",
    "FileNotFoundError: [Errno 2] No such file or directory: '/models/Qwen/config.json'",
    'docker: Error response from daemon: could not select device driver "" with capabilities: [[gpu]].',
    (
        "docker: Error response from daemon: failed to create task for container: nvidia-container-cli: initialization "
        "error: load library failed: libnvidia-ml.so.1"
    ),
    "Error: llama runner process has terminated: exit status 0xc0000135",
    "Error: llama runner process has terminated: exit status 0xc000001d",
)
MEMORY = (
    (
        Family("device_memory"),
        (
            "load_tensors: loading model tensors, this can take a while... (mmap = false)\n"
            "ggml_backend_cuda_buffer_type_alloc_buffer: allocating 30512.00 MiB on device 0: cudaMalloc failed: out of "
            "memory\n"
            "alloc_tensor_range: failed to allocate CUDA0 buffer of size 31994150912\n"
            "llama_model_load: error loading model: unable to allocate CUDA0 buffer"
        ),
    ),
    (
        Family("device_memory"),
        (
            "load_tensors: offloaded 33/33 layers to GPU\n"
            "llama_context: n_ctx = 131072\n"
            "ggml_backend_cuda_buffer_type_alloc_buffer: allocating 16384.00 MiB on device 0: cudaMalloc failed: out of "
            "memory\n"
            "alloc_tensor_range: failed to allocate CUDA0 buffer of size 17179869184\n"
            "llama_init_from_model: failed to initialize the context: failed to allocate buffer for kv cache"
        ),
    ),
    (
        Family("device_memory"),
        (
            "main: server is listening on http://127.0.0.1:8080 - starting the main loop\n"
            "slot launch_slot_: id  0 | task 0 | processing task\n"
            "CUDA error: out of memory\n"
            "  current device: 0, in function alloc at /llama.cpp/ggml/src/ggml-cuda/ggml-cuda.cu:487\n"
            "  cuMemCreate(&handle, reserve_size, &prop, 0)"
        ),
    ),
    (
        Family("host_memory"),
        (
            'time=2025-01-01T10:00:00Z level=ERROR source=sched.go:455 msg="error loading llama server" error="llama '
            'runner process has terminated: signal: killed"'
        ),
    ),
    (
        Family("host_memory"),
        (
            "Nov 21 08:11:02 box kernel: Memory cgroup out of memory: Killed process 4211 (python3) total-vm:78521468kB, "
            "anon-rss:54398260kB, file-rss:2628kB"
        ),
    ),
    (Family("host_memory"), "    State:          Terminated\n      Reason:       OOMKilled\n      Exit Code:    137"),
    (Family("host_memory"), "OSError: [Errno 12] Cannot allocate memory"),
    (Family("host_memory"), "OSError: [Errno 28] No space left on device: '/dev/shm/psm_1234'"),
    (Family("device_memory"), "RuntimeError: CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    (
        Family("device_memory"),
        (
            "RuntimeError: MPS backend out of memory (MPS allocated: 17.06 GiB, other allocations: 1.00 GiB, max allowed: "
            "18.13 GiB). Tried to allocate 256.00 MiB on private pool."
        ),
    ),
    (Family("allocation_limit"), "RuntimeError: Invalid buffer size: 21.44 GiB"),
    (
        Family("device_memory"),
        (
            "ggml_metal_graph_compute: command buffer 0 failed with status 5\n"
            "error: Insufficient Memory (00000008:kIOGPUCommandBufferCallbackErrorOutOfMemory)"
        ),
    ),
    (
        Family("host_memory"),
        (
            "ValueError: The current `device_map` had weights offloaded to the disk. RuntimeError: DefaultCPUAllocator: "
            "not enough memory: you tried to allocate 180355072 bytes."
        ),
    ),
    (Family("host_memory"), "OSError: The paging file is too small for this operation to complete. (os error 1455)"),
    (Family("host_memory"), "MemoryError"),
    (Family("host_memory"), "[Bug]: **CPU memory** OOM since the last release"),
    (Family("host_memory"), "Not enough system RAM keeps a model from loading that fits on the card"),
    (Family("host_memory"), "\u52a0\u8f7d\u6a21\u578b\u65f6\u88abkill\u4e86\uff0c\u8bf7\u95ee\u4e3a\u4ec0\u4e48"),
    (Family("host_memory"), "OOM\u4e86\uff0c\u670d\u52a1\u5668\u6709512GB\u5185\u5b58"),
    (Family("host_memory"), "Error: model requires more system memory (48.1 GiB) than is available"),
    (Family("device_memory"), "\u663e\u5361OOM\u4e86\uff0c\u600e\u4e48\u529e"),
    (Family("device_memory"), "ggml_metal_graph_compute: command buffer 2 failed with status 5"),
    (Family("pressure"), "AssertionError: No space left for only one request, available_size()=0"),
    (
        Family("request"),
        "The decoder prompt contains a(n) video item with length 9216, which exceeds the pre-allocated encoder cache size 8192.",
    ),
    (
        Family("host_memory"),
        "tcmalloc: large alloc 34359738368 bytes == (nil) @\nterminate called after throwing an instance of 'std::bad_alloc'",
    ),
    (
        Family("other_processes"),
        (
            "ValueError: Free memory on device cuda:0 (3.21/23.65 GiB) on startup is less than desired GPU memory "
            "utilization (0.9, 21.28 GiB). Decrease GPU memory utilization or reduce GPU memory used by other processes."
        ),
    ),
    (
        Family("device_memory"),
        (
            "ggml_vulkan: Device memory allocation of size 2147483648 failed.\n"
            "ggml_vulkan: vk::Device::allocateMemory: ErrorOutOfDeviceMemory\n"
            "llama_model_load: error loading model: unable to allocate Vulkan0 buffer"
        ),
    ),
)


def family(text: str) -> Family | None:
    found = make_diagnosis(VERB.flags({"offline": True}), iter(text.splitlines(keepends=True)), real.world(offline=True))
    return found.causes[0].family if found.causes else None


@pytest.mark.parametrize("text", NO_MEMORY)
def test_other_deaths_are_not_taken_for_memory(text: str) -> None:
    assert family(text) in {Family.NOT_MEMORY, Family.COMMAND}


@pytest.mark.parametrize(("wanted", "text"), MEMORY)
def test_memory_is_found_behind_what_runs_out(wanted: Family, text: str) -> None:
    assert family(text) is wanted
