"""The ledger of an ExLlamaV2 process. A manual split knows weights and scratch; the cache comes after it, on each layer's card."""

from ullage.catalog.exllama_options import AUTO
from ullage.domain.case import Case
from ullage.domain.ledger import Amount, Entry, Ledger, Phase, Purpose
from ullage.domain.machine import HOST, Device
from ullage.domain.provenance import EXACT, FORMULA, Origin
from ullage.engines.exllamav2 import tensor
from ullage.engines.exllamav2.place import Placing, has_flash, temporary_bytes, tilted, variants
from ullage.engines.exllamav2.settings import cache_tokens, reserve_mib
from ullage.engines.exllamav2.units import Unit, table_positions_bytes, units
from ullage.engines.exllamav2.versions import AUTOSPLIT_MINIMUM, CONTEXT
from ullage.formulas.blocks import BlockKind, table_bytes
from ullage.formulas.exllama import process_amount
from ullage.frozen import replace
from ullage.units import MiB, format_bytes

_ALIVE = (Phase.LOAD, Phase.RESIDENT)


def ledger(case: Case) -> Ledger:
    """Everything on every card and on the host, phase by phase."""
    if case.settings.flag("tensor_parallel") and len(case.devices) > 1:
        found = [entry for index, device in enumerate(case.devices) for entry in _tensor_card(case, device, tensor.parts(case)[index])]
    else:
        placings = variants(case)
        found = [entry for index in range(len(case.devices)) for entry in _card(case, index, placings)]
    return Ledger(entries=(*found, *_host(case)))


def _entry(device: str, purpose: Purpose, phase: Phase, amount: Amount, because: str, *, known: bool, origin: Origin = FORMULA) -> Entry:
    return Entry(device=device, purpose=purpose, phase=phase, amount=amount, budgeted=known, because=because, origin=origin)


def _range(values: list[int]) -> Amount:
    """The first is expected, the others are what may be as well."""
    return Amount(min(values), values[0], max(values))


def _card(case: Case, index: int, placings: tuple[Placing, ...]) -> list[Entry]:
    """One card under layer placement. Filled automatically, a card stops in time, and what is unsure lands on the last."""
    device, modules = case.devices[index], units(case)
    runs = [modules[first:end] for first, end in (placing.spans[index] for placing in placings)]
    automatic = case.settings.text("gpu_split") == AUTO
    found = [*_process(case, index, placings[0], automatic=automatic), *_others(device)]
    if not any(runs):
        return found
    found += _weights(case, device, index, placings)
    found += _scratch(case, device, runs, automatic=automatic)
    found += _cache(case, device, runs, automatic=automatic)
    if automatic:
        kept = AUTOSPLIT_MINIMUM.value + int(reserve_mib(case)[index] * MiB)
        because = "kept free while the cards are filled"
        found.append(_entry(device.id, Purpose.STAGING, Phase.LOAD, Amount(0, 0, kept), because, known=True))
    found.append(_working(case, device, runs[0], automatic=automatic))
    return found


def _process(case: Case, index: int, placing: Placing, *, automatic: bool) -> list[Entry]:
    device = case.devices[index]
    amount = process_amount(CONTEXT, placing.spans, index, automatic=automatic)
    because = "driver context, kernels, cuBLAS and slack of one process"
    if automatic and amount.high > (CONTEXT.high or 0):
        because += "; what is unsure on the cards before lands here"
    return [_entry(device.id, Purpose.RUNTIME, phase, amount, because, known=automatic, origin=CONTEXT.origin) for phase in _ALIVE]


def _others(device: Device) -> list[Entry]:
    held = Amount.exactly(device.reserved_bytes)
    because = "held by the desktop or another process"
    return [_entry(device.id, Purpose.OTHERS, phase, held, because, known=False) for phase in _ALIVE if device.reserved_bytes]


def _weights(case: Case, device: Device, index: int, placings: tuple[Placing, ...]) -> list[Entry]:
    modules, sums = units(case), []
    for placing in placings:
        first, end = placing.spans[index]
        sums.append(sum(tilted(modules, placing.tilt)[first:end]) + sum(unit.resident - unit.footprint for unit in modules[first:end]))
    origin = EXACT if case.model.checkpoint.exact and len(set(sums)) == 1 else FORMULA
    counts = [_layers(modules[placing.spans[index][0] : placing.spans[index][1]]) for placing in placings]
    spread = f"{min(counts)} to {max(counts)} layers, as attention and bits per layer turn out" if len(set(counts)) > 1 else ""
    because = f"{_run(modules[slice(*placings[0].spans[index])])} as {case.model.checkpoint.scheme}" + (f"; {spread}" if spread else "")
    return [_entry(device.id, Purpose.WEIGHTS, phase, _range(sums), because, known=True, origin=origin) for phase in _ALIVE]


def _layers(run: tuple[Unit, ...]) -> int:
    return sum(unit.block.kind is BlockKind.ATTENTION for unit in run)


def _run(run: tuple[Unit, ...]) -> str:
    layers = sorted({unit.block.layer for unit in run if unit.block.layer is not None})
    head = any(unit.block.kind is BlockKind.HEAD for unit in run)
    parts = [f"{_layers(run)} layers ({layers[0]} to {layers[-1]})"] if layers else []
    return " and ".join([*parts, *(["the head"] if head else [])]) or "norms"


