"""An engine whose ledger and capacity say what stored runs have taught about them."""

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import pairwise

from ullage.domain.baseline import Run
from ullage.domain.case import Case
from ullage.domain.engine import Engine
from ullage.domain.ledger import Amount, Entry, Ledger, Phase, Purpose, total
from ullage.domain.plan import Capacity
from ullage.domain.provenance import Origin
from ullage.frozen import replace
from ullage.planning.calibrate import COUNTED, Correction, Term, choices, comparable, corrections, kind_of
from ullage.planning.drift import RESOLUTION_BYTES
from ullage.units import format_bytes

_HERE = "runs stored here"


def calibrated(engine: Engine, runs: Sequence[Run]) -> Engine:
    """The engine with amounts narrowed by runs like each case; the engine itself where none are of it."""
    own = tuple(sorted((run for run in runs if run.engine == engine.profile.name), key=lambda run: run.started_at, reverse=True))
    if not own:
        return engine
    known: dict[object, dict[Term, Correction]] = {}

    def taught(case: Case) -> dict[Term, Correction]:
        shape, devices = case.model.architecture, tuple((one.kind, one.name) for one in case.devices)
        key = (case.version, case.parallel, shape.model_type, case.model.checkpoint.scheme, devices, choices(case.settings))
        if key not in known:
            known[key] = corrections(case, own)
        return known[key]

    def ledger(case: Case) -> Ledger:
        plain, found = engine.ledger(case), taught(case)
        return narrowed(case, plain, found, _block_bytes(engine, case, plain)) if found else plain

    def capacity(case: Case, seen: Ledger) -> Capacity:
        plain = engine.capacity(case, seen)
        return _with_pool(plain, engine.ledger(case), seen) if seen.joins and taught(case) else plain

    def notes(case: Case, seen: Ledger) -> tuple[str, ...]:
        return (*engine.notes(case, seen), *_note(case, seen, len(comparable(case, own)) if taught(case) else 0))

    return replace(engine, ledger=ledger, capacity=capacity, notes=notes)


def _note(case: Case, ledger: Ledger, count: int) -> tuple[str, ...]:
    purposes = dict.fromkeys(entry.purpose.value for entry in ledger.entries if entry.origin.at.endswith(_HERE))
    if not purposes:
        return ()
    return (f"{count} stored runs of {case.engine} narrow {', '.join(purposes)}; --baselines none leaves them out",)


def _block_bytes(engine: Engine, case: Case, ledger: Ledger) -> int:
    """Bytes by which a pool that fills a budget changes."""
    if not ledger.joins:
        return 1
    plain = engine.capacity(case, ledger)
    whole, rest = divmod(plain.kv_cache_bytes.expected, max(1, plain.kv_blocks.expected))
    return whole if whole and not rest else 1


def narrowed(case: Case, ledger: Ledger, taught: Mapping[Term, Correction], block_bytes: int = 1) -> Ledger:
    """The ledger with every uncertain amount that runs speak of corrected, and caches that fill a budget taking what is left then."""
    kinds = tuple((one.id, one.kind, one.name) for one in case.devices)
    changed = list(ledger.entries)
    for device in dict.fromkeys(entry.device for entry in ledger.entries):
        kind = kind_of(device, kinds)
        terms = {(purpose, phase): one for (own, purpose, phase), one in taught.items() if own == kind}
        for key, correction in terms.items():
            places = _places(ledger, device, key, frozenset(terms))
            for place, entry in zip(places, _corrected([ledger.entries[place] for place in places], correction), strict=True):
                changed[place] = entry
    return _refilled(Ledger(entries=tuple(changed), joins=ledger.joins), ledger, block_bytes)


def _places(ledger: Ledger, device: str, key: tuple[Purpose | None, Phase], others: frozenset[tuple[Purpose | None, Phase]]) -> list[int]:
    """Where a term's entries stand; the rest of a phase are those outside a budget that no other term speaks of."""
    purpose, phase = key
    has_join = any(join.device == device for join in ledger.joins)

    def is_meant(entry: Entry) -> bool:
        if entry.device != device or entry.phase is not phase or entry.purpose in COUNTED:
            return False
        if purpose is not None:
            return entry.purpose is purpose
        return (entry.purpose, phase) not in others and not (has_join and entry.budgeted)

    return [place for place, entry in enumerate(ledger.entries) if is_meant(entry)]


def _corrected(entries: list[Entry], correction: Correction) -> list[Entry]:
    """Entries whose sum is what the correction makes of it; those without error stay, the others share by size."""
    free = [entry for entry in entries if entry.amount.low < entry.amount.high]
    fixed = sum(entry.amount.expected for entry in entries if entry.amount.low == entry.amount.high)
    if not free:
        return entries
    amount = corrected(total(entry.amount for entry in entries), correction)
    left = Amount(max(0, amount.low - fixed), max(0, amount.expected - fixed), max(0, amount.high - fixed))
    weights = [entry.amount.expected for entry in free]
    weights = weights if sum(weights) else [entry.amount.high for entry in free]
    lows, mores, mosts = (_shares(part, weights) for part in (left.low, left.expected - left.low, left.high - left.expected))
    parts = iter(zip(lows, mores, mosts, strict=True))
    return [_said(entry, next(parts), correction) if entry.amount.low < entry.amount.high else entry for entry in entries]


