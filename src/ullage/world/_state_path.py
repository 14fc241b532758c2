"""Where this program keeps what it remembers."""

import os
from pathlib import Path


def store_path() -> Path:
    """``$XDG_STATE_HOME/ullage/ullage.db``; a relative or empty value does not count, as the XDG specification has it."""
    stated = os.environ.get("XDG_STATE_HOME", "")
    state = Path(stated) if os.path.isabs(stated) else Path(os.path.expanduser("~")) / ".local" / "state"  # noqa: PTH117, PTH111 - Path.home raises without a home
    return state / "ullage" / "ullage.db"


def store_exists() -> bool:
    """Whether anything was ever stored, or something stands in the way of it, which whoever opens the store says."""
    try:
        os.stat(store_path())  # noqa: PTH116 - a plan asks for it before anything else is loaded
    except FileNotFoundError:
        return False
    except (OSError, ValueError):
        return True
    return True
