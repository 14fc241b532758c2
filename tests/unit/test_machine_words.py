"""The devices and sizes that a person writes, and those that are no devices."""

import pytest

from ullage.commands.machine import LEAST_MEMORY_BYTES, read_machine
from ullage.domain.machine import Device, Machine
from ullage.errors import InputError
from ullage.units import GiB


class NoHardware:
    """A machine on which nothing answers."""

    def devices(self) -> tuple[Device, ...]:
        return ()

    def host(self) -> Device:
        return Device(id="host", kind="cpu", name="host memory", total_bytes=64 * GiB)


def read(gpu: str, host: str | None = None, reserve: tuple[str, ...] = (), total: tuple[str, ...] = ()) -> Machine:
    return read_machine(gpu, host, reserve, total, NoHardware())


@pytest.mark.parametrize("gpu", ["0GiB", "1B", "0b", "63MiB", "H100,0GiB", "2x1MB"])
def test_a_device_with_next_to_no_memory_is_refused_with_the_next_step(gpu: str) -> None:
    with pytest.raises(InputError, match=r"at least 64\.0 MiB is needed: write"):
        read(gpu)


@pytest.mark.parametrize("size", ["16", "0", "512", "1kB"])
def test_a_host_of_a_few_bytes_is_refused(size: str) -> None:
    with pytest.raises(InputError, match=r"--host-memory .* write"):
        read("H100", host=size)


def test_a_bare_number_is_answered_with_the_size_that_may_be_meant() -> None:
    with pytest.raises(InputError, match=r"write 16GiB if GiB are meant"):
        read("H100", host="16")


def test_a_stated_total_of_a_few_bytes_is_refused() -> None:
    with pytest.raises(InputError, match=r"gpu0=23\.58GiB"):
        read("H100", total=("gpu0=24",))


def test_the_least_memory_is_a_device() -> None:
    assert read(f"{LEAST_MEMORY_BYTES}B").devices[0].total_bytes == LEAST_MEMORY_BYTES


@pytest.mark.parametrize("gpu", ["2x4090", "2 x 4090", "4090 x 2", "4090 x2", "4090 * 2", "4090x2", "4090,4090"])
def test_a_count_may_stand_before_a_card_or_after_it(gpu: str) -> None:
    assert read(gpu).devices == read("4090,4090").devices


def test_the_memory_that_is_stated_of_a_host_is_the_memory_of_its_processor() -> None:
    machine = read("cpu", host="8GiB")
    assert machine.host is not None
    assert [device.total_bytes for device in (*machine.devices, machine.host)] == [8 * GiB, 8 * GiB]
    assert read("cpu").devices[0].total_bytes == 64 * GiB
