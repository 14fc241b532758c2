"""One file per kind of device; each has ``read() -> tuple[Device, ...]`` and ``read_live(at) -> tuple[DeviceReading, ...]``.

Both are empty where no driver answers, and list the same devices in the same order. A file whose kernel drivers state their release names
them as ``MODULES``.
"""

import pkgutil
from collections.abc import Iterator
from importlib import import_module
from types import ModuleType

from ullage.domain.machine import Device
from ullage.domain.reading import DeviceReading
from ullage.world.drivers._sysfs import module_release


def devices() -> tuple[Device, ...]:
    """Every accelerator that a driver answers for, numbered over all kinds in the driver's order."""
    from dataclasses import replace

    found = [device for driver in _drivers() for device in driver.read()]
    return tuple(replace(device, id=f"gpu{index}") for index, device in enumerate(found))


def live(at: float) -> tuple[DeviceReading, ...]:
    """A reading of each of them, at a moment in seconds since the epoch."""
    from dataclasses import replace

    found = [(driver, reading) for driver in _drivers() for reading in driver.read_live(at)]
    return tuple(
        replace(reading, device=f"gpu{index}", driver=reading.driver or module_release(getattr(driver, "MODULES", ())))
        for index, (driver, reading) in enumerate(found)
    )


def _drivers() -> Iterator[ModuleType]:
    for info in pkgutil.iter_modules(__path__):
        if not info.name.startswith("_") and info.name != "host":
            yield import_module(f"{__name__}.{info.name}")
