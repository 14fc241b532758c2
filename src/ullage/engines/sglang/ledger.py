"""The ledger of a SGLang server: what fills mem_fraction_static on every rank, and what has to live in the rest."""

from collections.abc import Iterator

from ullage.domain.case import Case
from ullage.domain.ledger import Amount, Entry, Join, Ledger, Phase, Purpose, amount_of
from ullage.domain.machine import HOST
from ullage.domain.provenance import ASSUMED, EXACT, FORMULA, Origin
from ullage.engines.sglang import versions as fact
from ullage.engines.sglang.activation import draft_outside, dual_chunk_workspace, graphs, logits, prefill, request_table
from ullage.engines.sglang.ranks import Rank, fraction, is_capped, network, ranks, reserved_for_images
from ullage.engines.sglang.shards import offloaded
from ullage.frozen import replace
from ullage.units import format_bytes, format_count

_RESIDENT, _PREFILL = Phase.RESIDENT, Phase.PREFILL


def ledger(case: Case) -> Ledger:
    """Everything on every device and on the host. Ranks of one stage on equal devices are computed once."""
    entries: list[Entry] = []
    known: dict[tuple[int, int], tuple[Entry, ...]] = {}
    for rank in ranks(case):
        key = (rank.weights.stage, rank.device.reserved_bytes)
        if key not in known:
            known[key] = (*_inside(case, rank), *_before(case, rank), *_beside(case, rank), *_working(case, rank))
        entries.extend(replace(entry, device=rank.device.id) for entry in known[key])
    return Ledger(entries=(*entries, *_host(case)), joins=_joins(case))


def _joins(case: Case) -> tuple[Join, ...]:
    """The devices whose static part the pool fills up."""
    if is_capped(case):
        return ()
    share = fraction(case)
    return tuple(
        Join(device=rank.device.id, nbytes=rank.budget, because=f"{share:g} of {format_bytes(rank.before.expected)} free before loading")
        for rank in ranks(case)
        if rank.pool.cell and rank.sizes.tokens
    )


def _entry(
    rank: Rank,
    purpose: Purpose,
    amount: Amount,
    because: str,
    *,
    phase: Phase = _RESIDENT,
    budgeted: bool = False,
    origin: Origin = FORMULA,
) -> Entry:
    return Entry(device=rank.device.id, purpose=purpose, phase=phase, amount=amount, budgeted=budgeted, because=because, origin=origin)


def _inside(case: Case, rank: Rank) -> Iterator[Entry]:
    """What mem_fraction_static is meant for: weights, tables and pools."""
    weights, parallel = rank.weights, case.parallel
    parts = [f"{case.model.parameters:,} parameters as {case.model.checkpoint.scheme}"]
    if parallel.tensor > 1:
        parts.append(f"cut {parallel.tensor} ways")
    if parallel.pipeline > 1:
        parts.append(f"layers {weights.layers[0]} to {weights.layers[1] - 1}")
    if weights.unfolded:
        parts.append(f"W_UK and W_UV unfolded beside them {format_bytes(weights.unfolded)}")
    if offloaded(case):
        parts.append(f"less {format_bytes(offloaded(case))} kept on the host")
    tables = Amount.exactly(weights.tables)
    tensors = rank.loaded.map(lambda nbytes: max(0, nbytes - weights.tables))
    origin = EXACT if case.model.checkpoint.exact else FORMULA
    yield _entry(rank, Purpose.WEIGHTS, tensors, ", ".join(parts), budgeted=True, origin=origin)
    if weights.tables:
        rows = " + ".join(f"{table.positions:,} x {table.dim}" for table in case.model.architecture.rotary)
        yield _entry(rank, Purpose.BUFFERS, tables, f"rotary tables of {rows} positions", budgeted=True)
    if rank.pool.cell:
        yield _entry(rank, Purpose.KV_CACHE, rank.cache, _cache_words(case, rank), budgeted=True)
    if rank.pool.slot:
        because = f"{rank.sizes.slots:,} slots of recurrent state and one more x {format_bytes(rank.pool.slot)}"
        yield _entry(rank, Purpose.STATE, rank.state, because, budgeted=True)


def _cache_words(case: Case, rank: Rank) -> str:
    sizes, pool = rank.sizes, rank.pool
    what = f"{format_count(sizes.tokens)} tokens x {pool.full:,} B"
    if pool.window:
        what += f" and {format_count(sizes.window_tokens)} tokens of windows x {pool.window:,} B"
    if is_capped(case):
        return f"{what}, max_total_tokens as stated"
    left = f"{fraction(case):g} of the {format_bytes(rank.before.expected)} free before loading, less {format_bytes(rank.loaded.expected)}"
    return f"{what}: what is left of {left} loaded"


