"""What the cache holds, and what would fit in its place."""

from collections.abc import Callable
from functools import lru_cache

from ullage.domain.case import Case
from ullage.domain.ledger import Amount, Ledger
from ullage.domain.plan import Capacity
from ullage.engines.llama_cpp.cache import by_device, cells, row_bytes
from ullage.engines.llama_cpp.ledger import ledger as ledger_of
from ullage.engines.llama_cpp.resolve import accelerators, padded
from ullage.engines.llama_cpp.versions import PAD_CELLS


def _sizes(case: Case) -> dict[str, int]:
    host = (case.machine.host,) if case.machine.host is not None else ()
    return {device.id: device.total_bytes for device in (*case.devices, *host)}


def overflows(case: Case, *, high: bool = False) -> bool:
    """Whether any device is passed, at the expected or the high end."""
    return any(_overflows(case, ledger_of(case), high=high))


def accelerator_overflows(case: Case, *, high: bool = False) -> bool:
    """The same of the accelerators alone, whatever the host has."""
    seen = ledger_of(case)
    peaks = ((device, seen.peak(device.id)) for device in accelerators(case))
    return any((peak.high if high else peak.expected) > device.total_bytes for device, peak in peaks)


def _overflows(case: Case, seen: Ledger, *, high: bool) -> list[bool]:
    sizes = _sizes(case)
    peaks = {device: seen.peak(device) for device in {entry.device for entry in seen.entries}}
    return [(peak.high if high else peak.expected) > sizes[device] for device, peak in peaks.items() if device in sizes]


def largest(low: int, high: int, holds: Callable[[int], bool]) -> int:
    """The largest number of ``low`` to ``high`` that holds, or ``low - 1``; what holds for one holds for all smaller."""
    low -= 1
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if holds(middle) else (low, middle - 1)
    return low


@lru_cache(maxsize=128)
def longest_fitting(case: Case, *, high: bool = False) -> int:
    """The longest context of one slot, in whole blocks and no longer than now, that leaves every device enough; 0 where none does."""
    kept = cells(case)

    def holds(blocks: int) -> bool:
        return not overflows(case.with_settings(ctx_size=blocks * PAD_CELLS * kept.streams), high=high)

    return largest(1, kept.tokens // PAD_CELLS, holds) * PAD_CELLS


def capacity(case: Case, ledger: Ledger) -> Capacity:
    """Of all devices together: the cache is as large as the context says, so it needs more only where more is asked than it holds."""
    kept = cells(case)
    nbytes = sum(keys + state for keys, state in by_device(case).values())
    context = case.workload.context_tokens or kept.tokens
    sequences = case.workload.concurrent_sequences
    slots = case.settings.integer("n_parallel") or 1
    enough = context <= kept.tokens and sequences <= slots and context * sequences <= max(kept.total, context)
    needed = 0 if enough or not nbytes else max(nbytes + 1, nbytes * padded(context) * sequences // max(1, kept.total))
    expected, careful = kept.tokens, kept.tokens
    if any(_overflows(case, ledger, high=True)):
        careful = longest_fitting(case, high=True)
        expected = kept.tokens if not any(_overflows(case, ledger, high=False)) else longest_fitting(case)
    most = max(1, min(slots, kept.total // max(1, padded(context))))
    return Capacity(
        kv_bytes_per_token=sum(row_bytes(case, mixer) for layer in case.model.architecture.layers for mixer in layer.mixers),
        kv_cache_bytes=Amount.exactly(nbytes),
        kv_blocks=Amount.exactly(kept.total),
        kv_tokens=Amount.exactly(kept.total),
        max_context_tokens=Amount(min(careful, expected), expected, kept.tokens),
        max_sequences=Amount.exactly(most),
        block_tokens=1,
        needed_bytes=needed,
    )
