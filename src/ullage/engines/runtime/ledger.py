"""The ledger of a runtime process: weights and cache to the byte, a step by its widest moment, the process itself as measured."""

from collections.abc import Iterator

from ullage.domain.architecture import Architecture
from ullage.domain.case import Case
from ullage.domain.ledger import NOTHING, Amount, Entry, Ledger, Phase, Purpose, amount_of
from ullage.domain.machine import HOST, Device
from ullage.domain.provenance import EXACT, FORMULA, Constant, Origin
from ullage.engines.runtime.cache import cached_tokens, chunk_of, form, sequence_bytes
from ullage.engines.runtime.cache_tiles import unpacking_bytes
from ullage.engines.runtime.capacity import capacity
from ullage.engines.runtime.process import token_constant, vocabulary, vocabulary_reading
from ullage.engines.runtime.resolve import architecture_of, element_of, shares
from ullage.engines.runtime.settings import NATIVE
from ullage.engines.runtime.shares import Share, seen_by
from ullage.engines.runtime.transient import FLOAT, PIECE_KEYS, Rows, kernel_scratch, peak
from ullage.engines.runtime.versions import DEVICE_CONTEXT, HOST_PROCESS, PROCESS, STEPPING
from ullage.engines.runtime.weights import How, Resident, how, resident
from ullage.frozen import replace
from ullage.units import format_bytes

PASSING = "one matrix at a time as read, in the dtype and as kept, the head before the layers; or, later, the tokeniser while it is read"
_HELD = 50  # one part in so many: how far a counted step may be from its formula
_DRAWING = (0, 16, 20)  # bytes beside each logit while a token is drawn: weights, a difference, and their sums in float64


def _entry(
    device: str, purpose: Purpose, phase: Phase, amount: Amount, because: str, *, origin: Origin = FORMULA, budgeted: bool = True
) -> Entry:
    return Entry(device=device, purpose=purpose, phase=phase, amount=amount, budgeted=budgeted, because=because, origin=origin)


def _constant(device: str, constant: Constant, because: str) -> Iterator[Entry]:
    for phase in (Phase.LOAD, Phase.RESIDENT):
        yield _entry(device, Purpose.RUNTIME, phase, amount_of(constant), because, origin=constant.origin)


def ledger(case: Case) -> Ledger:
    """Everything on the device, phase by phase. Nothing fills a budget: pages are taken when tokens come."""
    if not case.devices:
        return Ledger(entries=())
    entries = list(_host(case, case.devices[0]))
    for share, device in zip(shares(case), case.devices, strict=False):
        seen = seen_by(case, architecture_of(case), share)
        entries += (
            *_process(case, device, share),
            *_weights(case, device.id, share),
            *_cache(case, device.id, seen),
            *_prefill(case, device.id, seen, share),
            *_decode(case, device.id, seen, share),
            *_unpacking(case, device.id, seen),
            *_others(device),
        )
    planned = Ledger(entries=tuple(entry for entry in entries if entry.amount != NOTHING))
    return Ledger(entries=tuple(_grown(case, planned)))


def _grown(case: Case, planned: Ledger) -> Iterator[Entry]:
    """The row of the cache up to all that the pool may grow to under the planned command, as more may come than the workload says."""
    pool, whole = capacity(case, planned).kv_cache_bytes.high, max(1, sequence_bytes(case)[1])
    parts = {
        device.id: sequence_bytes(case, seen_by(case, architecture_of(case), share))[1]
        for share, device in zip(shares(case), case.devices, strict=False)
    }
    for entry in planned.entries:
        most = pool * parts.get(entry.device, 0) // whole if entry.purpose is Purpose.KV_CACHE else 0
        if most <= entry.amount.high:
            yield entry
            continue
        because = f"{entry.because}; the pool may grow to {format_bytes(most)}, {_bound(case)}"
        yield replace(entry, amount=replace(entry.amount, high=most), because=because)


def _bound(case: Case) -> str:
    if case.settings.integer("cache") is not None:
        return "the cache that is said, as far as memory holds it"
    return f"max_seqs {case.settings.integer('max_seqs'):,} x max_len {case.settings.integer('max_len'):,} as far as memory holds them"