def _before(case: Case, rank: Rank) -> Iterator[Entry]:
    """What lies on the device before SGLang looks how much is free."""
    yield _entry(
        rank,
        Purpose.RUNTIME,
        amount_of(fact.CONTEXT),
        "driver context and kernels, there before loading",
        origin=fact.CONTEXT.origin,
    )
    wires = network(case)
    if wires.high:
        because = f"communication buffers of {case.parallel.tensor * case.parallel.pipeline} ranks, made before loading"
        yield _entry(rank, Purpose.COMMUNICATION, wires, because, origin=fact.NETWORK.origin)
    if rank.device.reserved_bytes:
        yield _entry(rank, Purpose.OTHERS, Amount.exactly(rank.device.reserved_bytes), "held by other processes", origin=EXACT)


def _beside(case: Case, rank: Rank) -> Iterator[Entry]:
    """What stays and is not counted: request table, kernels' workspace, graphs, a draft."""
    amount, because = request_table(case, rank)
    if amount.high:
        yield _entry(rank, Purpose.WORKSPACE, amount, f"request table: {because}")
    if case.settings.text("attention_backend") == "flashinfer":
        yield _entry(rank, Purpose.WORKSPACE, amount_of(fact.FLASHINFER), "FlashInfer's workspace", origin=fact.FLASHINFER.origin)
    yield _entry(rank, Purpose.RUNTIME, amount_of(fact.WARM), "handles, late kernels and allocator slack", origin=ASSUMED)
    amount, because = graphs(case)
    if amount.high:
        yield _entry(rank, Purpose.GRAPHS, amount, because, origin=ASSUMED)
    amount, because = draft_outside(case, rank)
    if amount.high:
        yield _entry(rank, Purpose.WEIGHTS, amount, because, origin=ASSUMED)
    if case.settings.text("moe_a2a_backend") == "deepep" or case.settings.flag("enable_deepep_moe"):
        yield _entry(rank, Purpose.COMMUNICATION, amount_of(fact.DEEPEP), "DeepEP's buffers", origin=fact.DEEPEP.origin)
    images = reserved_for_images(case)
    if images:
        yield _entry(rank, Purpose.BUFFERS, Amount(0, images, images), "image features, kept back from the pool")


def _working(case: Case, rank: Rank) -> Iterator[Entry]:
    """What a step needs: in prefill a chunk's activations or the dual chunk workspace, in decode logits."""
    amount, because = prefill(case)
    work = dual_chunk_workspace(case)
    if work is not None and work.live_bytes + work.workspace.expected > amount.expected:
        live = Amount.exactly(work.live_bytes)
        yield _entry(rank, Purpose.ACTIVATIONS, live, "what is live around a dual chunk step", phase=_PREFILL)
        yield _entry(rank, Purpose.WORKSPACE, work.workspace, f"{work.because}; no part of mem_fraction_static", phase=_PREFILL)
    else:
        yield _entry(rank, Purpose.ACTIVATIONS, amount, because, phase=_PREFILL)
    amount, because = logits(case)
    yield _entry(rank, Purpose.LOGITS, amount, because, phase=Phase.DECODE)


def _host(case: Case) -> Iterator[Entry]:
    """Weights moved to the host, and the host tier of the cache."""
    if case.machine.host is None:
        return
    devices = case.parallel.devices
    moved = offloaded(case) * devices
    if moved:
        yield _host_entry(Purpose.WEIGHTS, moved, "weights kept on the host (cpu_offload_gb)")
    if not case.settings.flag("enable_hierarchical_cache"):
        return
    said = case.settings.number("hicache_size") or 0
    ratio = case.settings.number("hicache_ratio") or 2.0
    pinned = int(said * 10**9) * devices if said else int(sum(rank.sizes.cache_bytes for rank in ranks(case)) * ratio)
    because = f"hicache_size {said:g} GB a rank" if said else f"hicache_ratio {ratio:g} times the pools of {devices} ranks"
    yield _host_entry(Purpose.KV_CACHE, pinned, f"host tier of the cache: {because}")


def _host_entry(purpose: Purpose, nbytes: int, because: str) -> Entry:
    return Entry(device=HOST, purpose=purpose, phase=_RESIDENT, amount=Amount.exactly(nbytes), budgeted=False, because=because)
