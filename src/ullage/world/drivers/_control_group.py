"""Control groups of version 1 and 2: the limit that binds a process, and what its group holds under it."""

from pathlib import Path, PurePosixPath

from ullage.domain.reading import GroupMemory
from ullage.world.drivers._sysfs import stated, text

_ROOT = "sys/fs/cgroup"
_FILES = {1: ("memory.limit_in_bytes", "memory.usage_in_bytes"), 2: ("memory.max", "memory.current")}
_KILLS = ("memory.oom_control", "memory.events")


def read(root: Path, pid: int | None, total_bytes: int | None) -> tuple[GroupMemory | None, str]:
    """The group's memory, and its own pressure file's text where it has one; nothing where there are no groups."""
    for version, top, path in _places(root, _lines(root, pid)):
        folders = _upwards(top, path)
        limit_name, current_name = _FILES[version]
        limits = [(limit, folder) for folder in folders if (limit := stated(folder / limit_name)) is not None]
        bound = [(limit, folder) for limit, folder in limits if total_bytes is None or limit < total_bytes]
        limit, folder = min(bound, key=lambda pair: pair[0]) if bound else (None, folders[0])
        current = stated(folder / current_name)
        if limit is not None or current is not None:
            return GroupMemory(version=version, limit_bytes=limit, current_bytes=current), text(folders[0] / "memory.pressure")
    return None, ""


def own_folder(root: Path, pid: int | None) -> Path | None:
    """The directory that tells of the memory of the process's own group; None where there is none."""
    places = _places(root, _lines(root, pid))
    return next((folder for _, top, path in places if (folder := _upwards(top, path)[0]).is_dir()), None)


def kills(folder: Path) -> int | None:
    """How often the kernel has killed in that group for memory; None where it does not count."""
    told = (counted(text(folder / name)) for name in _KILLS)
    return next((count for count in told if count is not None), None)


def counted(told: str) -> int | None:
    """The number on the line ``oom_kill 0``."""
    words = (line.split() for line in told.splitlines())
    return next((int(line[1]) for line in words if len(line) > 1 and line[0] == "oom_kill" and line[1].isdigit()), None)


def _lines(root: Path, pid: int | None) -> list[list[str]]:
    told = text(root / "proc" / ("self" if pid is None else str(pid)) / "cgroup")
    return [line.split(":", 2) for line in told.splitlines() if line.count(":") > 1]


def _places(root: Path, lines: list[list[str]]) -> list[tuple[int, Path, str]]:
    """Where the memory of the process's group is told: the version, the directory it is mounted on, and the path below it."""
    found = [(1, root / _ROOT / "memory", path) for _, kinds, path in lines if "memory" in kinds.split(",")]
    return found + [(2, root / _ROOT, path) for number, kinds, path in lines if number == "0" and not kinds]


def _upwards(top: Path, path: str) -> list[Path]:
    """The group and those above it; the mount's own directory alone where a container does not see the path."""
    inner = PurePosixPath(path.lstrip("/"))
    folders = [top / str(one) for one in (inner, *inner.parents)] if path.strip("/") else [top]
    return [folder for folder in folders if folder.is_dir()] or [top]
