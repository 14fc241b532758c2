"""The ledger of a vLLM server: every rank, phase by phase, and what the start-up profile leaves for the cache."""

from ullage.domain.case import Case
from ullage.domain.ledger import Amount, Entry, Join, Ledger, Phase, Purpose
from ullage.domain.machine import HOST
from ullage.domain.provenance import EXACT, FORMULA, Constant, Measured, Origin
from ullage.engines.vllm import dual_chunk, overhead
from ullage.engines.vllm.activation import profile_peak
from ullage.engines.vllm.processor import on_processor
from ullage.engines.vllm.processor_ledger import processor_ledger
from ullage.engines.vllm.ranks import Rank, is_capped, ranks
from ullage.engines.vllm.resolve import rules
from ullage.engines.vllm.shards import offloaded
from ullage.units import GiB, MiB, format_bytes


def ledger(case: Case) -> Ledger:
    """Everything on every device and on the host. Ranks of one stage on equal devices are computed once."""
    if on_processor(case):
        return processor_ledger(case)
    entries: list[Entry] = []
    known: dict[tuple[int, int, int], list[Entry]] = {}
    for rank in ranks(case):
        key = (rank.weights.stage, rank.device.total_bytes, rank.device.reserved_bytes)
        if key not in known:
            known[key] = _entries(case, rank)
            entries.extend(known[key])
        else:
            entries.extend(_moved(entry, rank.device.id) for entry in known[key])
    return Ledger(entries=(*entries, *_host_entries(case)), joins=_joins(case))


def _moved(entry: Entry, device: str) -> Entry:
    return Entry(
        device=device,
        purpose=entry.purpose,
        phase=entry.phase,
        amount=entry.amount,
        budgeted=entry.budgeted,
        because=entry.because,
        origin=entry.origin,
    )


def _joins(case: Case) -> tuple[Join, ...]:
    """The devices whose budget the cache fills up."""
    if is_capped(case):
        return ()
    idle = dual_chunk.covered_bytes(case, dual_chunk.workspace(case).live_bytes) if dual_chunk.applies(case) else 0
    fraction = case.settings.number("gpu_memory_utilization") or 0.0
    return tuple(
        Join(
            device=rank.device.id,
            nbytes=rank.budget,
            because=f"{fraction:g} of {format_bytes(rank.device.total_bytes)}",
            idle_bytes=idle,
        )
        for rank in ranks(case)
        if rank.pool.groups
    )


def _entries(case: Case, rank: Rank) -> list[Entry]:
    device, rule = rank.device.id, rules(case)
    peak = profile_peak(case)
    found = [_weight_entry(case, rank), *_table_entries(case, rank)]
    if rank.pool.groups:
        found.append(_cache_entry(case, rank))
    found.append(_entry(device, Purpose.ACTIVATIONS, Phase.PREFILL, peak.amount, peak.because))
    constant, amount = overhead.non_torch(case)
    found.append(
        _entry(
            device, Purpose.RUNTIME, Phase.RESIDENT, amount, "libraries, handles and allocator slack the profile counts", constant=constant
        )
    )
    found.extend(_outside_entries(case, rank))
    graphs = overhead.graphs(case)
    if graphs.high:
        because = f"{overhead.captured_sizes(case)} captured sizes over {len(case.model.architecture.layers)} layers"
        because += "; estimated and budgeted" if rule.graphs_budgeted else "; captured after the cache is made, outside the budget"
        found.append(
            _entry(
                device,
                Purpose.GRAPHS,
                Phase.RESIDENT,
                graphs,
                because,
                budgeted=rule.graphs_budgeted,
                origin=Origin(kind="measured", at="vllm_graph_per_layer_and_size"),
            )
        )
    inside = overhead.network_inside(case)
    if inside.high:
        found.append(
            _entry(
                device,
                Purpose.COMMUNICATION,
                Phase.RESIDENT,
                inside,
                f"all-reduce and NCCL buffers of {case.parallel.devices} ranks",
                origin=Origin(kind="measured", at="vllm_network_inside"),
            )
        )
    if dual_chunk.applies(case):
        work = dual_chunk.workspace(case)
        found.append(_entry(device, Purpose.WORKSPACE, Phase.PREFILL, work.workspace, work.because, budgeted=False))
    return found


def _outside_entries(case: Case, rank: Rank) -> list[Entry]:
    """What lies on the device before the first snapshot, and what others hold."""
    device, inside = rank.device.id, rules(case).context_inside
    found = []
    context = overhead.context(case)
    if context.high:
        found.append(
            _entry(
                device,
                Purpose.RUNTIME,
                Phase.RESIDENT,
                context,
                "driver context and kernels, there before the first snapshot",
                budgeted=inside,
                origin=Origin(kind="measured", at="vllm_cuda_context"),
            )
        )
    network = overhead.network_outside(case)
    if network.high:
        found.append(
            _entry(
                device,
                Purpose.COMMUNICATION,
                Phase.RESIDENT,
                network,
                "NCCL and all-reduce buffers made before the snapshot",
                budgeted=False,
                origin=Origin(kind="measured", at="vllm_network_before_snapshot"),
            )
        )
    if rank.device.reserved_bytes:
        found.append(
            _entry(
                device,
                Purpose.OTHERS,
                Phase.RESIDENT,
                Amount.exactly(rank.device.reserved_bytes),
                "held by other processes",
                budgeted=inside,
                origin=EXACT,
            )
        )
    return found


