"""What a reader of the plan should know and the numbers alone do not say."""

from collections.abc import Iterator

from ullage.catalog.at_load import stand_in
from ullage.domain.case import Case
from ullage.domain.ledger import Ledger
from ullage.engines.exllamav3.place import is_filled, layer_counts, placing
from ullage.engines.exllamav3.settings import keeps_slots
from ullage.formulas.exllama import PAGE_TOKENS

_SAMPLE_SIZE, _SAMPLE_SLOTS = 4096, 32


def notes(case: Case, _planned: Ledger) -> tuple[str, ...]:
    """One sentence each."""
    return (*stand_in(case), *_defaults(case), *_cards(case), *_cache(case))


def _defaults(case: Case) -> Iterator[str]:
    size = case.settings.integer("cache_size") or 0
    if "cache_size" not in case.stated and case.workload.context_tokens is None and size > _SAMPLE_SIZE:
        yield (
            f"cache_size is not said: TabbyAPI then takes max_seq_len, here the model's whole length of {size:,} tokens, "
            f"and not the {_SAMPLE_SIZE} its sample file names"
        )
    if keeps_slots(case) and "max_batch_size" not in case.stated:
        slots = case.settings.integer("max_batch_size")
        yield f"layers with a window or a state keep one for each of max_batch_size={slots} jobs; the sample file says {_SAMPLE_SLOTS}"


def _cards(case: Case) -> Iterator[str]:
    if len(case.devices) > 1 and not case.settings.flag("tensor_parallel"):
        counts = "/".join(str(count) for count in layer_counts(case, placing(case).spans))
        yield f"layers per card: {counts}; unlike ExLlamaV2's, this gpu_split counts the cache too"
    yield (
        "memory that looks free when idle is needed for the next prompt: one forward pass was tried while loading and freed again"
        + (", and the cards were filled with it in mind" if is_filled(case) else "")
    )


def _cache(case: Case) -> Iterator[str]:
    if (case.settings.text("cache_mode") or "FP16") != "FP16":
        yield "kernels that cannot read the quantised cache unpack one whole layer of it for a moment"
    yield f"the cache is made in full when the model loads, in pages of {PAGE_TOKENS} tokens, and never grows"
