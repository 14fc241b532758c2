"""Device memory by process, as the kernel's graphics drivers tell it in ``/proc/PID/fdinfo``."""

import os
from pathlib import Path

from ullage.domain.reading import ProcessUse
from ullage.world.drivers._sysfs import text

# Regions on the card. One client is open under several descriptors; it is counted once by its id.
_MEMORY = ("drm-resident-vram", "drm-memory-vram", "drm-resident-local", "drm-total-vram")
_UNITS = {"": 1, "KiB": 1 << 10, "MiB": 1 << 20}


def processes(card: Path, proc: Path = Path("/proc")) -> tuple[ProcessUse, ...] | None:
    """The processes that hold memory of a card (its directory in sysfs); None where none of them may be looked into.

    The kernel shows a process's descriptors to its owner alone, so what others hold may be missing.
    """
    slot = card.resolve().name
    found: dict[int, dict[str, int]] = {}
    for folder in proc.glob("[0-9]*/fdinfo"):
        try:
            names = os.listdir(folder)  # noqa: PTH208 - one plain list, many times a second
        except OSError:
            continue
        for name in names:
            client, nbytes = _client(text(folder / name), slot)
            if client:
                found.setdefault(int(folder.parent.name), {})[client] = nbytes
    return tuple(ProcessUse(pid=pid, nbytes=sum(clients.values())) for pid, clients in sorted(found.items())) if found else None


def _client(told: str, slot: str) -> tuple[str, int]:
    """The client's id and its bytes on the card; nothing where the descriptor is of another device."""
    pairs = dict(line.split(":", 1) for line in told.splitlines() if ":" in line)
    if pairs.get("drm-pdev", "").strip() != slot:
        return "", 0
    for prefix in _MEMORY:
        regions = [_bytes(value) for key, value in pairs.items() if key.startswith(prefix)]
        if regions:
            return pairs.get("drm-client-id", "").strip(), sum(regions)
    return "", 0


def _bytes(value: str) -> int:
    number, _, unit = value.strip().partition(" ")
    return int(number) * _UNITS.get(unit.strip(), 0) if number.isdigit() else 0