def _entry(
    device: str,
    purpose: Purpose,
    phase: Phase,
    amount: Amount,
    because: str,
    *,
    budgeted: bool = True,
    origin: Origin = FORMULA,
    constant: Constant | None = None,
) -> Entry:
    if constant is not None:
        source = constant.source
        origin = Origin(kind="measured", at=source.record) if isinstance(source, Measured) else constant.origin
    return Entry(device=device, purpose=purpose, phase=phase, amount=amount, budgeted=budgeted, because=because, origin=origin)


def _weight_entry(case: Case, rank: Rank) -> Entry:
    weights, parallel = rank.weights, case.parallel
    moved = offloaded(case)
    parameters = max(0, weights.parameters + weights.unfolded + weights.padding - moved)
    parts = [f"{case.model.parameters:,} parameters as {case.model.checkpoint.scheme}"]
    if parallel.tensor > 1:
        parts.append(f"cut {parallel.tensor} ways")
    if parallel.pipeline > 1:
        parts.append(f"layers {weights.layers[0]} to {weights.layers[1] - 1}")
    if weights.unfolded:
        parts.append(f"W_UK and W_UV unfolded beside them {format_bytes(weights.unfolded)}")
    if weights.padding >= MiB:
        parts.append(f"padding and segments' rests {format_bytes(weights.padding)}")
    if moved:
        parts.append(f"less {format_bytes(moved)} kept on the host")
    origin = EXACT if case.model.checkpoint.exact else FORMULA
    return _entry(rank.device.id, Purpose.WEIGHTS, Phase.RESIDENT, Amount.exactly(parameters), ", ".join(parts), origin=origin)


def _table_entries(case: Case, rank: Rank) -> list[Entry]:
    found = []
    if rank.weights.tables:
        tables = " + ".join(f"{table.positions:,} x {table.dim}" for table in case.model.architecture.rotary)
        more = ", and four chunks more for dual chunk attention" if dual_chunk.applies(case) else ""
        found.append(
            _entry(
                rank.device.id,
                Purpose.BUFFERS,
                Phase.RESIDENT,
                Amount.exactly(rank.weights.tables),
                f"rotary tables of {tables} positions{more}",
            )
        )
    buffers = overhead.runner_buffers(case)
    if buffers:
        because = (
            f"token counts and masks: {case.settings.integer('max_num_seqs')} slots x {case.model.architecture.vocab_size:,} vocabulary"
        )
        found.append(_entry(rank.device.id, Purpose.BUFFERS, Phase.RESIDENT, Amount.exactly(buffers), because))
    return found


def _cache_entry(case: Case, rank: Rank) -> Entry:
    blocks, pool = rank.blocks.expected, rank.pool
    if is_capped(case):
        because = f"{blocks:,} blocks of {format_bytes(pool.block_bytes)}, as stated"
    else:
        because = (
            f"what is left of the budget {format_bytes(rank.budget)} after {format_bytes(rank.fixed.expected)}: "
            f"{blocks:,} blocks x {pool.block_tokens} tokens x {len(pool.groups)} group(s), {format_bytes(pool.block_bytes)} each"
        )
    return _entry(rank.device.id, Purpose.KV_CACHE, Phase.RESIDENT, rank.cache, because)


def _host_entries(case: Case) -> list[Entry]:
    """Pinned swap space (V0), weights moved to the host, and the offloaded cache tier."""
    if case.machine.host is None:
        return []
    found = []
    swap = int((case.settings.number("swap_space") or 0) * GiB) * case.parallel.devices
    if swap:
        found.append(
            _entry(
                HOST,
                Purpose.SWAP,
                Phase.RESIDENT,
                Amount.exactly(swap),
                f"swap_space {case.settings.number('swap_space'):g} GiB of pinned memory for each of {case.parallel.devices} devices",
            )
        )
    moved = offloaded(case) * case.parallel.devices
    if moved:
        found.append(_entry(HOST, Purpose.WEIGHTS, Phase.RESIDENT, Amount.exactly(moved), "weights kept on the host (cpu_offload_gb)"))
    tier = int((case.settings.number("kv_offloading_size") or 0) * GiB)
    if tier:
        found.append(_entry(HOST, Purpose.KV_CACHE, Phase.RESIDENT, Amount.exactly(tier), "offloaded cache tier, the sum over ranks"))
    return found
