"""One file per kind of device; each has ``read() -> tuple[Device, ...]``, empty where no driver answers."""

import pkgutil
from importlib import import_module

from ullage.domain.machine import Device


def devices() -> tuple[Device, ...]:
    """Every accelerator that a driver answers for, numbered over all kinds in the driver's order."""
    from dataclasses import replace

    found: list[Device] = []
    for info in pkgutil.iter_modules(__path__):
        if not info.name.startswith("_") and info.name != "host":
            found.extend(import_module(f"{__name__}.{info.name}").read())
    return tuple(replace(device, id=f"gpu{index}") for index, device in enumerate(found))
