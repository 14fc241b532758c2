"""The devices a person means: ``8xH800-80GB``, ``4090,4090,3090``, ``24GiB``, ``cpu``, ``local``."""

from collections.abc import Callable

from ullage.catalog import devices as catalogue
from ullage.domain.machine import HOST, Device, Machine
from ullage.errors import InputError
from ullage.frozen import replace
from ullage.ports import Hardware
from ullage.units import format_bytes, parse_bytes

MOST_DEVICES = 4096


def _count_and_card(word: str) -> tuple[int, str]:
    """``8xH800`` is eight of one card; ``4090`` is one."""
    for sign in "xX*":
        count, found, card = word.partition(sign)
        if found and count.strip().isascii() and count.strip().isdigit():
            return int(count), card.strip()
    return 1, word


def _one(card: str, device_id: str) -> Device:
    model = catalogue.lookup(card)
    if model is not None:
        return model.device(device_id)
    if card.lower().rstrip().endswith("b") and card[0].isdigit():
        size = parse_bytes(card)
        return Device(id=device_id, kind="cuda", name=f"GPU of {format_bytes(size)}", total_bytes=size)
    return catalogue.find(card).device(device_id)


def parse_devices(text: str) -> tuple[Device, ...]:
    """The devices of ``--gpu``, numbered in the order they are written. Raises InputError with the nearest known cards."""
    cards: list[str] = []
    for word in text.split(","):
        count, card = _count_and_card(word.strip())
        if not card or not 1 <= count <= MOST_DEVICES or len(cards) + count > MOST_DEVICES:
            raise InputError(f"--gpu {text[:60]!r} names no devices: write H100-80GB, 8xH800-80GB, 4090,4090,3090, 24GiB or local")
        cards.extend([card] * count)
    return tuple(_one(card, f"gpu{index}") for index, card in enumerate(cards))


def _amounts(flag: str, words: tuple[str, ...], ids: tuple[str, ...]) -> dict[str, int]:
    """``gpu0=2GiB`` is one device, ``2GiB`` every accelerator. Raises InputError for a device that is not there."""
    found: dict[str, int] = {}
    for word in words:
        name, has_name, size = word.rpartition("=")
        if has_name and name not in ids:
            raise InputError(f"{flag} {word}: there is no device {name!r}; the devices are {', '.join(ids)}")
        amount = parse_bytes(size)
        found.update(dict.fromkeys((name,) if has_name else [known for known in ids if known != HOST], amount))
    return found


def _changed(devices: tuple[Device, ...], amounts: dict[str, int], change: Callable[[Device, int], Device]) -> tuple[Device, ...]:
    return tuple(change(device, amounts[device.id]) if device.id in amounts else device for device in devices)


def _stated_total(device: Device, nbytes: int) -> Device:
    if nbytes < 1:
        raise InputError(f"--total-memory {device.id}=0: a device without memory holds nothing; write for example {device.id}=23.58GiB")
    return replace(device, total_bytes=nbytes)


def _reserved(device: Device, nbytes: int) -> Device:
    if nbytes > device.total_bytes:
        raise InputError(
            f"--reserve {device.id}={format_bytes(nbytes)} is more than {device.name} has, {format_bytes(device.total_bytes)}: reserve less"
        )
    return replace(device, reserved_bytes=nbytes)


def _processor(hardware: Hardware) -> tuple[Device, ...]:
    return (replace(hardware.host(), id="cpu", name="CPU", shares_memory_with=HOST),)


def _accelerators(gpu: str | None, hardware: Hardware, kinds: frozenset[str]) -> tuple[Device, ...]:
    """As said; ``local`` is what a driver answers for, and the processor where none does and the engine runs on one."""
    word = (gpu or "local").strip()
    if word.lower() == "cpu":
        return _processor(hardware)
    if word.lower() != "local":
        return parse_devices(word)
    found = hardware.devices()
    if found:
        return found
    if "cpu" in kinds:
        return _processor(hardware)
    raise InputError(
        "no GPU driver answers on this machine: say which devices are meant, for example --gpu H100-80GB or --gpu 24GiB, "
        "or plan for this machine's processor with --engine transformers --gpu cpu"
    )


def read_machine(
    gpu: str | None,
    host_memory: str | None,
    reserve: tuple[str, ...],
    total_memory: tuple[str, ...],
    hardware: Hardware,
    kinds: frozenset[str] = frozenset(),
) -> Machine:
    """The machine a question is about, for an engine that runs on devices of these ``kinds``.

    The host's memory is known where it was said or where the devices are this machine's own.
    """
    devices = _accelerators(gpu, hardware, kinds)
    is_here = gpu is None or gpu.strip().lower() in {"local", "cpu"}
    host = hardware.host() if is_here else None
    if host_memory is not None:
        host = Device(id=HOST, kind="cpu", name="host memory", total_bytes=parse_bytes(host_memory))
    everything = (*devices, *((host,) if host else ()))
    ids = tuple(device.id for device in everything)
    everything = _changed(everything, _amounts("--total-memory", total_memory, ids), _stated_total)
    everything = _changed(everything, _amounts("--reserve", reserve, ids), _reserved)
    return Machine(devices=everything[: len(devices)], host=everything[-1] if host else None)
