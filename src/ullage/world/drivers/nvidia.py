"""NVIDIA cards by NVML. What NVML holds back for itself counts as not there, as it does for CUDA."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from ullage.catalog import devices as catalogue
from ullage.domain.machine import Device
from ullage.domain.reading import DeviceReading, ProcessUse

_PERCENT = 100.0
T = TypeVar("T")


def read() -> tuple[Device, ...]:
    """One device for each card that NVML lists."""
    with _library() as nvml:
        return tuple(_device(nvml, index) for index in range(nvml.nvmlDeviceGetCount())) if nvml is not None else ()


def read_live(at: float) -> tuple[DeviceReading, ...]:
    """A reading of each card that NVML lists."""
    with _library() as nvml:
        return readings(nvml, at) if nvml is not None else ()


@contextmanager
def _library() -> Iterator[Any]:
    """NVML, ready to be asked; None where it is not installed, or there is no driver or no card."""
    try:
        import pynvml
    except ImportError:
        yield None
        return
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        yield None
        return
    try:
        yield pynvml
    finally:
        pynvml.nvmlShutdown()


def readings(nvml: Any, at: float) -> tuple[DeviceReading, ...]:
    """A reading of each card; what one call does not tell is absent, and the others stand."""
    return tuple(_reading(nvml, index, at) for index in range(nvml.nvmlDeviceGetCount()))


def _reading(nvml: Any, index: int, at: float) -> DeviceReading:
    handle = nvml.nvmlDeviceGetHandleByIndex(index)
    memory = _told(nvml, lambda: nvml.nvmlDeviceGetMemoryInfo(handle))
    rates = _told(nvml, lambda: nvml.nvmlDeviceGetUtilizationRates(handle))
    driver = _told(nvml, nvml.nvmlSystemGetDriverVersion) or ""
    return DeviceReading(
        device=f"gpu{index}",
        kind="cuda",
        driver=driver.decode() if isinstance(driver, bytes) else str(driver),
        name=_told(nvml, lambda: _name(nvml, handle)) or "NVIDIA GPU",
        at=at,
        total_bytes=None if memory is None else int(memory.total),
        used_bytes=None if memory is None else int(memory.used),
        free_bytes=None if memory is None else int(memory.free),
        processes=_processes(nvml, handle),
        utilisation=None if rates is None else rates.gpu / _PERCENT,
    )


def _told(nvml: Any, ask: Callable[[], T]) -> T | None:
    try:
        return ask()
    except nvml.NVMLError:  # not told on this system, or by this card
        return None


def _name(nvml: Any, handle: Any) -> str:
    name = nvml.nvmlDeviceGetName(handle)
    return name.decode() if isinstance(name, bytes) else str(name)


def _processes(nvml: Any, handle: Any) -> tuple[ProcessUse, ...] | None:
    """Processes that compute or draw on the card; one that does both is listed twice by the driver, with the same sum."""
    lists = [
        _told(nvml, lambda: nvml.nvmlDeviceGetComputeRunningProcesses(handle)),
        _told(nvml, lambda: nvml.nvmlDeviceGetGraphicsRunningProcesses(handle)),
    ]
    if lists[0] is None and lists[1] is None:
        return None
    used = {process.pid: process.usedGpuMemory for found in reversed(lists) for process in found or ()}
    return tuple(ProcessUse(pid=pid, nbytes=None if size is None else int(size)) for pid, size in sorted(used.items()))


def _device(nvml: Any, index: int) -> Device:
    handle = nvml.nvmlDeviceGetHandleByIndex(index)
    name = _name(nvml, handle)
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
    """Memory of the processes on the card, as far as the driver tells."""
    return sum(use.nbytes or 0 for use in _processes(nvml, handle) or ())


def _capability(nvml: Any, handle: Any) -> tuple[int, int] | None:
    try:
        major, minor = nvml.nvmlDeviceGetCudaComputeCapability(handle)
    except nvml.NVMLError:
        return None
    return int(major), int(minor)
