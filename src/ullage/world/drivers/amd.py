"""AMD cards: by the files of the amdgpu kernel driver, and by AMD SMI where its library is installed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ullage.domain.machine import Device
from ullage.domain.reading import DeviceReading, ProcessUse
from ullage.world.drivers import _drm
from ullage.world.drivers._sysfs import number, stated, text

MODULES = ("amdgpu",)
_CARDS = Path("/sys/class/drm")
_TOTALS = "card[0-9]*/device/mem_info_vram_total"
_PERCENT = 100.0


def read(cards: Path = _CARDS) -> tuple[Device, ...]:
    """One device for each card that states its memory; what is used now is reserved."""
    found: list[Device] = []
    for total in sorted(cards.glob(_TOTALS)):
        if number(total):
            found.append(
                Device(
                    id=f"gpu{len(found)}",
                    kind="rocm",
                    name=_name(total.parent),
                    total_bytes=number(total),
                    reserved_bytes=number(total.parent / "mem_info_vram_used"),
                )
            )
    return tuple(found)


def _name(card: Path) -> str:
    return text(card / "product_name") or "AMD GPU"


def read_live(at: float, cards: Path = _CARDS) -> tuple[DeviceReading, ...]:
    """A reading of each card, by AMD SMI where it answers and by the kernel's files otherwise."""
    try:
        import amdsmi
    except (ImportError, OSError, KeyError):  # it looks for its library when it is imported
        return from_files(at, cards)
    try:
        amdsmi.amdsmi_init()
    except amdsmi.AmdSmiException:
        return from_files(at, cards)
    try:
        return from_library(amdsmi, at)
    finally:
        amdsmi.amdsmi_shut_down()


def from_files(at: float, cards: Path = _CARDS, proc: Path = Path("/proc")) -> tuple[DeviceReading, ...]:
    """A reading of each card that states its memory."""
    folders = [total.parent for total in sorted(cards.glob(_TOTALS)) if stated(total)]
    return tuple(_from_folder(folder, index, at, proc) for index, folder in enumerate(folders))


def _from_folder(folder: Path, index: int, at: float, proc: Path) -> DeviceReading:
    total, used, busy = (stated(folder / name) for name in ("mem_info_vram_total", "mem_info_vram_used", "gpu_busy_percent"))
    return DeviceReading(
        device=f"gpu{index}",
        kind="rocm",
        name=_name(folder),
        at=at,
        total_bytes=total,
        used_bytes=used,
        free_bytes=None if total is None or used is None else total - used,
        processes=_drm.processes(folder, proc),
        utilisation=None if busy is None else busy / _PERCENT,
    )


def from_library(smi: Any, at: float) -> tuple[DeviceReading, ...]:
    """A reading of each card that AMD SMI lists."""
    return tuple(_from_handle(smi, handle, index, at) for index, handle in enumerate(smi.amdsmi_get_processor_handles()))


def _from_handle(smi: Any, handle: Any, index: int, at: float) -> DeviceReading:
    vram = smi.AmdSmiMemoryType.VRAM
    total = _whole(smi, lambda: smi.amdsmi_get_gpu_memory_total(handle, vram))
    used = _whole(smi, lambda: smi.amdsmi_get_gpu_memory_usage(handle, vram))
    busy = _whole(smi, lambda: smi.amdsmi_get_gpu_activity(handle)["gfx_activity"])
    return DeviceReading(
        device=f"gpu{index}",
        kind="rocm",
        name=str(_told(smi, lambda: smi.amdsmi_get_gpu_asic_info(handle)["market_name"]) or "AMD GPU"),
        at=at,
        total_bytes=total,
        used_bytes=used,
        free_bytes=None if total is None or used is None else total - used,
        processes=_processes(smi, handle),
        utilisation=None if busy is None else busy / _PERCENT,
    )


def _told(smi: Any, ask: Callable[[], Any]) -> Any:
    try:
        return ask()
    except (smi.AmdSmiException, KeyError):
        return None


def _whole(smi: Any, ask: Callable[[], Any]) -> int | None:
    """A whole number; AMD SMI writes "N/A" for what it does not know."""
    value = _told(smi, ask)
    return int(value) if isinstance(value, int | float) else None


def _processes(smi: Any, handle: Any) -> tuple[ProcessUse, ...] | None:
    found = _told(smi, lambda: smi.amdsmi_get_gpu_process_list(handle))
    if found is None:
        return None
    return tuple(
        ProcessUse(pid=int(one["pid"]), nbytes=_whole(smi, lambda one=one: one["memory_usage"]["vram_mem"]))  # type: ignore[misc]
        for one in found
        if isinstance(one, dict) and "pid" in one
    )