def _process(case: Case, device: Device, share: Share) -> Iterator[Entry]:
    if how(case).device == "cpu":
        if not share.first:
            return
        yield from _constant(device.id, PROCESS, "Python, PyTorch, the server and the tokeniser, when nothing was computed yet")
        size = case.model.architecture.vocab_size
        words = f"the tokeniser's vocabulary of {size:,}"
        for phase in (Phase.LOAD, Phase.RESIDENT):
            yield _entry(
                device.id, Purpose.RUNTIME, phase, vocabulary(case.model.path, size), words, origin=token_constant(case.model.path).origin
            )
        for phase in (Phase.PREFILL, Phase.DECODE):
            because = "kernels that the first steps load and make, stacks of their threads, and what the allocator keeps of freed memory"
            yield _entry(device.id, Purpose.RUNTIME, phase, amount_of(STEPPING), because, origin=STEPPING.origin)
        return
    yield from _constant(device.id, DEVICE_CONTEXT, "the driver's context and the kernels of PyTorch")


def _weights(case: Case, device: str, share: Share) -> Iterator[Entry]:
    kept = how(case)
    found = resident(case.model, kept)
    origin = EXACT if case.model.checkpoint.exact else FORMULA
    because = f"{_count(case)} as {case.model.checkpoint.scheme}, kept as {kept.asked} in {kept.dtype}"
    if share.span != (0, len(found.layers)):
        because += f", layers {share.span[0]} to {share.span[1] - 1}"
    matrices = Amount.exactly(share.nbytes - share.table)
    where = "in the file's own pages, which the system may drop and read again" if found.mapped else f"in {kept.dtype}"
    yield _entry(device, Purpose.STAGING, Phase.LOAD, matrices, f"{because}: {matrices.expected:,} bytes", origin=origin)
    yield _entry(device, Purpose.STAGING, Phase.LOAD, _passing(case, share, found, matrices.expected), PASSING)
    yield _entry(device, Purpose.WEIGHTS, Phase.RESIDENT, matrices, f"{because}: {matrices.expected:,} bytes", origin=origin)
    yield _entry(device, Purpose.WEIGHTS, Phase.RESIDENT, Amount.exactly(share.table), f"the token table {where}", origin=origin)
    yield from _rooms(share, device, kept)


def _passing(case: Case, share: Share, found: Resident, matrices: int) -> Amount:
    """What loading takes beyond all that stays: the head is made before there is anything else, then one matrix after another.

    A matrix is there as it is read, in the dtype, and as it is kept. When all are made the tokeniser's vocabulary is read.
    """
    head = found.first if share.last else 0
    converting = Amount(0, max(2 * head - matrices, found.largest), max(3 * head - matrices, 3 * found.largest))
    if how(case).device != "cpu" or not share.first:
        return converting
    reading = vocabulary_reading(case.model.architecture.vocab_size)
    return Amount(max(converting.low, reading.low), max(converting.expected, reading.expected), max(converting.high, reading.high))


def _rooms(share: Share, device: str, kept: How) -> Iterator[Entry]:
    if share.staging:
        because = "room for experts of the host while they are used"
        yield _entry(device, Purpose.BUFFERS, Phase.RESIDENT, Amount(0, share.staging, share.staging), because)
    if share.scratch:
        because = f"room to unpack a part of one matrix to {kept.dtype}, where many rows are multiplied"
        yield _entry(device, Purpose.WORKSPACE, Phase.RESIDENT, Amount(0, share.scratch, share.scratch), because)


def _count(case: Case) -> str:
    return f"{case.model.parameters:,} parameters"


def _cache(case: Case, device: str, seen: Architecture) -> Iterator[Entry]:
    sequences, pages, tokens = case.workload.concurrent_sequences, form(case, seen), cached_tokens(case)
    aligned, anywhere = sequence_bytes(case, seen)
    because = (
        f"{sequences:,} sequences of {tokens:,} tokens in pages of {pages.page_tokens:,}, {pages.bundle_bytes:,} bytes a page of all layers"
    )
    if aligned != anywhere:
        because += "; layers with a window keep what their window and one step reach"
    high = max(aligned, anywhere) * sequences
    yield _entry(device, Purpose.KV_CACHE, Phase.RESIDENT, Amount(aligned * sequences, aligned * sequences, high), because)


