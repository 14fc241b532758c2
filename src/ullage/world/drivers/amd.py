"""AMD cards by the files of the amdgpu kernel driver."""

from pathlib import Path

from ullage.domain.machine import Device
from ullage.world.drivers._sysfs import number, text

_CARDS = Path("/sys/class/drm")


def read(cards: Path = _CARDS) -> tuple[Device, ...]:
    """One device for each card that states its memory; what is used now is reserved."""
    found: list[Device] = []
    for total in sorted(cards.glob("card[0-9]*/device/mem_info_vram_total")):
        if number(total):
            found.append(
                Device(
                    id=f"gpu{len(found)}",
                    kind="rocm",
                    name=text(total.parent / "product_name") or "AMD GPU",
                    total_bytes=number(total),
                    reserved_bytes=number(total.parent / "mem_info_vram_used"),
                )
            )
    return tuple(found)
