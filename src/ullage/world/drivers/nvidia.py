"""NVIDIA cards by NVML. What NVML holds back for itself counts as not there, as it does for CUDA."""

from typing import Any

from ullage.catalog import devices as catalogue
from ullage.domain.machine import Device


def read() -> tuple[Device, ...]:
    """One device for each card that NVML lists."""
    try:
        import pynvml
    except ImportError:
        return ()
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:  # no driver, or no card: then there is nothing to list
        return ()
    try:
        return tuple(_device(pynvml, index) for index in range(pynvml.nvmlDeviceGetCount()))
    finally:
        pynvml.nvmlShutdown()


def _device(nvml: Any, index: int) -> Device:
    handle = nvml.nvmlDeviceGetHandleByIndex(index)
    name = nvml.nvmlDeviceGetName(handle)
    name = name.decode() if isinstance(name, bytes) else name
    memory = nvml.nvmlDeviceGetMemoryInfo(handle)
    return Device(
        id=f"gpu{index}",
        kind="cuda",
        name=name,
        total_bytes=_compute_total(name, int(memory.total)),
        reserved_bytes=_used_by_others(nvml, handle),
        compute_capability=_capability(nvml, handle),
    )


def _compute_total(name: str, managed_bytes: int) -> int:
    """What CUDA will report: the catalogue's figure where it knows the card, since NVML counts what CUDA cannot reach."""
    model = catalogue.lookup(name)
    if model is not None and model.low_bytes <= managed_bytes <= model.high_bytes + (64 << 20):
        return model.reported_bytes
    return managed_bytes


def _used_by_others(nvml: Any, handle: Any) -> int:
    """Memory of the processes on the card, as far as the driver tells; one that computes and draws is listed twice."""
    used: dict[int, int] = {}
    for running in (nvml.nvmlDeviceGetComputeRunningProcesses, nvml.nvmlDeviceGetGraphicsRunningProcesses):
        try:
            used.update({process.pid: int(process.usedGpuMemory or 0) for process in running(handle)})
        except nvml.NVMLError:  # not told on this system
            continue
    return sum(used.values())


def _capability(nvml: Any, handle: Any) -> tuple[int, int] | None:
    try:
        major, minor = nvml.nvmlDeviceGetCudaComputeCapability(handle)
    except nvml.NVMLError:
        return None
    return int(major), int(minor)
