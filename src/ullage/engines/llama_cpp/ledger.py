"""The ledger of a llama.cpp server: weights, cache and compute buffers of each device, and what stays in host memory.

Nothing fills a budget: the cache is as large as the context says, and lies there from the start.
"""

from ullage.domain.case import Case
from ullage.domain.ledger import Amount, Entry, Ledger, Phase, Purpose, amount_of, total
from ullage.domain.machine import Device
from ullage.domain.provenance import ASSUMED, EXACT, FORMULA, Constant, Origin
from ullage.engines.llama_cpp.cache import by_device, cells
from ullage.engines.llama_cpp.compute import Buffer, buffer_on, candidate_bytes, host_inputs, is_pipelined, output_bytes, step_tokens
from ullage.engines.llama_cpp.placement import ON_HOST, place
from ullage.engines.llama_cpp.resolve import accelerators, host_of, on_cpu_only, rules
from ullage.engines.llama_cpp.saved import saved_prompts, saved_states
from ullage.engines.llama_cpp.versions import CONTEXT, POOL, PROCESS, PROCESS_CUDA
from ullage.units import format_bytes

_DRIVERS = frozenset({"cuda", "rocm", "xpu"})


def ledger(case: Case) -> Ledger:
    """Everything on every device and on the host."""
    entries: list[Entry] = []
    for device in accelerators(case):
        entries.extend(_stored(case, device.id, device.id))
        entries.extend(_working(case, device))
    host = host_of(case)
    if host is not None:
        entries.extend(_stored(case, ON_HOST, host))
        entries.extend(_host_entries(case, host))
    for known in (*case.devices, *((case.machine.host,) if case.machine.host and case.machine.host.id == host else ())):
        if known.reserved_bytes:
            held = Amount.exactly(known.reserved_bytes)
            entries.append(_entry(known.id, Purpose.OTHERS, held, "held by other processes", origin=EXACT))
    return Ledger(entries=tuple(entries))


def _entry(
    device: str, purpose: Purpose, amount: Amount, because: str, *, phase: Phase = Phase.RESIDENT, origin: Origin = FORMULA
) -> Entry:
    known = purpose in {Purpose.WEIGHTS, Purpose.KV_CACHE, Purpose.STATE, Purpose.ACTIVATIONS}
    return Entry(device=device, purpose=purpose, phase=phase, amount=amount, budgeted=known, because=because, origin=origin)


def _constant(device: str, constant: Constant, because: str) -> Entry:
    return _entry(device, Purpose.RUNTIME, amount_of(constant), because, origin=constant.origin)


def _stored(case: Case, where: str, device: str) -> list[Entry]:
    """Weights, cache and state of one place."""
    spot, kept, found = place(case), cells(case), []
    weights = spot.weights_on(where)
    if weights:
        layers = spot.layers_on(where)
        what = f"{len(layers)} of {len(spot.layers)} layers" + (" and the output" if spot.output == where else "")
        what += ", the token table" if where == ON_HOST else ""
        origin = EXACT if case.model.checkpoint.exact else FORMULA
        found.append(_entry(device, Purpose.WEIGHTS, Amount.exactly(weights), f"{case.model.checkpoint.scheme}: {what}", origin=origin))
    keys, state = by_device(case).get(where, (0, 0))
    if keys:
        types = f"{case.settings.text('cache_type_k')}/{case.settings.text('cache_type_v')}"
        because = f"{kept.tokens:,} cells x {kept.streams} stream(s), keys and values {types}"
        because += "".join(f", {size:,} cells in windows of {window:,}" for window, size in kept.window_of)
        found.append(_entry(device, Purpose.KV_CACHE, Amount.exactly(keys), because))
    if state:
        slots = case.settings.integer("n_parallel")
        found.append(_entry(device, Purpose.STATE, Amount.exactly(state), f"recurrent state of {slots} slot(s) in 32 bits"))
    return found


def _explain(case: Case, buffer: Buffer) -> str:
    terms = " + ".join(f"{name} {format_bytes(value)}" for name, value in buffer.terms)
    return f"graph of {step_tokens(case):,} tokens: {terms or 'inputs'}" + (
        ", inputs four times for the pipeline" if is_pipelined(case) else ""
    )


def _working(case: Case, device: Device) -> list[Entry]:
    """The compute buffer, the driver's context and the backend's scratch."""
    buffer = buffer_on(case, device.id)
    found = [_entry(device.id, Purpose.ACTIVATIONS, buffer.amount, _explain(case, buffer))]
    left = case.settings.integer("ollama_gpu_overhead") or 0
    if left:
        found.append(_entry(device.id, Purpose.OTHERS, Amount.exactly(left), "left free by OLLAMA_GPU_OVERHEAD", origin=EXACT))
    if device.kind in _DRIVERS:
        found.append(_constant(device.id, CONTEXT, "driver context and kernels, in no log line"))
        found.append(_constant(device.id, POOL, "scratch of the backend's matrix products"))
    return found


def _host_entries(case: Case, host: str) -> list[Entry]:
    found = []
    away = bool(accelerators(case))
    if on_cpu_only(case) or ON_HOST in place(case).layers or place(case).output == ON_HOST:
        buffer = buffer_on(case, ON_HOST)
        # Its pages are resident once touched: a short prompt touches little.
        found.append(_entry(host, Purpose.ACTIVATIONS, buffer.amount, _explain(case, buffer)))
    elif away:
        found.append(_entry(host, Purpose.ACTIVATIONS, host_inputs(case), "token embeddings and masks in pinned memory"))
    rows = output_bytes(case)
    slots = case.settings.integer("n_parallel")
    found.append(
        _entry(host, Purpose.LOGITS, Amount.exactly(rows), f"{slots} slot(s) x {case.model.architecture.vocab_size:,} logits x 4 B")
    )
    weighed = Amount(0, candidate_bytes(case), candidate_bytes(case))
    because = f"{slots} slot(s) x {case.model.architecture.vocab_size:,} candidates x 12 B, once a slot has sampled"
    found.append(_entry(host, Purpose.LOGITS, weighed, because, phase=Phase.DECODE))
    driver = any(device.kind in _DRIVERS for device in accelerators(case))
    found.append(_constant(host, PROCESS_CUDA if driver else PROCESS, "the process itself: code, libraries, heap"))
    prompts = saved_prompts(case)
    if prompts.high:
        limit = case.settings.integer("cache_ram") or 0
        because = "prompts saved without limit (--cache-ram -1)" if limit < 0 else f"prompts saved up to --cache-ram {limit:,} MiB"
        found.append(_entry(host, Purpose.SWAP, prompts, because, origin=ASSUMED))
    states = saved_states(case)
    if states.high:
        because = f"up to {case.settings.integer('ctx_checkpoints')} checkpoints of windows and states for each slot"
        found.append(_entry(host, Purpose.SWAP, states, because, origin=ASSUMED))
    return found


def projected_bytes(case: Case, device: str) -> int:
    """Model, context and compute of one device, as the engine itself projects them before it loads."""
    keys, state = by_device(case).get(device, (0, 0))
    return place(case).weights_on(device) + keys + state + total([buffer_on(case, device).amount]).expected


def uses_streams(case: Case) -> bool:
    """Whether each slot has a cache of its own."""
    return rules(case).streams and not case.settings.flag("kv_unified")
