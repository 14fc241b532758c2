"""How long and how many: found by planning again, since nothing is set aside and the prompt's own activations bind first."""

from collections.abc import Callable

from ullage.domain.case import Case
from ullage.domain.ledger import Amount, Ledger, Phase, Purpose
from ullage.domain.machine import Device
from ullage.domain.plan import Capacity
from ullage.engines.transformers import continuous
from ullage.engines.transformers.cache import as_kept, cache_format
from ullage.engines.transformers.ledger import ledger
from ullage.formulas.cache import bytes_per_token
from ullage.formulas.sharding import ceil_div
from ullage.frozen import replace

LONGEST = 1 << 24
MOST = 1 << 16
_ENDS = ("high", "expected", "low")  # the high end of the need is the low end of what fits


def token_bytes(case: Case) -> int:
    """Cache bytes of one token over all layers, as this release keeps them."""
    architecture = case.model.architecture
    layers = tuple(replace(layer, mixers=tuple(as_kept(case, mixer) for mixer in layer.mixers)) for layer in architecture.layers)
    return bytes_per_token(replace(architecture, layers=layers), cache_format(case))


def capacity(case: Case, planned: Ledger) -> Capacity:
    """Of the pool, or of what the devices have left."""
    return _of_pool(case) if continuous.is_continuous(case) else _of_devices(case, planned)


def _of_pool(case: Case) -> Capacity:
    pool = continuous.plan(case)
    pages = max(0, pool.pages)
    context = case.workload.context_tokens or 1
    each = ceil_div(context, pool.page_tokens)
    return Capacity(
        kv_bytes_per_token=token_bytes(case),
        kv_cache_bytes=Amount.exactly(pool.cache_bytes),
        kv_blocks=Amount.exactly(pages),
        kv_tokens=Amount.exactly(pages * pool.page_tokens),
        max_context_tokens=Amount.exactly(pages * pool.page_tokens),
        max_sequences=Amount.exactly(pages // each),
        block_tokens=pool.page_tokens,
        needed_bytes=each * pool.page_bytes * case.workload.concurrent_sequences,
    )


def _of_devices(case: Case, planned: Ledger) -> Capacity:
    room = [(_cache_room(planned, device), device) for device in case.devices if planned.of(device.id, Purpose.KV_CACHE).expected]
    left, device = min(room, key=lambda found: found[0].expected, default=(Amount.exactly(0), None))
    kept = 0 if device is None else _kept(planned, device.id)
    whole = max(1, sum(_kept(planned, other.id) for other in case.devices))
    tokens = (case.workload.context_tokens or 1) * case.workload.concurrent_sequences
    each = max(1, (token_bytes(case) * kept) // whole) if kept else 0
    holds = left.map(lambda nbytes: max(0, nbytes) // each if each else tokens)
    return Capacity(
        kv_bytes_per_token=token_bytes(case),
        kv_cache_bytes=left.map(lambda nbytes: max(0, nbytes)),
        kv_blocks=holds,
        kv_tokens=holds,
        max_context_tokens=_ends(lambda tokens: with_context(case, tokens), LONGEST),
        max_sequences=_ends(lambda rows: with_rows(case, rows), MOST),
        block_tokens=1,
        needed_bytes=kept,
    )


def _kept(planned: Ledger, device: str) -> int:
    """The cache of one device when the last token is made."""
    return _cache_at(planned, device, Phase.DECODE)


def _cache_at(planned: Ledger, device: str, phase: Phase) -> int:
    alive = (Phase.RESIDENT, phase)
    return sum(entry.amount.expected for entry in planned.on(device) if entry.purpose is Purpose.KV_CACHE and entry.phase in alive)


def _cache_room(planned: Ledger, device: Device) -> Amount:
    """What a device has for the cache once everything else of the fullest phase lies on it."""
    rooms = []
    for phase in (Phase.PREFILL, Phase.DECODE):
        other = planned.at(device.id, phase)
        held = _cache_at(planned, device.id, phase)
        rooms.append(Amount(*(device.total_bytes - need + held for need in (other.high, other.expected, other.low))))
    return Amount(min(r.low for r in rooms), min(r.expected for r in rooms), min(r.high for r in rooms))


def with_context(case: Case, tokens: int) -> Case:
    """The same case with another length; the answer stays as long as it is."""
    work = case.workload
    answer = max(1, (work.context_tokens or 1) - (work.prompt_tokens or 0))
    return replace(case, workload=replace(work, context_tokens=tokens, prompt_tokens=max(1, tokens - answer)))


def with_rows(case: Case, rows: int) -> Case:
    """The same case with another number of sequences."""
    return replace(case, workload=replace(case.workload, concurrent_sequences=rows))


def _rooms(case: Case) -> tuple[int, ...]:
    """What the fullest device has left at each end of the amounts; below nought where it is passed."""
    planned = ledger(case)
    found = [(device.total_bytes, planned.peak(device.id)) for device in case.devices]
    return tuple(min((total - getattr(peak, end) for total, peak in found), default=0) for end in _ENDS)


def _ends(of: Callable[[int], Case], most: int) -> Amount:
    """The largest count at each end; a ledger is made once for all three."""
    seen: dict[int, tuple[int, ...]] = {}

    def rooms(count: int) -> tuple[int, ...]:
        if count not in seen:
            seen[count] = _rooms(of(count))
        return seen[count]

    low, expected, high = (_most(lambda count, at=at: rooms(count)[at], most) for at in range(len(_ENDS)))  # type: ignore[misc]
    return Amount(min(low, expected), expected, max(high, expected))


def _most(room: Callable[[int], int], most: int) -> int:
    """The largest count up to ``most`` that leaves room, 0 if none does; more never fits where less does not.

    Room shrinks nearly in proportion, so the count is looked for where a straight line meets nought, and every third time half-way.
    """
    if room(1) < 0:
        return 0
    low = 1
    while low < most and room(min(most, low * 2)) >= 0:
        low = min(most, low * 2)
    high, step = min(most + 1, low * 2), 0
    while high - low > 1:
        step += 1
        ahead = (high - low) * room(low) // max(1, room(low) - room(min(most, high))) if step % 3 else (high - low) // 2
        middle = min(high - 1, max(low + 1, low + ahead))
        low, high = (middle, high) if room(middle) >= 0 else (low, middle)
    return low
