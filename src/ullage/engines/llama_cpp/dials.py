"""What a tuning turns, each from the safest value to the most daring."""

from ullage.domain.case import Case
from ullage.domain.tuning import Dial


def dials(case: Case) -> tuple[Dial, ...]:
    """The settings that speed and memory hang on. Slots follow the sequences asked for, as they share the cache."""
    wanted = max(1, case.workload.concurrent_sequences)
    slots = tuple(sorted({max(1, wanted // 4), max(1, wanted // 2), wanted}))
    flash = "on" if case.settings.get("flash_attn") != "off" else "off"
    return (
        Dial(setting="ubatch_size", values=(128, 256, 512, 1024)),
        Dial(setting="n_parallel", values=slots),
        Dial(setting="cache_type_k", values=("f16", "q8_0"), loses="some quality: coarser keys", also=(("flash_attn", flash),)),
        Dial(setting="cache_type_v", values=("f16", "q8_0"), loses="some quality: coarser values", also=(("flash_attn", "on"),)),
    )
