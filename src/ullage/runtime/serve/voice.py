"""Lines of the log: one form, stable, read by ``engines.runtime``."""

import sys


def say(line: str) -> None:
    """One line, with the program's name before it."""
    print(f"ullage.runtime: {line}", file=sys.stderr, flush=True)  # noqa: T201 - the program's own voice
