"""The kernel's own small files."""

import os
from pathlib import Path


def text(path: Path) -> str:
    """What the file says, or nothing where it cannot be read."""
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""


def module_release(names: tuple[str, ...], modules: Path = Path("/sys/module")) -> str:
    """The release of the first of these kernel modules that is loaded; one that is the kernel's own states none, and has the kernel's."""
    loaded = next((modules / name for name in names if (modules / name).is_dir()), None)
    return "" if loaded is None else text(loaded / "version") or os.uname().release


def stated(path: Path) -> int | None:
    """The whole number in the file; None where there is none."""
    word = text(path)
    return int(word) if word.isascii() and word.isdigit() else None


def number(path: Path) -> int:
    """The whole number in the file, or 0."""
    return stated(path) or 0


def sizes(path: Path) -> dict[str, int]:
    """The ``Name:  123 kB`` lines of a file, in bytes; other lines are passed over."""
    found = {}
    for line in text(path).splitlines():
        name, _, rest = line.partition(":")
        words = rest.split()
        if len(words) == 2 and words[1] == "kB" and words[0].isdigit():  # noqa: PLR2004 - a number and its unit
            found[name.strip()] = int(words[0]) << 10
    return found
