"""What a tuning turns, each from the safest value to the most daring."""

from ullage.domain.case import Case
from ullage.domain.tuning import Dial


def dials(_case: Case) -> tuple[Dial, ...]:
    """The settings that speed and memory hang on."""
    return (
        Dial(setting="max_seqs", values=(4, 8, 16, 32)),
        Dial(setting="chunk", values=(256, 512, 1024, 2048)),
        Dial(setting="page_tokens", values=(64, 128, 256)),
        Dial(setting="weights", values=("native", "int8", "int4"), loses="some quality by narrower matrices"),
        Dial(setting="kv_dtype", values=("native", "int8", "int4"), loses="some quality on long contexts"),
    )
