"""The ledger of kt-kernel in its fork of SGLang: a pool that fills a share of the GPU, and all routed experts on the host."""

from ullage.domain.case import Case
from ullage.domain.ledger import Amount, Entry, Join, Ledger, Phase, Purpose
from ullage.domain.machine import Device
from ullage.domain.provenance import EXACT, FORMULA
from ullage.engines.ktransformers.host import host_entries
from ullage.engines.ktransformers.kernel_pool import Pool, pool, request_rows
from ullage.engines.ktransformers.kernel_weights import gpu_bytes, gpu_experts, host_bytes, weights
from ullage.engines.ktransformers.lines import constant, entry, others
from ullage.engines.ktransformers.resolve import prompt_of
from ullage.engines.ktransformers.versions import KT_CONTEXT, KT_GRAPHS, KT_NETWORK
from ullage.formulas.sharding import ceil_div
from ullage.formulas.widths import mixer_width, widest_layer
from ullage.units import format_bytes

_ELEMENT, _PLACE = 2, 4


def ledger(case: Case) -> Ledger:
    """Everything on every GPU and on the host."""
    entries: list[Entry] = []
    joins: list[Join] = []
    for device in case.devices:
        found = pool(case, device)
        entries += [*_budgeted(case, device, found), *_outside(case, device, found), *_work(case, device, found)]
        if not found.told:
            share = case.settings.number("mem_fraction_static") or 0.0
            because = f"{share:g} of the {format_bytes(found.free.expected)} free before loading: weights, then cache"
            joins.append(Join(device=device.id, nbytes=found.budget.expected, because=because))
    how = f"all routed experts as {case.settings.text('kt_method')}, those on the GPU too"
    return Ledger(entries=(*entries, *host_entries(case, host_bytes(case), 0, how)), joins=tuple(joins))


def _budgeted(case: Case, device: Device, found: Pool) -> list[Entry]:
    known, count, used = weights(case), gpu_experts(case), gpu_bytes(case)
    tensor = case.parallel.tensor
    because = (
        f"{format_bytes(known.fixed)} without routed experts as {case.model.checkpoint.scheme}, and {count} of {known.experts} experts in "
        f"each of {known.layers} layers, {format_bytes(known.one_expert)} for one in all of them"
        + (f", over {tensor} ranks" * (tensor > 1))
    )
    cache = f"{found.tokens.expected:,} tokens x {found.token_bytes:,} bytes"
    origin = EXACT if case.model.checkpoint.exact else FORMULA
    lines = [
        entry(device.id, Purpose.WEIGHTS, Amount.exactly(used), because, budgeted=True, origin=origin),
        entry(device.id, Purpose.KV_CACHE, found.cache, cache, budgeted=True),
    ]
    if found.state.high:
        lines.append(entry(device.id, Purpose.STATE, found.state, "recurrent state: 9/19 of the pool, in whole slots", budgeted=True))
    return lines


def _outside(case: Case, device: Device, found: Pool) -> list[Entry]:
    """What the share does not count: the context before it, tables and graphs after it."""
    rows, length = request_rows(case, found.tokens.expected), case.settings.integer("context_length") or 1
    table = (rows + 1) * length * _PLACE
    because = f"a row of {length:,} token places for each of {rows:,} requests and one more"
    lines = [
        constant(device.id, Purpose.RUNTIME, KT_CONTEXT, "driver context, kernels and libraries of one process"),
        *others(device),
        entry(device.id, Purpose.BUFFERS, Amount.exactly(table), because),
    ]
    if case.parallel.tensor > 1:
        lines.append(constant(device.id, Purpose.COMMUNICATION, KT_NETWORK, "NCCL's buffers"))
    if not case.settings.flag("disable_cuda_graph"):
        largest = case.settings.integer("cuda_graph_max_bs")
        lines.append(constant(device.id, Purpose.GRAPHS, KT_GRAPHS, f"CUDA graphs of batches up to {largest}"))
    return lines


def _work(case: Case, device: Device, found: Pool) -> list[Entry]:
    architecture, tensor = case.model.architecture, case.parallel.tensor
    chunk = case.settings.integer("chunked_prefill_size") or 0
    waiting = prompt_of(case) * request_rows(case, found.tokens.expected)
    step = min(chunk, waiting) if chunk > 0 else prompt_of(case)
    plain = max((mixer_width(layer, tensor) for layer in architecture.layers), default=0)
    widest = widest_layer(case.model, tensor) if gpu_experts(case) or not weights(case).layers else plain
    nbytes = step * (widest + 4 * architecture.hidden_size) * _ELEMENT
    because = (
        f"a step of {step:,} tokens: a layer's widest buffers, {widest:,} elements, and 4 hidden states of {architecture.hidden_size:,}"
    )
    lines = [entry(device.id, Purpose.ACTIVATIONS, Amount(nbytes // 2, nbytes, nbytes * 3 // 2), because, phase=Phase.PREFILL)]
    threshold = case.settings.integer("kt_gpu_prefill_token_threshold")
    if threshold is not None and prompt_of(case) > threshold:
        slot = ceil_div(weights(case).whole_layer, tensor)
        whole = f"the prompt passes {threshold:,} tokens: every routed expert of one layer comes to the GPU, {format_bytes(slot)}"
        lines.append(entry(device.id, Purpose.WORKSPACE, Amount(slot, slot, slot * 5 // 4), whole, phase=Phase.PREFILL))
    return lines