def _scratch(case: Case, device: Device, runs: list[tuple[Unit, ...]], *, automatic: bool) -> list[Entry]:
    everywhere = max((unit.scratch for unit in units(case) if unit.block.quantised), default=0) if automatic else None
    sizes = [_largest_scratch(run) if everywhere is None else everywhere for run in runs]
    kind = "of the whole model, as automatic filling takes it" if automatic else f"here, {_largest_kind(runs[0])}"
    because = f"scratch of the largest module {kind}: its states and one matrix unpacked to 16 bits"
    tables = table_positions_bytes(case)
    said = f"sine and cosine of {case.settings.integer('max_seq_len'):,} positions"
    found = []
    for phase in _ALIVE:
        found.append(_entry(device.id, Purpose.WORKSPACE, phase, _range(sizes), because, known=True))
        found.append(_entry(device.id, Purpose.BUFFERS, phase, Amount.exactly(tables), said, known=True))
    return found


def _largest_scratch(run: tuple[Unit, ...]) -> int:
    return max((unit.scratch for unit in run if unit.block.quantised), default=0)


def _largest_kind(run: tuple[Unit, ...]) -> str:
    return max(run, key=lambda unit: unit.scratch).block.kind.value if run else "none"


def _cache(case: Case, device: Device, runs: list[tuple[Unit, ...]], *, automatic: bool) -> list[Entry]:
    sizes = [sum(unit.cache_bytes for unit in run) for run in runs]
    where = "made layer by layer while the cards fill" if automatic else "made after loading, outside gpu_split"
    mode, layers = case.settings.text("cache_mode"), _layers(runs[0])
    because = f"{cache_tokens(case):,} tokens x {layers} layers as {mode} = {format_bytes(sizes[0])}, {where}"
    phases = _ALIVE if automatic else (Phase.RESIDENT,)
    found = [_entry(device.id, Purpose.KV_CACHE, phase, _range(sizes), because, known=automatic) for phase in phases]
    temporary = temporary_bytes(case)
    if temporary and max(sizes):
        said = f"one whole layer of the cache in 16 bits, beside {mode}, on every card that holds some of it"
        found += [_entry(device.id, Purpose.WORKSPACE, phase, Amount.exactly(temporary), said, known=automatic) for phase in phases]
    return found


def _working(case: Case, device: Device, run: tuple[Unit, ...], *, automatic: bool) -> Entry:
    """One pass over a prompt. Whether flash-attn is there is not known unless it was ruled out."""
    base = max((unit.working for unit in run), default=0)
    scores = max((unit.scores for unit in run), default=0)
    chunk = case.settings.integer("chunk_size") or 0
    because = f"hidden states, queries, keys and values of {chunk:,} tokens"
    if case.settings.flag("no_flash_attn"):
        return _entry(
            device.id, Purpose.ACTIVATIONS, Phase.PREFILL, Amount(base, base + scores, base + scores), f"{because}, scores", known=automatic
        )
    high = base if has_flash(case) else base + scores
    also = "" if has_flash(case) else "; without flash-attn also the attention weights"
    return _entry(device.id, Purpose.ACTIVATIONS, Phase.PREFILL, Amount(base // 2, base, high), because + also, known=automatic)


def _tensor_card(case: Case, device: Device, part: tensor.Part) -> list[Entry]:
    runtime = Amount(CONTEXT.low or 0, CONTEXT.value, CONTEXT.high or 0)
    near = Amount(part.weights * 97 // 100, part.weights, part.weights * 103 // 100)
    scratch = Amount(part.scratch // 2, part.scratch, part.scratch * 2)
    found = []
    for phase in _ALIVE:
        found += [
            _entry(device.id, Purpose.WEIGHTS, phase, near, f"a part of every layer, {part.heads} key-value heads", known=True),
            _entry(device.id, Purpose.WORKSPACE, phase, scratch, "scratch for a part of the largest module", known=True),
            _entry(
                device.id, Purpose.BUFFERS, phase, Amount.exactly(tensor.buffers_bytes(case)), "tables and exchanged states", known=False
            ),
            _entry(device.id, Purpose.RUNTIME, phase, runtime, "driver context and libraries", known=False, origin=CONTEXT.origin),
        ]
    because = f"{cache_tokens(case):,} tokens, {part.heads} key-value heads of every layer"
    found.append(_entry(device.id, Purpose.KV_CACHE, Phase.RESIDENT, Amount.exactly(part.cache), because, known=True))
    return [*found, *_others(device)]


def _host(case: Case) -> list[Entry]:
    if case.machine.host is None:
        return []
    amount, said = Amount.exactly(table_bytes(case.model)), "the token table stays on the host in 16 bits"
    found = [_entry(HOST, Purpose.WEIGHTS, phase, amount, said, known=True) for phase in _ALIVE]
    if case.settings.flag("tensor_parallel"):
        pinned = Amount.exactly(tensor.pinned_bytes(case))
        found.append(_entry(HOST, Purpose.COMMUNICATION, Phase.RESIDENT, pinned, "two pinned buffers of the widest output", known=True))
    return [*found, *(replace(entry, device=HOST) for entry in _others(case.machine.host))]
