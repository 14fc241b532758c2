"""The ledger of an ExLlamaV3 process: weights and static cache stay, the forward pass that was tried while loading is freed again."""

from ullage.domain.case import Case
from ullage.domain.ledger import Amount, Entry, Ledger, Phase, Purpose
from ullage.domain.machine import HOST
from ullage.domain.provenance import EXACT, FORMULA, Origin
from ullage.engines.exllamav3.place import is_filled, layer_counts, placing
from ullage.engines.exllamav3.units import Unit, units
from ullage.engines.exllamav3.versions import CONTEXT
from ullage.formulas.blocks import table_bytes
from ullage.formulas.exllama import process_amount
from ullage.formulas.placement import proportional
from ullage.units import format_bytes

_ALIVE = (Phase.LOAD, Phase.RESIDENT)


def ledger(case: Case) -> Ledger:
    """Everything on every card and on the host, phase by phase."""
    divided = case.settings.flag("tensor_parallel") and len(case.devices) > 1
    found = _divided(case) if divided else [line for index in range(len(case.devices)) for line in _card(case, index)]
    return Ledger(entries=(*found, *_host(case)))


def _lines(device: str, purpose: Purpose, phases: tuple[Phase, ...], amount: Amount, because: str, origin: Origin = FORMULA) -> list[Entry]:
    known = purpose not in {Purpose.RUNTIME, Purpose.OTHERS}
    return [
        Entry(device=device, purpose=purpose, phase=phase, amount=amount, budgeted=known, because=because, origin=origin)
        for phase in phases
        if amount.high
    ]


def _card(case: Case, index: int) -> list[Entry]:
    placed, device = placing(case), case.devices[index]
    first, end = placed.spans[index]
    run, layers = units(case)[first:end], layer_counts(case, placed.spans)[index]
    context = process_amount(CONTEXT, placed.spans, index, automatic=is_filled(case))
    found = [
        *_lines(device.id, Purpose.RUNTIME, _ALIVE, context, "driver context, kernels and slack of one process", CONTEXT.origin),
        *_lines(device.id, Purpose.OTHERS, _ALIVE, Amount.exactly(device.reserved_bytes), "held by other processes"),
    ]
    return [*found, *_of_run(case, device.id, run, layers)]


def _of_run(case: Case, device: str, run: tuple[Unit, ...], layers: int) -> list[Entry]:
    """What the modules of one card take."""
    mode, size = case.settings.text("cache_mode"), case.settings.integer("cache_size") or 0
    weights, cache = sum(unit.weights for unit in run), sum(unit.cache_bytes for unit in run)
    states, work = sum(unit.state_bytes for unit in run), max((unit.working for unit in run), default=0)
    origin = EXACT if case.model.checkpoint.exact else FORMULA
    slots, chunk = case.settings.integer("max_batch_size"), case.settings.integer("chunk_size") or 0
    because = f"one pass of {chunk:,} tokens, tried while loading and freed: states, one matrix unpacked to 16 bits"
    near = Amount(work // 2, work, work * 3 // 2)
    stays = sum(unit.may_stay for unit in run)
    said = f"{layers} layers as {case.model.checkpoint.scheme}" + (
        "; experts in another codebook than mul1 stay on the card" if stays else ""
    )
    return [
        *_lines(device, Purpose.WEIGHTS, _ALIVE, Amount(weights, weights, weights + stays), said, origin),
        *_lines(device, Purpose.KV_CACHE, _ALIVE, Amount.exactly(cache), f"{size:,} tokens as {mode} = {format_bytes(cache)}"),
        *_lines(device, Purpose.STATE, _ALIVE, Amount.exactly(states), f"windows and recurrent states of {slots} jobs"),
        *_lines(device, Purpose.ACTIVATIONS, (Phase.LOAD, Phase.PREFILL), near, because),
    ]


def _divided(case: Case) -> list[Entry]:
    """Every layer on every card, in proportion to their memory; whole heads and blocks make the parts uneven by a few per cent."""
    run = units(case)
    memory = [device.total_bytes - device.reserved_bytes for device in case.devices]
    totals = [sum(getattr(unit, name) for unit in run) for name in ("weights", "cache_bytes", "state_bytes")]
    shares = [proportional(total, memory) for total in totals]
    work = proportional(max((unit.working for unit in run), default=0), memory)
    hidden = 2 * (case.settings.integer("chunk_size") or 0) * case.model.architecture.hidden_size
    context = Amount(CONTEXT.low or 0, CONTEXT.value, CONTEXT.high or 0)
    found = []
    for at, device in enumerate(case.devices):
        weights, cache, states = (share[at] for share in shares)
        uneven = Amount(weights * 95 // 100, weights, weights * 105 // 100)
        passing = Amount(work[at] // 2, work[at] + 2 * hidden, work[at] * 2 + 4 * hidden)
        found += [
            *_lines(device.id, Purpose.RUNTIME, _ALIVE, context, "driver context of one process", CONTEXT.origin),
            *_lines(device.id, Purpose.OTHERS, _ALIVE, Amount.exactly(device.reserved_bytes), "held by other processes"),
            *_lines(device.id, Purpose.WEIGHTS, _ALIVE, uneven, "a part of every layer"),
            *_lines(device.id, Purpose.KV_CACHE, _ALIVE, Amount.exactly(cache), "a part of the heads of every layer"),
            *_lines(device.id, Purpose.STATE, _ALIVE, Amount.exactly(states), "a part of every state"),
            *_lines(device.id, Purpose.ACTIVATIONS, (Phase.LOAD, Phase.PREFILL), passing, "a part of one pass, and exchanged states"),
        ]
    return found


def _host(case: Case) -> list[Entry]:
    if case.machine.host is None:
        return []
    table, away = table_bytes(case.model), sum(unit.host_weights for unit in units(case))
    return [
        *_lines(HOST, Purpose.WEIGHTS, _ALIVE, Amount.exactly(table), "the token table stays on the host in 16 bits"),
        *_lines(HOST, Purpose.WEIGHTS, _ALIVE, Amount.exactly(away), "experts of cpu_moe_offload_layers"),
        *_lines(HOST, Purpose.OTHERS, _ALIVE, Amount.exactly(case.machine.host.reserved_bytes), "held by other processes"),
    ]
