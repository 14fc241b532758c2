"""Drivers, read from files and a small stand-in for NVML."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from ullage.domain.machine import HOST
from ullage.units import GiB, MiB
from ullage.world import drivers
from ullage.world.drivers import amd, apple, host, intel, nvidia


class NvmlError(Exception):
    """What NVML raises."""


def _not_told(_handle: int) -> None:
    raise NvmlError


def nvml(name: str | bytes, total: int, *used: int | None) -> SimpleNamespace:
    """One card, as NVML tells of it."""
    return SimpleNamespace(
        NVMLError=NvmlError,
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetName=lambda _: name,
        nvmlDeviceGetMemoryInfo=lambda _: SimpleNamespace(total=total),
        nvmlDeviceGetComputeRunningProcesses=lambda _: [SimpleNamespace(pid=pid, usedGpuMemory=size) for pid, size in enumerate(used)],
        nvmlDeviceGetGraphicsRunningProcesses=_not_told,
        nvmlDeviceGetCudaComputeCapability=lambda _: (9, 0),
    )


def put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.mark.parametrize("name", ["NVIDIA H100 80GB HBM3", b"NVIDIA H100 80GB HBM3"])
def test_a_known_card_has_the_total_that_cuda_reports(name: str | bytes) -> None:
    device = nvidia._device(nvml(name, 81559 * MiB), 0)
    assert device.name == "NVIDIA H100 80GB HBM3"
    assert round(device.total_bytes / GiB, 2) == 79.19
    assert device.compute_capability == (9, 0)


@pytest.mark.parametrize("name", ["NVIDIA Card of Tomorrow", "NVIDIA GeForce RTX 3090"])
def test_a_card_whose_total_the_catalogue_does_not_know_has_the_drivers(name: str) -> None:
    assert nvidia._device(nvml(name, 48 * GiB), 0).total_bytes == 48 * GiB


def test_what_other_processes_hold_is_reserved_even_where_half_of_it_is_not_told() -> None:
    assert nvidia._device(nvml("card", 48 * GiB, GiB, None, 2 * GiB), 0).reserved_bytes == 3 * GiB


def test_the_amd_driver_tells_total_and_use(tmp_path: Path) -> None:
    put(tmp_path / "card1/device/mem_info_vram_total", f"{24 * GiB}\n")
    put(tmp_path / "card1/device/mem_info_vram_used", f"{GiB}\n")
    put(tmp_path / "card0/device/mem_info_vram_total", "nonsense")
    (device,) = amd.read(tmp_path)
    assert (device.id, device.kind, device.total_bytes, device.reserved_bytes) == ("gpu0", "rocm", 24 * GiB, GiB)


def test_the_intel_drivers_tell_their_total(tmp_path: Path) -> None:
    put(tmp_path / "card0/lmem_total_bytes", str(16 * GiB))
    put(tmp_path / "card1/device/tile0/physical_vram_size_bytes", str(12 * GiB))
    assert [device.total_bytes for device in intel.read(tmp_path)] == [12 * GiB, 16 * GiB]


def test_a_machine_without_cards_has_no_devices(tmp_path: Path) -> None:
    assert amd.read(tmp_path) == intel.read(tmp_path) == ()


@pytest.mark.parametrize(("text", "limit"), [(str(8 * GiB), 8 * GiB), ("max\n", None), ("", None)])
def test_a_container_limits_the_host(tmp_path: Path, text: str, limit: int | None) -> None:
    put(tmp_path / "memory.max", text)
    assert host.limit_bytes((tmp_path / "memory.max",)) == limit
    assert host.limit_bytes((tmp_path / "nowhere", tmp_path / "memory.max")) == limit


def test_this_machine_has_a_host_and_numbered_devices() -> None:
    here = host.read()
    assert here.id == HOST
    assert 0 <= here.reserved_bytes <= here.total_bytes
    assert [device.id for device in drivers.devices()] == [f"gpu{index}" for index in range(len(drivers.devices()))]


def test_an_apple_chip_is_only_looked_for_on_its_system(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apple.sys, "platform", "linux")
    assert apple.read() == ()


@pytest.mark.parametrize(
    ("told", "has"),
    [
        ("flags\t\t: fpu avx512f amx_tile\n", True),
        ("processor : 0\nflags : fpu avx512f\n", False),
        ("Features : asimd\n", False),
        ("", None),
    ],
)
def test_a_processor_is_asked_for_its_tiles(tmp_path: Path, *, told: str, has: bool | None) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc" / "cpuinfo").write_text(told)
    assert host.multiplies_tiles(tmp_path) is has