def prefill_rows(case: Case) -> Rows:
    """The widest step that the workload has the runtime compute."""
    context, sequences = case.workload.context_tokens or 1, case.workload.concurrent_sequences
    rows = min(chunk_of(case), context * sequences)
    return Rows(rows=rows, context=context, wanting=min(sequences, rows), element=element_of(case))


def _prefill(case: Case, device: str, seen: Architecture, share: Share) -> Iterator[Entry]:
    step = prefill_rows(case)
    widest = peak(seen, step, head=share.last)
    yield _entry(device, Purpose.ACTIVATIONS, Phase.PREFILL, _about(widest.nbytes), f"{widest.because}; no more however long the prompt")
    if how(case).device == "cpu":
        scratch = kernel_scratch(seen, rows=step.rows, context=step.context, element=step.element)
        because = f"keys and values of up to {PIECE_KEYS:,} tokens, copied by the attention kernel for every query head"
        yield _entry(device, Purpose.WORKSPACE, Phase.PREFILL, Amount(0, scratch, scratch), because)


def _about(nbytes: int) -> Amount:
    return Amount(nbytes - nbytes // _HELD, nbytes, nbytes + nbytes // _HELD)


def _decode(case: Case, device: str, seen: Architecture, share: Share) -> Iterator[Entry]:
    sequences, context = case.workload.concurrent_sequences, case.workload.context_tokens or 1
    step = Rows(rows=sequences, context=context, wanting=sequences, element=element_of(case))
    widest = peak(seen, step, head=share.last)
    masks = sequences * context * (step.element + 1) + FLOAT * 2 * context if sequences > 1 else 0
    amount = Amount(0, widest.nbytes, widest.nbytes + widest.nbytes // _HELD + masks)
    yield _entry(device, Purpose.ACTIVATIONS, Phase.DECODE, amount, f"{sequences:,} rows: {widest.because}")
    if not share.last:
        return
    logits = sequences * seen.vocab_size
    because = f"while a token is drawn for {sequences:,} sequences; nothing where the best is taken"
    yield _entry(device, Purpose.LOGITS, Phase.DECODE, Amount(*(logits * each for each in _DRAWING)), because)


def _unpacking(case: Case, device: str, seen: Architecture) -> Iterator[Entry]:
    kept = case.settings.text("kv_dtype") or NATIVE
    if kept == NATIVE:
        return
    sequences, context = case.workload.concurrent_sequences, case.workload.context_tokens or 1
    found = unpacking_bytes(seen, sequences=sequences, context=context, element=element_of(case))
    for phase, nbytes in zip((Phase.PREFILL, Phase.DECODE), found, strict=True):
        yield _entry(device, Purpose.WORKSPACE, phase, Amount(0, nbytes, nbytes), f"a cache in {kept} becomes numbers, tile by tile")


def _others(device: Device) -> Iterator[Entry]:
    if device.reserved_bytes:
        held = Amount.exactly(device.reserved_bytes)
        for phase in (Phase.LOAD, Phase.RESIDENT):
            yield _entry(device.id, Purpose.OTHERS, phase, held, "held by other processes", origin=EXACT, budgeted=False)


def _host(case: Case, device: Device) -> Iterator[Entry]:
    """Beside an accelerator: the process, and what it puts aside. On a processor the device is the host."""
    host, swap = case.machine.host, case.settings.integer("swap") or 0
    on_host = HOST if how(case).device != "cpu" else device.id
    if host is None and on_host == HOST:
        return
    if on_host == HOST and host is not None:
        yield from _constant(HOST, HOST_PROCESS, "Python, PyTorch and its libraries")
        yield from _others(host)
    experts = sum(share.experts for share in shares(case))
    if experts:
        because = f"routed experts of all layers, {case.settings.integer('host_experts'):,} at a time on each device"
        for phase, purpose in ((Phase.LOAD, Purpose.STAGING), (Phase.RESIDENT, Purpose.WEIGHTS)):
            yield _entry(on_host, purpose, phase, Amount.exactly(experts), because)
    if swap:
        because = f"pages of sequences that wait, up to {format_bytes(swap)}"
        yield _entry(on_host, Purpose.SWAP, Phase.RESIDENT, Amount(0, swap, swap), because)
