"""The ledger of both modes: the fork of vLLM that fills a budget, and ``generate`` that grows."""

from collections.abc import Iterator

from ullage.domain.case import Case
from ullage.domain.ledger import Amount, Entry, Join, Ledger, Phase, Purpose, amount_of
from ullage.domain.machine import HOST
from ullage.domain.provenance import EXACT, FORMULA, Measured, Origin
from ullage.engines.ipex_llm import generate
from ullage.engines.ipex_llm.activation import layer_part, sampler_part
from ullage.engines.ipex_llm.ranks import Rank, context, is_capped, ranks
from ullage.engines.ipex_llm.resolve import is_served, on_cpu
from ullage.engines.ipex_llm.versions import CONTEXT, PEAK_COUNTED, SLACK, rules
from ullage.engines.ipex_llm.weights import largest_matrix, packed, unpacked_bytes
from ullage.units import GiB, format_bytes


def ledger(case: Case) -> Ledger:
    """Everything on every device and on the host."""
    if not is_served(case):
        return Ledger(entries=(*generate.entries(case), *_host_entries(case)))
    entries = tuple(entry for rank in ranks(case) for entry in _entries(case, rank))
    return Ledger(entries=(*entries, *_host_entries(case)), joins=_joins(case))


def _joins(case: Case) -> tuple[Join, ...]:
    if is_capped(case):
        return ()
    fraction = case.settings.number("gpu_memory_utilization") or 0.0
    return tuple(
        Join(device=rank.device.id, nbytes=rank.budget, because=f"{fraction:g} of {format_bytes(rank.device.total_bytes)}")
        for rank in ranks(case)
        if rank.block_bytes
    )


def _entries(case: Case, rank: Rank) -> Iterator[Entry]:
    device, counted = rank.device.id, rules(case).peak_counted and not on_cpu(case)

    def entry(purpose: Purpose, phase: Phase, amount: Amount, because: str, origin: Origin = FORMULA, *, budgeted: bool = True) -> Entry:
        return Entry(device=device, purpose=purpose, phase=phase, amount=amount, budgeted=budgeted, because=because, origin=origin)

    yield entry(Purpose.WEIGHTS, Phase.RESIDENT, Amount.exactly(rank.weights.parameters), _weights_because(case, rank))
    yield entry(Purpose.BUFFERS, Phase.RESIDENT, Amount.exactly(rank.weights.tables), "rotary tables")
    if rank.block_bytes:
        yield entry(Purpose.KV_CACHE, Phase.RESIDENT, rank.cache, _cache_because(case, rank))
    missing = "" if counted else f"; not subtracted before the cache was sized (analytics-zoo/vllm 35, 36 of {PEAK_COUNTED} changed that)"
    layer, sampler = layer_part(case), sampler_part(case)
    yield entry(Purpose.ACTIVATIONS, Phase.PREFILL, layer.amount, layer.because + missing, budgeted=counted)
    if rank.stage == case.parallel.pipeline - 1:
        yield entry(Purpose.LOGITS, Phase.DECODE, sampler.amount, sampler.because + missing, budgeted=counted)
    if rank.device.kind == "xpu":
        slack = "what PyTorch keeps from the driver beyond its tensors"
        yield entry(Purpose.RUNTIME, Phase.RESIDENT, amount_of(SLACK), slack, SLACK.origin, budgeted=counted)
        yield entry(Purpose.RUNTIME, Phase.RESIDENT, context(rank.device), _context_because(), _context_origin(), budgeted=False)
    if rank.device.reserved_bytes:
        held = Amount.exactly(rank.device.reserved_bytes)
        yield entry(Purpose.OTHERS, Phase.RESIDENT, held, "held by other processes; the fork does not see it", EXACT, budgeted=False)


def _context_because() -> str:
    return "Level Zero context and what kernels take past PyTorch; the fork counts PyTorch's memory only"


def _context_origin() -> Origin:
    return Origin(kind="measured", at=CONTEXT.source.record if isinstance(CONTEXT.source, Measured) else CONTEXT.name)


def _weights_because(case: Case, rank: Rank) -> str:
    parts = [f"{case.model.parameters:,} parameters as {packed(case).checkpoint.scheme}, the token table in 16 bits"]
    if case.parallel.tensor > 1:
        parts.append(f"cut {case.parallel.tensor} ways")
    if case.parallel.pipeline > 1:
        parts.append(f"layers {rank.weights.layers[0]} to {rank.weights.layers[1] - 1}")
    return ", ".join(parts)


def _cache_because(case: Case, rank: Rank) -> str:
    blocks, size = rank.blocks.expected, case.settings.integer("block_size")
    if is_capped(case):
        return f"{blocks:,} blocks of {size} tokens, {format_bytes(rank.block_bytes)} each, as stated"
    return (
        f"what is left of the budget {format_bytes(rank.budget)} after {format_bytes(rank.fixed.expected)}: "
        f"{blocks:,} blocks of {size} tokens, {format_bytes(rank.block_bytes)} each"
    )


def _host_entries(case: Case) -> Iterator[Entry]:
    """The 16-bit model while it is packed, a matrix in float32 beside it; swap space and what stays there."""
    if case.machine.host is None:
        return
    whole, largest, stored = unpacked_bytes(case), largest_matrix(case) * 4, packed(case).checkpoint.nbytes
    because = f"the model in 16 bits while it is packed layer by layer, and one matrix in float32 ({format_bytes(largest)})"
    yield Entry(
        device=HOST,
        purpose=Purpose.STAGING,
        phase=Phase.LOAD,
        amount=Amount(whole, whole + largest, whole + largest + stored),
        budgeted=True,
        because=because,
    )
    swap = int((case.settings.number("swap_space") or 0) * GiB) * case.parallel.devices if is_served(case) else 0
    if swap:
        because = f"swap_space of {case.parallel.devices} card(s), pinned"
        yield Entry(device=HOST, purpose=Purpose.SWAP, phase=Phase.RESIDENT, amount=Amount.exactly(swap), budgeted=True, because=because)
    away = generate.host_weights(case)
    if away:
        because = "the token table, kept on the host (cpu_embedding)"
        yield Entry(device=HOST, purpose=Purpose.WEIGHTS, phase=Phase.RESIDENT, amount=Amount.exactly(away), budgeted=True, because=because)
