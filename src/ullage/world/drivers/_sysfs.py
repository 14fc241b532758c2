"""The kernel's own small files."""

from pathlib import Path


def text(path: Path) -> str:
    """What the file says, or nothing where it cannot be read."""
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""


def number(path: Path) -> int:
    """The whole number in the file, or 0."""
    word = text(path)
    return int(word) if word.isascii() and word.isdigit() else 0
