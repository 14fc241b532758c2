"""The real world, opened only as far as a question asks for it."""

from ullage.domain.machine import Device
from ullage.errors import WorldError
from ullage.ports import ModelFolder, World


class RealModels:
    """Models on disk and on the Hub."""

    def __init__(self, *, offline: bool) -> None:
        self._offline = offline

    def local(self, word: str) -> ModelFolder | None:
        """As the port says."""
        from ullage.world import files

        return files.open_model(word)

    def remote(self, word: str) -> ModelFolder:
        """As the port says; refused offline."""
        if self._offline:
            raise WorldError(
                f"{word} is neither bundled nor on this disk, and --offline forbids asking the Hub: "
                "drop --offline, or give a local directory, a config.json or a bundled name (`ullage models`)"
            )
        from ullage.world import hub

        return hub.open_model(word)


class RealHardware:
    """The drivers of this machine."""

    def devices(self) -> tuple[Device, ...]:
        """As the port says."""
        from ullage.world import drivers

        return drivers.devices()

    def host(self) -> Device:
        """As the port says."""
        from ullage.world.drivers import host

        return host.read()


class RealDesk:
    """The file system."""

    def write(self, path: str, text: str) -> None:
        """As the port says."""
        from ullage.world import files

        files.write_whole(path, text)


def world(*, offline: bool = False) -> World:
    """Everything outside."""
    return World(models=RealModels(offline=offline), hardware=RealHardware(), desk=RealDesk())
