"""How many tokens and sequences the memory holds beside weights, the process and one step."""

from ullage.domain.case import Case
from ullage.domain.ledger import Amount, Ledger, Phase, Purpose
from ullage.domain.machine import Device
from ullage.domain.plan import Capacity
from ullage.engines.runtime.cache import chunk_of, form, most_bytes, page_token_bytes, sequence_bytes, sequences_at_once
from ullage.engines.runtime.placement import budgets_of
from ullage.engines.runtime.resolve import architecture_of, shares
from ullage.engines.runtime.shares import memory_of, seen_by

_LONGEST = 1 << 24
_MOST = 1 << 16


def capacity(case: Case, planned: Ledger) -> Capacity:
    """What is left for pages; the ledger itself holds those of the workload."""
    pages = form(case)
    room = _used(case, _room(case, planned))
    each, bundle = max(1, sequence_bytes(case)[1]), max(1, pages.bundle_bytes)
    at_once = _MOST if "max_seqs" not in case.stated else sequences_at_once(case)

    def of(value: int) -> tuple[int, int, int]:
        return value // bundle, min(at_once, value // each), pages.longest(value, chunk_of(case), _LONGEST)

    low, expected, high = of(room.low), of(room.expected), of(room.high)
    blocks, sequences, longest = (Amount(*found) for found in zip(low, expected, high, strict=True))
    return Capacity(
        kv_bytes_per_token=page_token_bytes(case),
        kv_cache_bytes=room,
        kv_blocks=blocks,
        kv_tokens=blocks.map(lambda count: count * pages.page_tokens),
        max_context_tokens=longest,
        max_sequences=sequences,
        block_tokens=pages.page_tokens,
        needed_bytes=sequence_bytes(case)[1] * case.workload.concurrent_sequences,
    )


def _used(case: Case, room: Amount) -> Amount:
    """What of it the runtime would ever take."""
    if case.settings.integer("cache") is not None:
        return room
    most = most_bytes(case)
    return room.map(lambda nbytes: min(nbytes, most))


def _room(case: Case, planned: Ledger) -> Amount:
    """Bytes for pages on all devices: what was said, or what the fullest leaves. Pages grow on all of them at once."""
    every = shares(case)
    if not case.devices:
        return Amount.exactly(0)
    if len(every) == 1:
        return _room_on(case, planned, case.devices[0], case.settings.integer("cache"))
    said, seen = case.settings.integer("cache"), [seen_by(case, architecture_of(case), share) for share in every]
    budgets = (None,) * len(every) if said is None else budgets_of(said, [form(case, one) for one in seen])
    whole, parts = sequence_bytes(case)[1], [sequence_bytes(case, one)[1] for one in seen]
    rooms = [
        (_room_on(case, planned, device, budget), nbytes)
        for device, budget, nbytes in zip(case.devices, budgets, parts, strict=True)
        if nbytes
    ]
    low, expected, high = (
        min((ends[end] * whole // nbytes for ends, nbytes in ((_ends(room), each) for room, each in rooms)), default=0) for end in (2, 1, 0)
    )
    return Amount(low, expected, high)


def _room_on(case: Case, planned: Ledger, device: Device, said: int | None) -> Amount:
    rooms = []
    for phase in (Phase.PREFILL, Phase.DECODE):
        other = planned.at(device.id, phase)
        held, others = planned.of(device.id, Purpose.KV_CACHE), planned.of(device.id, Purpose.OTHERS).expected // 2
        rooms.append(tuple(memory_of(case, device) - need + kept + others for need, kept in zip(_ends(other), _ends(held), strict=True)))
    left = [max(0, min(ends)) for ends in zip(*rooms, strict=True)]
    if said is not None:
        left = [min(part, said) for part in left]
    return Amount(left[0], left[1], left[2])


def _ends(amount: Amount) -> tuple[int, int, int]:
    """The high end of a need is the low end of what is left."""
    return amount.high, amount.expected, amount.low
