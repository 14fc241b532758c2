"""Readings of this machine and of an engine on it, the clock they are taken by, and where what they mean is told."""

import time
from typing import TYPE_CHECKING

from ullage.domain.reading import Page

if TYPE_CHECKING:
    from ullage.domain.reading import DeviceReading, HostReading
    from ullage.world.exporter import Exporter


class RealMeters:
    """The drivers, the host's kernel and HTTP."""

    def __init__(self) -> None:
        self._start = time.time() - time.monotonic()  # so that a clock that is set does not bend a slope

    def now(self) -> float:
        """As the port says."""
        return self._start + time.monotonic()

    def devices(self, at: float) -> "tuple[DeviceReading, ...]":
        """As the port says."""
        from ullage.world import drivers

        return drivers.live(at)

    def host(self, at: float, pid: int | None) -> "HostReading":
        """As the port says."""
        from ullage.world.drivers import host

        return host.read_live(at, pid)

    def page(self, url: str, key_file: str = "") -> Page | None:
        """As the port says."""
        from ullage.world import pages

        return pages.get(url, pages.key(key_file))

    def listener(self, url: str) -> int | None:
        """As the port says."""
        import psutil

        from ullage.world import pages

        parts = pages.checked(url)
        if parts.hostname not in {"localhost", "127.0.0.1", "::1"}:
            return None
        port = parts.port or (443 if parts.scheme == "https" else 80)
        try:
            connections = psutil.net_connections("tcp")
        except (psutil.Error, OSError):
            return None
        found = {one.pid for one in connections if one.status == psutil.CONN_LISTEN and one.laddr and one.laddr.port == port and one.pid}
        return min(found) if found else None  # of a server and the children that share its socket, the server


class RealOutlets:
    """Exporters by their address, webhooks, and the wait between two looks."""

    def __init__(self) -> None:
        self._exporters: dict[str, Exporter] = {}

    def publish(self, address: str, text: str) -> str:
        """As the port says."""
        from ullage.world.exporter import Exporter

        if address not in self._exporters:
            self._exporters[address] = Exporter(address)
        self._exporters[address].text = text
        return self._exporters[address].url

    def post(self, url: str, body: str) -> str | None:
        """As the port says."""
        from ullage.world import pages

        return pages.post(url, body)

    def wait(self, seconds: float) -> None:
        """As the port says."""
        time.sleep(seconds)
