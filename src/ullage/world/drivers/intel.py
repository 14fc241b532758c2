"""Intel cards: by the files of the xe and i915 kernel drivers, and by xpu-smi (Level Zero) where it is installed."""

from pathlib import Path

from ullage import wire
from ullage.domain.hyperparameters import Json
from ullage.domain.machine import Device
from ullage.domain.reading import DeviceReading, ProcessUse
from ullage.errors import MalformedFileError
from ullage.units import KiB, MiB
from ullage.world.drivers import _drm
from ullage.world.drivers._program import Runner, output
from ullage.world.drivers._sysfs import module_release, number

MODULES = ("xe", "i915")
_CARDS = Path("/sys/class/drm")
_TOTALS = ("card[0-9]*/device/tile[0-9]*/physical_vram_size_bytes", "card[0-9]*/lmem_total_bytes")
_PERCENT = 100.0


def read(cards: Path = _CARDS) -> tuple[Device, ...]:
    """One device for each card or tile that states its memory; how much is in use these drivers do not say."""
    return tuple(
        Device(id=f"gpu{index}", kind="xpu", name="Intel GPU", total_bytes=number(total)) for index, total in enumerate(_stated(cards))
    )


def _stated(cards: Path) -> list[Path]:
    return [total for pattern in _TOTALS for total in sorted(cards.glob(pattern)) if number(total)]


def read_live(at: float, cards: Path = _CARDS) -> tuple[DeviceReading, ...]:
    """A reading of each card, by xpu-smi where it answers and by the kernel's files otherwise."""
    return from_program(at, output) or from_files(at, cards)


def from_files(
    at: float, cards: Path = _CARDS, proc: Path = Path("/proc"), modules: Path = Path("/sys/module")
) -> tuple[DeviceReading, ...]:
    """Each card or tile with its memory and the processes on it; the sum in use is not told."""
    return tuple(
        DeviceReading(
            device=f"gpu{index}",
            kind="xpu",
            name="Intel GPU",
            at=at,
            total_bytes=number(total),
            processes=_drm.processes(_card(total), proc),
            driver=module_release(_module(_card(total)), modules),
        )
        for index, total in enumerate(_stated(cards))
    )


def _card(total: Path) -> Path:
    """The device's own directory, which is named after its slot."""
    return total.parent.parent if total.parent.name.startswith("tile") else total.parent / "device"


def _module(card: Path) -> tuple[str, ...]:
    """The kernel module that drives the card; both may be loaded."""
    link = card / "driver"
    return (link.resolve().name,) if link.is_symlink() else ()


def from_program(at: float, run: Runner) -> tuple[DeviceReading, ...]:
    """A reading of each card that xpu-smi lists; none where it does not answer."""
    cards = _items(_answer(run, "discovery"), "device_list")
    return tuple(_from_card(card, index, at, run) for index, card in enumerate(cards))


def _answer(run: Runner, *words: str) -> dict[str, Json]:
    told = run(("xpu-smi", *words, "-j"))
    try:
        values = wire.loads(told) if told else None
    except MalformedFileError:
        return {}
    return values if isinstance(values, dict) else {}


def _items(values: dict[str, Json], key: str) -> list[dict[str, Json]]:
    found = values.get(key)
    return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []


def _from_card(card: dict[str, Json], index: int, at: float, run: Runner) -> DeviceReading:
    number_of = str(card.get("device_id", index))
    total = _number(_answer(run, "discovery", "-d", number_of).get("memory_physical_size_byte"))
    levels = _items(_answer(run, "stats", "-d", number_of), "device_level")
    told = {str(level.get("metrics_type")): _number(level.get("value")) for level in levels}
    used, busy = told.get("XPUM_STATS_MEMORY_USED"), told.get("XPUM_STATS_GPU_UTILIZATION")
    used_bytes = None if used is None else round(used * MiB)
    return DeviceReading(
        device=f"gpu{index}",
        kind="xpu",
        name=str(card.get("device_name") or "Intel GPU"),
        at=at,
        total_bytes=None if total is None else round(total),
        used_bytes=used_bytes,
        free_bytes=None if total is None or used_bytes is None else round(total) - used_bytes,
        processes=_processes(_answer(run, "ps", "-d", number_of)),
        utilisation=None if busy is None else busy / _PERCENT,
    )


def _number(value: Json) -> float | None:
    """A number, which xpu-smi also writes as text; "N/A" is none."""
    try:
        return float(value) if isinstance(value, int | float | str) else None
    except ValueError:
        return None


def _processes(values: dict[str, Json]) -> tuple[ProcessUse, ...] | None:
    """By process, in the kilobytes that it prints."""
    if "device_util_by_proc_list" not in values:
        return None
    found = [(_number(one.get("process_id")), _number(one.get("mem_size"))) for one in _items(values, "device_util_by_proc_list")]
    return tuple(ProcessUse(pid=round(pid), nbytes=None if size is None else round(size * KiB)) for pid, size in found if pid is not None)
