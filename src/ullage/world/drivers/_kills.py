"""Whether the kernel killed for memory: what the engine's control group and the machine count, looked at while the engine lives."""

from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ullage.world.drivers import _control_group
from ullage.world.drivers._sysfs import sizes, text

_SHORT = 0.125  # of the host's memory: with more left, four looks a second do not miss what a kernel kills for
_LOOKS = 120  # a worker's death may take its front a while to notice


class Look(NamedTuple):
    """Kills so far in the engine's own group, None where no file tells; on the whole machine; and the part of its memory to be had."""

    folder: Path | None
    group: int | None
    machine: int
    free: float | None


class Kills:
    """Looks at one engine, the last ones kept. ``root`` is where the kernel's files are."""

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root
        self._folder = _control_group.own_folder(root, None)
        self._looks = deque([self._seen()], maxlen=_LOOKS)

    def look(self, pid: int | None = None) -> None:
        """One more; ``pid`` says whose group counts, which is the last one known where that process is gone."""
        found = _control_group.own_folder(self._root, pid) if pid is not None else None
        if found is not None and (self._folder is None or found not in self._folder.parents):  # of one that ends the root is told
            self._folder = found
        self._looks.append(self._seen())

    def were_for_memory(self) -> bool:
        """Whether there was a kill since the oldest look that could have been the engine's."""
        return were_for_memory(self._looks)

    def _seen(self) -> Look:
        memory = sizes(self._root / "proc/meminfo")
        total, available = memory.get("MemTotal"), memory.get("MemAvailable")
        return Look(
            folder=self._folder,
            group=_control_group.kills(self._folder) if self._folder is not None else None,
            machine=_control_group.counted(text(self._root / "proc/vmstat")) or 0,
            free=available / total if total and available is not None else None,
        )


def were_for_memory(looks: Sequence[Look]) -> bool:
    """By the group's own count; where nobody keeps one, by the machine's, if its memory was in fact short."""
    last = looks[-1]
    if last.group is not None:
        return any(look.group is not None and look.group < last.group for look in looks if look.folder == last.folder)
    return last.machine > looks[0].machine and any(look.free is not None and look.free < _SHORT for look in looks)