def _said(entry: Entry, parts: tuple[int, int, int], correction: Correction) -> Entry:
    low, more, most = parts
    if correction.is_ratio:
        how = f"{correction.middle:.3f} of what the rule expects"
    else:
        how = f"{format_bytes(round(abs(correction.middle)))} {'more' if correction.middle >= 0 else 'less'} than the rule expects"
    return replace(
        entry,
        amount=Amount(low, low + more, low + more + most),
        because=f"{entry.because}; measured here ({correction.runs} runs): {how}",
        origin=Origin(kind="measured", at=f"{correction.runs} {_HERE}"),
    )


def corrected(amount: Amount, correction: Correction) -> Amount:
    """The promise as runs have it: no narrower than readings resolve, no wider than the promise and what was seen together."""
    said, ways = amount.expected, correction.ways(amount.expected)
    least, most = min(round(way.of(way.least, said)) for way in ways), max(round(way.of(way.most, said)) for way in ways)
    low, high = min(round(way.of(way.low, said)) for way in ways), max(round(way.of(way.high, said)) for way in ways)
    middle = round(correction.of(correction.middle, said))
    low = min(least, max(low - RESOLUTION_BYTES, min(amount.low, least)))
    high = max(most, min(high + RESOLUTION_BYTES, max(amount.high, most)))
    return Amount(low, min(max(middle, low), high), high)


def _shares(nbytes: int, weights: list[int]) -> list[int]:
    """A sum divided by weight, no byte lost."""
    whole, passed, ends = sum(weights), 0, [0]
    for weight in weights:
        passed += weight
        ends.append(nbytes * passed // whole)
    return [end - start for start, end in pairwise(ends)]


def _refilled(ledger: Ledger, before: Ledger, block_bytes: int) -> Ledger:
    """Caches that fill a budget take what the other parts now leave, in whole blocks."""
    changed = list(ledger.entries)
    for join in ledger.joins:
        now, then = _inside(ledger, join.device), _inside(before, join.device)
        freed = Amount(then.high - now.high, then.expected - now.expected, then.low - now.low)
        for place, entry in enumerate(changed):
            is_pool = entry.device == join.device and entry.budgeted and entry.purpose is Purpose.KV_CACHE
            if is_pool and entry.amount.low < entry.amount.high and freed != Amount(0, 0, 0):
                amount = _grown(entry.amount, freed, block_bytes)
                because = f"{entry.because}; {format_bytes(amount.expected)} after what is measured here"
                changed[place] = replace(entry, amount=amount, because=because)
    return replace(ledger, entries=tuple(changed))


def _inside(ledger: Ledger, device: str) -> Amount:
    return total(entry.amount for entry in ledger.on(device) if entry.budgeted and entry.purpose is not Purpose.KV_CACHE)


def _grown(amount: Amount, freed: Amount, block_bytes: int) -> Amount:
    low, expected, high = sorted(
        max(0, size + more) // block_bytes * block_bytes
        for size, more in ((amount.low, freed.low), (amount.expected, freed.expected), (amount.high, freed.high))
    )
    return Amount(low, expected, high)


def _with_pool(capacity: Capacity, before: Ledger, after: Ledger) -> Capacity:
    """What the pool holds at its new size, between the sizes the engine reckoned with."""
    pools = zip(before.entries, after.entries, strict=True)
    pool = next((now.amount for then, now in pools if then.purpose is Purpose.KV_CACHE and then.amount == capacity.kv_cache_bytes), None)
    if pool is None or pool == capacity.kv_cache_bytes or not capacity.kv_cache_bytes.expected:
        return capacity
    was, blocks = capacity.kv_cache_bytes, capacity.kv_blocks

    def at(amount: Amount) -> Amount:
        steps = ((was.low, amount.low), (was.expected, amount.expected), (was.high, amount.high))
        return pool.map(partial(between, steps))

    return replace(
        capacity,
        kv_cache_bytes=pool,
        kv_blocks=at(blocks),
        kv_tokens=at(capacity.kv_tokens),
        max_context_tokens=at(capacity.max_context_tokens),
        max_sequences=at(capacity.max_sequences),
    )


def between(steps: Sequence[tuple[int, int]], size: int) -> int:
    """What a size holds, between sizes whose contents are known: along the line within, in proportion below, as the last step above."""
    (least, content), *_ = steps
    if size <= least:
        return content * size // least if least else 0
    known = [(start, end) for start, end in pairwise(steps) if start[0] < end[0]]
    if not known:
        return steps[-1][1]
    start, end = next((pair for pair in known if size <= pair[1][0]), known[-1])
    return start[1] + (end[1] - start[1]) * (size - start[0]) // (end[0] - start[0])
