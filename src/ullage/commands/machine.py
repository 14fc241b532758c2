"""The devices a person means: ``8xH800-80GB``, ``4090,4090,3090``, ``24GiB``, ``cpu``, ``local``."""

from collections.abc import Callable

from ullage.catalog import devices as catalogue
from ullage.domain.machine import HOST, Device, Machine
from ullage.errors import InputError
from ullage.frozen import replace
from ullage.ports import Hardware
from ullage.units import MiB, format_bytes, parse_bytes

MOST_DEVICES = 4096
_LONGEST_COUNT = 9  # digits; what is cut off is too many devices anyway
LEAST_MEMORY_BYTES = 64 * MiB  # no accelerator or host that serves a model has less; a driver's own context takes more


def _memory(flag: str, text: str) -> int:
    """The memory of a device or host that ``flag`` states. Raises InputError for what is too little to be one."""
    size = parse_bytes(text)
    if size < LEAST_MEMORY_BYTES:
        bare = text.strip()
        hint = f"write {bare}GiB if GiB are meant" if bare.isdigit() and size else "write for example 24GiB"
        raise InputError(
            f"{flag} {text.strip()[:40]} is {format_bytes(size)} of memory; at least {format_bytes(LEAST_MEMORY_BYTES)} is needed: {hint}"
        )
    return size


def _count_and_card(word: str) -> tuple[int, str]:
    """``8xH800`` and ``H800 x 8`` are eight of one card; ``4090`` is one. Where both sides are numbers, one of them is a known card."""
    found = []
    for sign in "xX*":
        left, has_left, after = word.partition(sign)
        before, has_right, right = word.rpartition(sign)
        found += [
            (int(count[:_LONGEST_COUNT]), card.strip())
            for has_sign, count, card in ((has_left, left.strip(), after), (has_right, right.strip(), before))
            if has_sign and count.isascii() and count.isdigit()
        ]
    if not found or catalogue.lookup(word) is not None:
        return 1, word
    return next((pair for pair in found if _is_card(pair[1])), found[0])


def _is_card(card: str) -> bool:
    return catalogue.lookup(card) is not None or _is_size(card)


def _is_size(card: str) -> bool:
    return card.lower().rstrip().endswith("b") and card[:1].isdigit()


def _one(card: str, device_id: str) -> Device:
    model = catalogue.lookup(card)
    if model is not None:
        return model.device(device_id)
    if _is_size(card):
        size = _memory("--gpu", card)
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
    if nbytes < LEAST_MEMORY_BYTES:
        raise InputError(
            f"--total-memory {device.id}={format_bytes(nbytes)}: at least {format_bytes(LEAST_MEMORY_BYTES)} is needed; "
            f"write for example {device.id}=23.58GiB"
        )
    return replace(device, total_bytes=nbytes)


def _reserved(device: Device, nbytes: int) -> Device:
    if nbytes > device.total_bytes:
        raise InputError(
            f"--reserve {device.id}={format_bytes(nbytes)} is more than {device.name} has, {format_bytes(device.total_bytes)}: reserve less"
        )
    return replace(device, reserved_bytes=nbytes)


def _processor(host: Device) -> tuple[Device, ...]:
    """The processor, whose memory is the host's."""
    return (replace(host, id="cpu", name="CPU", shares_memory_with=HOST),)


def _accelerators(gpu: str | None, hardware: Hardware, host: Callable[[], Device], kinds: frozenset[str]) -> tuple[Device, ...]:
    """As said; ``local`` is what a driver answers for, and the processor where none does and the engine runs on one."""
    word = (gpu or "local").strip()
    if word.lower() == "cpu":
        return _processor(host())
    if word.lower() != "local":
        return parse_devices(word)
    found = hardware.devices()
    if found:
        return found
    if "cpu" in kinds:
        return _processor(host())
    raise InputError(
        "no GPU driver answers on this machine: say which devices are meant, for example --gpu H100-80GB or --gpu 24GiB, "
        "or leave out --engine: our own runtime runs on this machine's processor, as with --engine runtime --gpu cpu"
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
    stated = None
    if host_memory is not None:
        stated = Device(id=HOST, kind="cpu", name="host memory", total_bytes=_memory("--host-memory", host_memory))
    devices = _accelerators(gpu, hardware, lambda: stated or hardware.host(), kinds)
    is_here = gpu is None or gpu.strip().lower() in {"local", "cpu"}
    host = stated or (hardware.host() if is_here else None)
    everything = (*devices, *((host,) if host else ()))
    ids = tuple(device.id for device in everything)
    everything = _changed(everything, _amounts("--total-memory", total_memory, ids), _stated_total)
    everything = _changed(everything, _amounts("--reserve", reserve, ids), _reserved)
    return Machine(devices=everything[: len(devices)], host=everything[-1] if host else None)
