"""What a tuning turns, each from the safest value to the most daring."""

from ullage.domain.case import Case
from ullage.domain.tuning import Dial
from ullage.engines.vllm import dual_chunk
from ullage.engines.vllm.processor import on_processor
from ullage.engines.vllm.ranks import is_capped

_FRACTIONS = (0.60, 0.65, 0.70, 0.75, 0.80, 0.85, 0.88, 0.90, 0.92, 0.94, 0.95)


def dials(case: Case) -> tuple[Dial, ...]:
    """The settings that speed and memory hang on; the fraction where it sizes the cache."""
    if on_processor(case):
        return (
            Dial(setting="max_num_batched_tokens", values=(512, 1024, 2048, 4096)),
            Dial(setting="max_num_seqs", values=(8, 16, 32, 64, 128)),
        )
    narrow = not dual_chunk.applies(case)
    return (
        *(() if is_capped(case) else (Dial(setting="gpu_memory_utilization", values=_FRACTIONS),)),
        Dial(setting="max_num_batched_tokens", values=(1024, 2048, 4096, 8192, 16384)),
        Dial(setting="max_num_seqs", values=(16, 32, 64, 128, 256)),
        Dial(setting="block_size", values=(16, 32)),
        *((Dial(setting="kv_cache_dtype", values=("auto", "fp8"), loses="some quality on long contexts"),) if narrow else ()),
    )
