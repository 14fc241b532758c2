"""What a vendor's own program prints."""

import shutil
import subprocess
from collections.abc import Callable

_PATIENCE_S = 10.0

Runner = Callable[[tuple[str, ...]], str | None]


def output(argv: tuple[str, ...]) -> str | None:
    """Its standard output; None where it is not installed, fails or takes too long."""
    if shutil.which(argv[0]) is None:
        return None
    try:
        done = subprocess.run(argv, capture_output=True, text=True, errors="replace", timeout=_PATIENCE_S, check=False)  # noqa: S603 - a fixed command without a shell
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
