"""Host memory by process, from one process down."""

from pathlib import Path

from ullage.domain.reading import ProcessMemory
from ullage.world.drivers._sysfs import sizes, text


def tree(proc: Path, pid: int) -> tuple[ProcessMemory, ...]:
    """The process and all below it, each before those it started, as numbers come round again; none where it is gone."""
    parents = {int(folder.name): _parent(folder) for folder in proc.glob("[0-9]*")}
    below: list[int] = []
    seen: set[int] = set()  # one whose number was given again as we read may be below itself
    level = [pid] if pid in parents else []
    while level:
        below += level
        seen.update(level)
        level = sorted(child for child, parent in parents.items() if parent in level and child not in seen)
    return tuple(_memory(proc / str(one), one, parents[one]) for one in below)


def _parent(folder: Path) -> int:
    """The fourth word of ``stat``; the second, the name in brackets, may hold anything."""
    words = text(folder / "stat").rpartition(")")[2].split()
    return int(words[1]) if len(words) > 1 and words[1].isdigit() else 0


def _memory(folder: Path, pid: int, parent: int) -> ProcessMemory:
    status, rollup = sizes(folder / "status"), sizes(folder / "smaps_rollup")
    return ProcessMemory(
        pid=pid,
        parent=parent,
        name=text(folder / "comm"),
        anon_bytes=status.get("RssAnon"),
        file_bytes=status.get("RssFile"),
        shmem_bytes=status.get("RssShmem"),
        pss_bytes=rollup.get("Pss"),
    )


def tree_elsewhere(pid: int) -> tuple[ProcessMemory, ...]:
    """As above where there is no ``/proc``: resident pages are not told apart there, so all count as private."""
    import psutil

    try:
        first = psutil.Process(pid)
        found = [first, *first.children(recursive=True)]
        return tuple(ProcessMemory(pid=one.pid, parent=one.ppid(), name=one.name(), anon_bytes=int(one.memory_info().rss)) for one in found)
    except psutil.Error:
        return ()
