"""Where this program keeps what it remembers."""

import os
from pathlib import Path


def store_path() -> Path:
    """``$XDG_STATE_HOME/ullage/ullage.db``; a relative or empty value does not count, as the XDG specification has it."""
    stated = os.environ.get("XDG_STATE_HOME", "")
    state = Path(stated) if os.path.isabs(stated) else Path(os.path.expanduser("~")) / ".local" / "state"  # noqa: PTH117, PTH111 - Path.home raises without a home
    return state / "ullage" / "ullage.db"


def store_exists() -> bool:
    """Whether anything was ever stored."""
    return os.path.isfile(store_path())  # noqa: PTH113 - never raises
