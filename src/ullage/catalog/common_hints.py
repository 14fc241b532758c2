"""What helps whichever engine died: before and after what helps it in its own settings."""

from typing import Final

from ullage.catalog.refusals import REFUSALS
from ullage.domain.cause import Hint, Kind

OTHER_PROCESSES: Final = "other processes"
BEFORE: Final = (Hint(kinds=frozenset({Kind.DEVICE_NOT_FREE}), setting=OTHER_PROCESSES, cost="what they do", value="stop"),)
AFTER: Final = (
    Hint(kinds=frozenset({Kind.HOST}), setting="host memory", cost="a larger machine or container", up=True),
    Hint(
        kinds=frozenset({Kind.SHARED_MEMORY}),
        setting="shm-size",
        cost="the container's option: --shm-size 16g, or --ipc=host",
        value="16g",
    ),
    *(one.hint for one in REFUSALS),
)
