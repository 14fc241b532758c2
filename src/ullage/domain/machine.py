"""The devices memory lies on."""

from ullage.frozen import dataclass

HOST = "host"


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """One device with its own memory.

    ``total_bytes`` is what the driver reports (an 80 GB card shows about 79.1 GiB); ``reserved_bytes`` is held by others, a desktop
    or another process. ``shares_memory_with`` names the device whose memory this is (unified memory).
    """

    id: str
    kind: str  # "cuda", "rocm", "xpu", "mps", "cpu"
    name: str
    total_bytes: int
    reserved_bytes: int = 0
    compute_capability: tuple[int, int] | None = None
    shares_memory_with: str | None = None
    multiplies_tiles: bool | None = None  # a processor's AMX; None where nobody told


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """Accelerators in the engine's order, and the host's memory as one more device (None when it was not said)."""

    devices: tuple[Device, ...]
    host: Device | None = None

    @property
    def is_processor(self) -> bool:
        """Whether none of the devices is an accelerator."""
        return all(device.kind == "cpu" for device in self.devices)

    def device(self, device_id: str) -> Device:
        """The device of that id. Raises KeyError."""
        everything = self.devices if self.host is None else (*self.devices, self.host)
        for device in everything:
            if device.id == device_id:
                return device
        raise KeyError(device_id)
