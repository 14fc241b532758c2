"""The ledger of a server on a processor: front, core and every worker share one memory, and the cache is touched as it starts."""

from collections.abc import Iterable, Iterator

from ullage.domain.case import Case
from ullage.domain.ledger import NOTHING, Amount, Entry, Ledger, Phase, Purpose, amount_of, total
from ullage.domain.provenance import EXACT, FORMULA, Constant, Origin
from ullage.engines.vllm import processor_figures as figures
from ullage.engines.vllm.processor import THRESHOLD, Sizing, sizing, stated_bytes
from ullage.engines.vllm.processor_memory import SAMPLED, compiled, kept_pieces, packed_tables, step
from ullage.engines.vllm.ranks import Rank, ranks
from ullage.formulas.sharding import padded_vocabulary
from ullage.units import format_bytes


def processor_ledger(case: Case) -> Ledger:
    """Everything on the one device. Nothing is joined: what a worker holds is read with pages that others share, and counted without."""
    there = ranks(case)
    if not there:
        return Ledger(entries=())
    device, workers = there[0].device, len(there)
    entries = [
        *_processes(device.id, workers, case.parallel.data),
        *_weights(case, device.id, there),
        *_cache(case, device.id, there),
        *_steps(case, device.id, workers),
    ]
    if device.reserved_bytes:
        held = Amount.exactly(device.reserved_bytes)
        entries.append(_entry(device.id, Purpose.OTHERS, held, "held by other processes", origin=EXACT, budgeted=False))
    return Ledger(entries=tuple(entry for entry in entries if entry.amount != NOTHING))


def _entry(
    device: str,
    purpose: Purpose,
    amount: Amount,
    because: str,
    *,
    phase: Phase = Phase.RESIDENT,
    origin: Origin = FORMULA,
    budgeted: bool = True,
) -> Entry:
    return Entry(device=device, purpose=purpose, phase=phase, amount=amount, budgeted=budgeted, because=because, origin=origin)


def _processes(device: str, workers: int, replicas: int) -> Iterator[Entry]:
    """The front, a core for each replica, and the workers; shared pages of libraries are divided among them."""
    for constant, count, because in (
        (figures.FRONT, 1, "the process that answers requests: Python and its libraries"),
        (figures.CORE, replicas, "the process that schedules"),
        (figures.WORKER, workers, "the process that computes: Python, PyTorch and its libraries"),
    ):
        named = f"{because}, {count} of them" if count > 1 else because
        yield _entry(device, Purpose.RUNTIME, _times(constant, count), named, origin=constant.origin, budgeted=constant is figures.WORKER)


def _times(constant: Constant, count: int) -> Amount:
    return total([amount_of(constant)] * count)


def _weights(case: Case, device: str, there: tuple[Rank, ...]) -> Iterator[Entry]:
    origin = EXACT if case.model.checkpoint.exact else FORMULA
    nbytes = sum(rank.weights.parameters + rank.weights.unfolded for rank in there)
    because = f"{case.model.parameters:,} parameters as {case.model.checkpoint.scheme}"
    if len(there) > 1:
        because += f", over {len(there)} workers of one memory"
    yield _entry(device, Purpose.WEIGHTS, Amount.exactly(nbytes), because, origin=origin)
    copies = sum(packed_tables(case, rank.weights) for rank in there)
    because = "the token table packed for products, once for each module that has it, beside the original"
    yield _entry(device, Purpose.BUFFERS, Amount.exactly(copies), because)
    tables = sum(rank.weights.tables for rank in there)
    yield _entry(device, Purpose.BUFFERS, Amount.exactly(tables), "rotary tables")
    pieces = total(kept_pieces(case, rank.weights) for rank in there)
    because = f"what the allocator keeps of matrices that were packed and freed; {THRESHOLD}=262144 gives it back"
    yield _entry(device, Purpose.RUNTIME, pieces, because, origin=figures.PIECES.origin)
    code = total(compiled(case, rank.weights) for rank in there)
    yield _entry(device, Purpose.RUNTIME, code, "compiled code and its tables", origin=figures.COMPILED.origin)


def _cache(case: Case, device: str, there: Iterable[Rank]) -> Iterator[Entry]:
    with_cache = tuple(rank for rank in there if rank.pool.groups)
    if not with_cache:
        return
    first = min(with_cache, key=lambda rank: rank.blocks.expected)
    because = f"{first.blocks.expected:,} blocks of {first.pool.block_tokens} tokens, {format_bytes(first.pool.block_bytes)} each"
    if len(with_cache) > 1:
        because += f", on each of {len(with_cache)} workers"
    because += f", {_size(case, first)}; all of it is touched at start"
    yield _entry(device, Purpose.KV_CACHE, total(rank.cache for rank in with_cache), because)


def _size(case: Case, rank: Rank) -> str:
    if case.settings.integer("num_gpu_blocks_override") is not None or stated_bytes(case) is not None:
        return "as stated"
    match sizing(case):
        case Sizing.FIXED:
            return "4 GiB unless VLLM_CPU_KVCACHE_SPACE says otherwise"
        case Sizing.HALF:
            return "half of the memory unless VLLM_CPU_KVCACHE_SPACE says otherwise"
        case Sizing.SHARE:
            fraction = case.settings.number("gpu_memory_utilization") or 0.0
            return f"{fraction:g} of the memory less the {format_bytes(rank.fixed.expected)} that the worker holds"


def _steps(case: Case, device: str, workers: int) -> Iterator[Entry]:
    context, sequences = case.workload.context_tokens, case.workload.concurrent_sequences
    most = case.settings.integer("max_num_batched_tokens") or 0
    tokens = min(most, context * sequences) if context else most
    yield _entry(
        device,
        Purpose.ACTIVATIONS,
        total([step(case, tokens)] * workers),
        f"a step over {tokens:,} tokens, in 16 bits and in fp32 where an operation is not fused",
        phase=Phase.PREFILL,
    )
    logits = sequences * padded_vocabulary(case.model.architecture.vocab_size, 64)
    because = f"logits of {sequences:,} rows and what drawing a token sorts"
    yield _entry(device, Purpose.LOGITS, Amount(*(logits * each for each in SAMPLED)), because, phase=Phase.DECODE)
