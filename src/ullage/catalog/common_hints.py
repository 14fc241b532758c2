"""What helps whichever engine died: before and after what helps it in its own settings."""

from typing import Final

from ullage.catalog.refusals import REFUSALS
from ullage.domain.cause import FirstAid, Hint, Kind
from ullage.frozen import replace

OTHER_PROCESSES: Final = "other processes"
WATERMARK: Final = "PYTORCH_MPS_HIGH_WATERMARK_RATIO"
HAZARDS: Final = frozenset({WATERMARK})  # lift a limit that guards the machine: they stand behind what takes less
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
_HOST: Final = frozenset({Kind.HOST})
# What a process keeps in host memory whichever program it is.
_ANY_HOST: Final = (
    Hint(kinds=_HOST, setting=OTHER_PROCESSES, cost="what they do", value="stop"),
    Hint(kinds=_HOST, setting="quantisation of the model", cost="fewer bits a weight: some quality", value="smaller"),
)


def of_any_engine(aid: FirstAid) -> FirstAid:
    """The first aid of the likeliest engine where none is known: what it keeps in host memory is not taken for what another does."""
    return replace(aid, hints=(*(replace(hint, kinds=hint.kinds - _HOST) for hint in aid.hints), *_ANY_HOST))
