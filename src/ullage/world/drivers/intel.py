"""Intel cards by the files of the xe and i915 kernel drivers, where these state the card's own memory."""

from pathlib import Path

from ullage.domain.machine import Device
from ullage.world.drivers._sysfs import number

_CARDS = Path("/sys/class/drm")
_TOTALS = ("card[0-9]*/device/tile[0-9]*/physical_vram_size_bytes", "card[0-9]*/lmem_total_bytes")


def read(cards: Path = _CARDS) -> tuple[Device, ...]:
    """One device for each card or tile that states its memory; how much is in use these drivers do not say."""
    totals = (total for pattern in _TOTALS for total in sorted(cards.glob(pattern)))
    sizes = [number(total) for total in totals if number(total)]
    return tuple(Device(id=f"gpu{index}", kind="xpu", name="Intel GPU", total_bytes=size) for index, size in enumerate(sizes))
