"""How Hypothesis draws: anew on a developer's machine, the same examples every time where ``CI`` is set. No test meets the user's store."""

import os
from tempfile import TemporaryDirectory

from hypothesis import settings

settings.register_profile("ci", derandomize=True, deadline=None)
if os.environ.get("CI"):
    settings.load_profile("ci")

# Threads that wait without spinning: with other work on the cores, spinning ones are several times slower. Read when torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

_STATE = TemporaryDirectory(prefix="ullage-tests-")
os.environ["XDG_STATE_HOME"] = _STATE.name
