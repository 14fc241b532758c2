"""How Hypothesis draws: anew on a developer's machine, the same examples every time where ``CI`` is set. No test meets the user's store.

A test of real processes is tried a second time where it fails, and the summary says so.
"""

import os
import signal
from tempfile import TemporaryDirectory

import pytest
from hypothesis import settings

settings.register_profile("ci", derandomize=True, deadline=None)
if os.environ.get("CI"):
    settings.load_profile("ci")

# Threads that wait without spinning: with other work on the cores, spinning ones are several times slower. Read when torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

# A shell without jobs has what it runs in the background ignore an interrupt, and what tests start would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

_STATE = TemporaryDirectory(prefix="ullage-tests-")
os.environ["XDG_STATE_HOME"] = _STATE.name


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """These start real processes under real limits, and other work on the machine can be the reason that one fails."""
    for item in items:
        if "world" in item.path.parts or item.get_closest_marker("slow") is not None:
            item.add_marker(pytest.mark.flaky(reruns=1))
