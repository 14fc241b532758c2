"""Live readings, replayed from what drivers told; and the host of this machine, which is real."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.world.driver_replay import LibraryError, library, program, recording, tree

from ullage.domain.machine import HOST
from ullage.domain.reading import GroupMemory, Pressure, ProcessUse
from ullage.units import GiB, KiB, MiB
from ullage.world import drivers
from ullage.world.drivers import _processes, amd, apple, host, intel, nvidia
from ullage.world.drivers._sysfs import module_release


def test_nvml_tells_memory_load_and_processes() -> None:
    first, _ = nvidia.readings(library("nvml.json", structures=True, NVMLError=LibraryError), 5.0)
    assert (first.device, first.kind, first.at) == ("gpu0", "cuda", 5.0)
    assert first.driver == "580.65.06"
    assert (first.total_bytes, first.used_bytes, first.free_bytes) == (85520809984, 42949672960, 42571137024)
    assert first.utilisation == 0.87
    assert first.processes == (ProcessUse(pid=101, nbytes=39 * GiB), ProcessUse(pid=202, nbytes=512 * MiB))
    assert first.held_by(frozenset({101, 102})) == 39 * GiB


def test_what_nvml_does_not_support_is_absent_and_not_zero() -> None:
    _, second = nvidia.readings(library("nvml.json", structures=True, NVMLError=LibraryError), 5.0)
    assert (second.total_bytes, second.used_bytes, second.free_bytes, second.utilisation) == (None, None, None, None)
    assert second.processes == (ProcessUse(pid=101, nbytes=None),)
    assert second.held_by(frozenset({101})) is None


def test_a_kernel_module_tells_its_release_or_has_the_kernels(tmp_path: Path) -> None:
    for name in ("amdgpu", "i915"):
        (tmp_path / name).mkdir()
    (tmp_path / "amdgpu" / "version").write_text("6.12.12\n")
    assert module_release(("amdgpu",), tmp_path) == "6.12.12"
    assert module_release(("xe", "i915"), tmp_path) == os.uname().release
    assert module_release(("xe",), tmp_path) == ""


def test_a_number_that_was_given_again_as_processes_were_read_ends_the_search(tmp_path: Path) -> None:
    for pid, parent in ((10, 20), (20, 10), (30, 20)):
        (tmp_path / str(pid)).mkdir()
        (tmp_path / str(pid) / "stat").write_text(f"{pid} (a) S {parent} 1 1")
    assert [one.pid for one in _processes.tree(tmp_path, 10)] == [10, 20, 30]


def test_amd_smi_tells_memory_load_and_processes() -> None:
    memory_type = type("AmdSmiMemoryType", (), {"VRAM": 0})
    smi = library("amdsmi.json", structures=False, AmdSmiException=LibraryError, AmdSmiMemoryType=memory_type)
    (card,) = amd.from_library(smi, 5.0)
    assert (card.name, card.total_bytes, card.used_bytes) == ("AMD Instinct MI300X", 206141652992, 90 * GiB)
    assert card.free_bytes == 206141652992 - 90 * GiB
    assert card.utilisation == 0.63
    assert card.processes == (ProcessUse(pid=101, nbytes=89 * GiB), ProcessUse(pid=202, nbytes=None))


def test_the_amd_kernel_driver_tells_the_same_by_files(tmp_path: Path) -> None:
    root = tree("amdgpu_files.json", tmp_path)
    (card,) = amd.from_files(5.0, root / "drm", root / "proc")
    assert (card.name, card.used_bytes, card.utilisation) == ("AMD Radeon RX 7900 XTX", 12 * GiB, 0.12)
    assert card.processes == (ProcessUse(pid=101, nbytes=11 * GiB), ProcessUse(pid=202, nbytes=256 * MiB))


def test_two_descriptors_of_one_client_are_counted_once_and_another_card_not_at_all(tmp_path: Path) -> None:
    root = tree("amdgpu_files.json", tmp_path)
    (card,) = amd.from_files(5.0, root / "drm", root / "proc")
    assert card.held_by(frozenset({101})) == 11 * GiB
    assert card.held_by(frozenset({303})) is None


def test_xpu_smi_tells_memory_load_and_processes() -> None:
    (card,) = intel.from_program(5.0, program("xpu_smi.json"))
    assert (card.name, card.total_bytes) == ("Intel(R) Arc(TM) A770 Graphics", 17079205888)
    assert card.used_bytes == round(9216.5 * MiB)
    assert card.utilisation == 0.55
    assert card.processes == (ProcessUse(pid=101, nbytes=9000000 * KiB), ProcessUse(pid=202, nbytes=None))


@pytest.mark.parametrize("told", [None, "", "no GPU found", "[]", '{"device_list": 3}', '{"device_list": [{}]}'])
def test_an_xpu_smi_that_says_nothing_useful_leaves_readings_absent(told: str | None) -> None:
    for card in intel.from_program(5.0, lambda _: told):
        assert (card.total_bytes, card.used_bytes, card.processes) == (None, None, None)


def test_the_intel_kernel_driver_tells_totals_and_processes_but_no_sum_in_use(tmp_path: Path) -> None:
    root = tree("xe_files.json", tmp_path)
    first, second = intel.from_files(5.0, root / "drm", root / "proc")
    assert first.total_bytes == second.total_bytes == 68702699520
    assert (first.used_bytes, first.free_bytes) == (None, None)
    assert first.processes == (ProcessUse(pid=101, nbytes=9 * MiB),)


def test_an_intel_card_has_the_release_of_the_module_that_drives_it(tmp_path: Path) -> None:
    root, modules = tree("xe_files.json", tmp_path), tmp_path / "module"
    for name, release in (("xe", "1.2.3"), ("i915", "4.5.6")):
        (modules / name).mkdir(parents=True)
        (modules / name / "version").write_text(f"{release}\n")
    (card,) = {intel._card(total) for total in intel._stated(root / "drm")}
    (card / "driver").symlink_to(tmp_path / "drivers" / "i915")
    assert {one.driver for one in intel.from_files(5.0, root / "drm", root / "proc", modules)} == {"4.5.6"}


def test_an_apple_chip_tells_what_the_accelerator_uses_of_the_hosts_memory() -> None:
    reading = apple.from_programs(5.0, 64 * GiB, program("apple.json"))
    assert (reading.total_bytes, reading.used_bytes, reading.utilisation) == (48 * GiB, 20 * GiB, 0.41)
    assert reading.shares_memory_with == HOST
    assert reading.free_bytes is None


def test_an_apple_chip_without_its_programs_tells_its_share_alone() -> None:
    reading = apple.from_programs(5.0, 32 * GiB, lambda _: None)
    assert (reading.total_bytes, reading.used_bytes, reading.utilisation) == (32 * GiB * 2 // 3, None, None)


def test_a_limit_that_was_set_for_the_accelerator_is_its_total() -> None:
    reading = apple.from_programs(5.0, 64 * GiB, lambda argv: "57344\n" if argv[0] == "sysctl" else None)
    assert reading.total_bytes == 56 * GiB


def test_a_host_with_groups_of_version_two_is_bound_by_the_least_limit_on_the_way_up(tmp_path: Path) -> None:
    reading = host.read_live(5.0, 101, tree("host_v2.json", tmp_path), page_bytes=4096)
    assert reading.group == GroupMemory(version=2, limit_bytes=32 * GiB, current_bytes=28 * GiB)
    assert reading.pressure == Pressure(some=0.125, full=0.07)  # the group's own, not the machine's
    assert (reading.total_bytes, reading.available_bytes) == (131800000 * KiB, 64000000 * KiB)
    assert (reading.swap_used_bytes, reading.swapped_out_bytes) == (200000 * KiB, 50000 * 4096)


def test_a_processs_children_are_read_with_it_and_strangers_are_not(tmp_path: Path) -> None:
    reading = host.read_live(5.0, 101, tree("host_v2.json", tmp_path), page_bytes=4096)
    assert reading.processes is not None
    assert [(process.pid, process.parent, process.name) for process in reading.processes] == [(101, 1, "vllm"), (102, 101, "EngineCore")]
    first, second = reading.processes
    assert (first.anon_bytes, first.file_bytes, first.shmem_bytes) == (500000 * KiB, 130000 * KiB, 10000 * KiB)
    assert (first.pss_bytes, second.pss_bytes) == (560000 * KiB, None)


def test_a_process_stands_before_those_it_started_though_numbers_came_round(tmp_path: Path) -> None:
    for pid, parent in {900: 1, 40: 900, 31: 40, 50: 900, 7: 1}.items():
        (tmp_path / f"proc/{pid}").mkdir(parents=True)
        (tmp_path / f"proc/{pid}/stat").write_text(f"{pid} (one) S {parent} 1 1")
    (tmp_path / "proc/meminfo").write_text("MemTotal: 1024 kB\n")
    assert [one.pid for one in host.read_live(5.0, 900, tmp_path).processes or ()] == [900, 40, 50, 31]


def test_a_host_with_groups_of_version_one_is_read_and_no_limit_is_none(tmp_path: Path) -> None:
    reading = host.read_live(5.0, recording("host_v1.json")["pid"], tree("host_v1.json", tmp_path), page_bytes=4096)
    assert reading.group is not None
    assert (reading.group.version, reading.group.limit_bytes) == (1, None)
    assert (reading.group.current_bytes or 0) > 0
    assert reading.pressure == Pressure(some=0.0, full=0.0)
    assert reading.swapped_out_bytes == 0  # this kernel tells it, and it is none


def test_a_host_whose_files_are_empty_tells_nothing(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/meminfo").write_text("MemTotal: 1024 kB\n")
    reading = host.read_live(5.0, 7, tmp_path, page_bytes=4096)
    assert reading.total_bytes == MiB
    told = (reading.available_bytes, reading.swap_used_bytes, reading.swapped_out_bytes, reading.pressure, reading.group)
    assert told == (None,) * 5
    assert reading.processes == ()


def test_this_process_is_read_with_its_child() -> None:
    with subprocess.Popen([sys.executable, "-c", "x = bytearray(64 << 20); print(1, flush=True); input()"], stdin=-1, stdout=-1) as child:
        assert child.stdout is not None
        child.stdout.readline()
        reading = host.read_live(5.0, os.getpid())
        child.communicate(b"\n")
    found = {process.pid: process for process in reading.processes or ()}
    assert {os.getpid(), child.pid} <= found.keys()
    assert found[child.pid].parent == os.getpid()
    assert (found[child.pid].anon_bytes or 0) > 60 * MiB
    assert (reading.available_bytes or 0) <= (reading.total_bytes or 0)


def test_live_readings_are_of_the_devices_that_are_listed() -> None:
    assert [reading.device for reading in drivers.live(5.0)] == [device.id for device in drivers.devices()]
