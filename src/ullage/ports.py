"""The outside world as the commands see it. ``world/`` builds the real one; tests build small ones of plain values."""

from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol

from ullage.domain.machine import Device


class WeightFile(NamedTuple):
    """One file of weights: its name, its whole size, and how to get its first bytes. Reading raises WorldError."""

    name: str
    nbytes: int
    beginning: Callable[[int], bytes]


class ModelFolder(NamedTuple):
    """A model as it lies somewhere: small JSON files whole, weights as headers to be read. ``source`` is for people."""

    name: str
    source: str
    documents: Mapping[str, bytes]  # "config.json", "model.safetensors.index.json", ...
    weights: tuple[WeightFile, ...]
    path: str = ""  # what an engine on this machine would be told to load


class ModelFiles(Protocol):
    """Where models that are not bundled are found."""

    def local(self, word: str) -> ModelFolder | None:
        """The directory or file of that path; None when there is none. Raises WorldError and InputError."""

    def remote(self, word: str) -> ModelFolder:
        """The model of a Hub id. Raises WorldError, and InputError when the word is no id."""


class Hardware(Protocol):
    """What this machine has."""

    def devices(self) -> tuple[Device, ...]:
        """The accelerators that a driver answers for, in the driver's order; none when no driver answers."""

    def host(self) -> Device:
        """The memory of the host, or of the container that holds this process. Raises WorldError."""


class Desk(Protocol):
    """Where answers are put down."""

    def write(self, path: str, text: str) -> None:
        """Write a whole file or nothing. Raises WorldError."""


class World(NamedTuple):
    """Everything outside, as one value."""

    models: ModelFiles
    hardware: Hardware
    desk: Desk
