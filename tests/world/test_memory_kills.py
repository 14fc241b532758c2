"""Whether a death was the kernel's doing, by the files that the kernel has."""

from pathlib import Path

import pytest

from ullage.world.drivers._kills import Kills

GIB = 1 << 20  # in the unit of the file


class Kernel:
    """The kernel's files of one process, in a folder."""

    def __init__(self, root: Path, *, group: str = "") -> None:
        self.root, self._at = root, root / "sys/fs/cgroup" / ("memory" if group == "v1" else "") / "jobs/one"
        self._name = {"v1": "memory.oom_control", "v2": "memory.events"}.get(group)
        self._at.mkdir(parents=True)
        line = {"v1": "4:memory:/jobs/one", "v2": "0::/jobs/one"}.get(group, "")
        for pid in ("self", "7"):
            self.write(f"proc/{pid}/cgroup", line)
        self.tell()

    def write(self, name: str, text: str) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")

    def tell(self, *, here: int = 0, machine: int = 30, free_gib: int = 20) -> None:
        self.write("proc/vmstat", f"pswpin 0\noom_kill {machine}")
        self.write("proc/meminfo", f"MemTotal: {24 * GIB} kB\nMemAvailable: {free_gib * GIB} kB")
        if self._name is not None:
            (self._at / self._name).write_text(f"under_oom 0\noom_kill {here}\n")


@pytest.mark.parametrize("group", ["v1", "v2"])
def test_a_kill_in_another_group_is_none_of_this_engine_however_short_memory_was(tmp_path: Path, group: str) -> None:
    kernel = Kernel(tmp_path, group=group)
    kills = Kills(tmp_path)
    kernel.tell(machine=31, free_gib=0)
    kills.look(7)
    assert not kills.were_for_memory()
    kernel.tell(here=1, machine=32)
    kills.look()
    assert kills.were_for_memory()


def test_the_machines_count_tells_only_where_its_memory_was_short(tmp_path: Path) -> None:
    kernel = Kernel(tmp_path)
    for least, expected in ((20, False), (1, True)):
        kernel.tell(machine=30)
        kills = Kills(tmp_path)
        kernel.tell(machine=30, free_gib=least)
        kills.look(7)
        kernel.tell(machine=31)
        kills.look()
        assert kills.were_for_memory() is expected


def test_a_kill_of_long_ago_is_forgotten(tmp_path: Path) -> None:
    kernel = Kernel(tmp_path, group="v2")
    kills = Kills(tmp_path)
    kernel.tell(here=1)
    for _ in range(200):
        kills.look(7)
    assert not kills.were_for_memory()


def test_of_a_process_that_ends_the_group_it_was_in_counts(tmp_path: Path) -> None:
    """The kernel tells the root of one that is being taken down."""
    kernel = Kernel(tmp_path, group="v1")
    kills = Kills(tmp_path)
    kills.look(7)
    kernel.write("proc/7/cgroup", "4:memory:/")
    kernel.tell(here=1)
    kills.look(7)
    assert kills.were_for_memory()


def test_an_engine_that_moved_to_a_group_of_its_own_is_counted_there(tmp_path: Path) -> None:
    kernel = Kernel(tmp_path, group="v1")
    kills = Kills(tmp_path)
    own = tmp_path / "sys/fs/cgroup/memory/engine"
    own.mkdir()
    (own / "memory.oom_control").write_text("oom_kill 5\n")
    kernel.write("proc/7/cgroup", "4:memory:/engine")
    kills.look(7)
    assert not kills.were_for_memory()
    (own / "memory.oom_control").write_text("oom_kill 6\n")
    kills.look(7)
    assert kills.were_for_memory()
