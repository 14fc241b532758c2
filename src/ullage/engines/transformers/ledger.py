"""The ledger of a Transformers process. Nothing is budgeted but continuous batching's pool: memory grows with the work."""

from functools import lru_cache

from ullage.domain.case import Case
from ullage.domain.ledger import Amount, Entry, Ledger, Phase, Purpose, amount_of
from ullage.domain.machine import HOST, Device
from ullage.domain.provenance import EXACT, FORMULA, Constant, Origin
from ullage.engines.transformers import activation, cache, continuous
from ullage.engines.transformers.device_map import DISK
from ullage.engines.transformers.placement import Share, on_processor, shares
from ullage.engines.transformers.versions import CONTEXT, CPU_PROCESS, HOST_PROCESS, keeps_rotary_tables, last_logits_only, rules
from ullage.engines.transformers.weights import activation_bytes, head_at_load, weight_case
from ullage.formulas.allocator import cublas_workspace
from ullage.units import format_bytes

_WITH_CONTEXT = frozenset({"cuda", "rocm", "xpu"})


def entry(
    device: str, purpose: Purpose, phase: Phase, amount: Amount, because: str, *, budgeted: bool = False, origin: Origin = FORMULA
) -> Entry:
    """One line of this engine's ledger."""
    return Entry(device=device, purpose=purpose, phase=phase, amount=amount, budgeted=budgeted, because=because, origin=origin)


def _constant(device: str, purpose: Purpose, phase: Phase, constant: Constant, because: str) -> Entry:
    return entry(device, purpose, phase, amount_of(constant), because, origin=constant.origin)


def working_shares(case: Case) -> tuple[Share, ...]:
    """The shares as layers run: what lies on the host or the disk runs on the first accelerator, where it is brought."""
    return _working_shares(weight_case(case))


@lru_cache(maxsize=64)
def _working_shares(case: Case) -> tuple[Share, ...]:
    own = {device.id for device in case.devices}
    found = {share.device: share for share in shares(case) if share.device in own}
    away = [share for share in shares(case) if share.device not in own]
    if not away or not case.devices or single_host(case):
        return tuple(shares(case))
    first = case.devices[0].id
    for share in away:
        here = found.get(first)
        found[first] = Share(
            device=first,
            tensors=(*(here.tensors if here else ()), *share.tensors),
            layers=tuple(sorted((*(here.layers if here else ()), *share.layers))),
            has_embedding=share.has_embedding or bool(here and here.has_embedding),
            has_head=share.has_head or bool(here and here.has_head),
            nbytes=here.nbytes if here else 0,
            counted=here.counted if here else 0,
            packed_weights=max(share.packed_weights, here.packed_weights if here else 0),
        )
    return tuple(found[device.id] for device in case.devices if device.id in found)


def single_host(case: Case) -> bool:
    """Whether the whole model runs on the host."""
    return case.settings.get("device_map") == "cpu"


def ledger(case: Case) -> Ledger:
    """Everything on every device and on the host, phase by phase."""
    entries: list[Entry] = []
    for index, share in enumerate(working_shares(case)):
        entries.extend(_fixed_entries(case, share))
        if continuous.is_continuous(case):
            entries.extend(_pool_entries(case, share) if index == 0 else ())
        else:
            entries.extend(_growing_entries(case, share, first=index == 0))
    used = {found.device for found in entries}
    for device in case.devices:
        if device.id not in used and device.kind in _WITH_CONTEXT:
            entries.append(_constant(device.id, Purpose.RUNTIME, Phase.RESIDENT, CONTEXT, "driver context; no weights lie here"))
        entries.extend(_others(device))
    return Ledger(entries=(*entries, *_host_entries(case)))


def _device(case: Case, device_id: str) -> Device | None:
    return next((device for device in case.devices if device.id == device_id), None)


def _fixed_entries(case: Case, share: Share) -> list[Entry]:
    """Weights, tables and workspaces: there from loading on."""
    device, scheme = _device(case, share.device), case.model.checkpoint.scheme
    origin = EXACT if case.model.checkpoint.exact else FORMULA
    how = (
        "as in the file"
        if on_processor(case)
        else "cut from one warm-up block"
        if rules(case).warmup
        else f"in blocks of the allocator, {format_bytes(share.counted - share.nbytes)} over"
    )
    because = f"{_layers(share)} as {scheme}: {share.nbytes:,} bytes, {how}"
    extra = head_at_load(case) if share.has_head else 0
    also = f", and the file's own head of {format_bytes(extra)} until it is tied" if extra else ""
    loading = f"{because}{also}"
    found = [
        entry(share.device, Purpose.STAGING, Phase.LOAD, Amount.exactly(share.counted + extra), loading, origin=origin),
        entry(share.device, Purpose.WEIGHTS, Phase.RESIDENT, Amount.exactly(share.counted), because, origin=origin),
    ]
    if device is not None and device.kind in _WITH_CONTEXT:
        context = "driver context, kernels and libraries of one process"
        found += [_constant(share.device, Purpose.RUNTIME, phase, CONTEXT, context) for phase in (Phase.LOAD, Phase.RESIDENT)]
        work = cublas_workspace(device.compute_capability)
        found.append(entry(share.device, Purpose.WORKSPACE, Phase.RESIDENT, Amount.exactly(work), "cuBLAS workspace, from PyTorch's pool"))
    tables = _table_bytes(case, share)
    if tables:
        because = f"cos and sin of every position in each of {len(share.layers)} layers"
        found.append(entry(share.device, Purpose.BUFFERS, Phase.RESIDENT, Amount.exactly(tables), because))
    found.extend(_scratch_entries(case, share))
    return found


def _layers(share: Share) -> str:
    parts = [name for name, there in (("embedding", share.has_embedding), ("head", share.has_head)) if there]
    if share.layers:
        parts.insert(0, f"{len(share.layers)} layers ({share.layers[0]} to {share.layers[-1]})")
    return ", ".join(parts) or "other weights"


def _table_bytes(case: Case, share: Share) -> int:
    architecture = case.model.architecture
    if not keeps_rotary_tables(architecture.model_type, case.version):
        return 0
    return len(share.layers) * sum(2 * table.dim * table.positions for table in architecture.rotary) * activation_bytes(case)


def _scratch_entries(case: Case, share: Share) -> list[Entry]:
    """The ExLlama kernels of GPTQ keep room for the largest matrix unpacked."""
    if not case.model.checkpoint.scheme.startswith("gptq 4-bit"):
        return []
    largest = share.packed_weights
    nbytes = 2 * largest
    because = f"room of the ExLlama kernels for one matrix of {largest:,} weights as float16; other kernels need none"
    return [entry(share.device, Purpose.WORKSPACE, Phase.RESIDENT, Amount(0, nbytes, nbytes), because)] if nbytes else []


def _growing_entries(case: Case, share: Share, *, first: bool) -> list[Entry]:
    """Prompt and answer of ``generate``."""
    name = share.device
    prompt, end = case.workload.prompt_tokens or 0, _last_tokens(case)
    before = cache.kept(case, share, tokens=prompt, prompt=True)
    after = cache.kept(case, share, tokens=end)
    layer = activation.prefill(case, share)
    logits = activation.prefill_logits(case, share, first=first)
    beyond = Amount(
        max(0, logits.amount.low - layer.amount.high),
        max(0, logits.amount.expected - layer.amount.expected),
        max(0, logits.amount.high - layer.amount.low),
    )
    grow, why = cache.growth(case, share, tokens=end)
    late = activation.decode_logits(case, share)
    found = [
        entry(name, Purpose.ACTIVATIONS, Phase.PREFILL, layer.amount, layer.because),
        entry(name, Purpose.LOGITS, Phase.PREFILL, beyond, f"{logits.because}; what the activations before did not take"),
        entry(name, Purpose.ACTIVATIONS, Phase.DECODE, Amount(0, grow, grow), why),
        entry(name, Purpose.LOGITS, Phase.DECODE, late.amount, late.because),
    ]
    return [
        line
        for line in (*_cache_entries(name, before, after), *found, *_brought(case, share), *_first_step(case, share, first=first))
        if line.amount.high
    ]


def _cache_entries(device: str, before: cache.Kept, after: cache.Kept) -> list[Entry]:
    """What prompt and answer both keep, and what only one of them does: together the larger, never their sum."""
    both = min(before.nbytes, after.nbytes)
    shorter = before if before.nbytes <= after.nbytes else after
    return [
        entry(device, Purpose.KV_CACHE, Phase.RESIDENT, Amount.exactly(both), shorter.because),
        entry(device, Purpose.KV_CACHE, Phase.PREFILL, Amount.exactly(before.nbytes - both), f"{before.because}, before the answer"),
        entry(device, Purpose.KV_CACHE, Phase.DECODE, Amount.exactly(after.nbytes - both), f"{after.because}, with the answer"),
    ]


def _first_step(case: Case, share: Share, *, first: bool) -> list[Entry]:
    """The first new token, where it needs more than the last: the logits of all prompt positions are let go only after it."""
    if not first or last_logits_only(case.model.architecture.model_type, case.version):
        return []
    prompt, end = case.workload.prompt_tokens or 0, _last_tokens(case)
    rows = case.workload.concurrent_sequences * activation.query_tokens(case)
    held = rows * case.model.architecture.vocab_size * (activation.FLOAT if rules(case).float_logits else activation_bytes(case))
    begin = min(prompt + 1, end)
    start = cache.kept(case, share, tokens=begin, prompt=True).nbytes + cache.growth(case, share, tokens=begin)[0] + held
    finish = cache.kept(case, share, tokens=end).nbytes + cache.growth(case, share, tokens=end)[0]
    because = f"at the first new token {format_bytes(held)} of logits of {rows:,} prompt positions are alive; what the last does not need"
    return [entry(share.device, Purpose.LOGITS, Phase.DECODE, Amount.exactly(max(0, start - finish)), because)]


def _last_tokens(case: Case) -> int:
    """Tokens in the cache when the last token is made; that token itself is never run."""
    return max(case.workload.prompt_tokens or 0, (case.workload.context_tokens or 0) - 1)


def _brought(case: Case, share: Share) -> list[Entry]:
    """Offloaded blocks come to the first device one at a time."""
    away = [part for part in shares(case) if part.device not in {device.id for device in case.devices}]
    if not away or single_host(case) or share.device != case.devices[0].id:
        return []
    largest = max(part.largest_block for part in away)
    because = "the largest offloaded block, brought here to run"
    return [entry(share.device, Purpose.WORKSPACE, Phase.RESIDENT, Amount.exactly(largest), because)]


def _pool_entries(case: Case, share: Share) -> list[Entry]:
    pool = continuous.plan(case)
    because = (
        f"{pool.pages:,} pages of {pool.page_tokens} tokens, {pool.page_bytes:,} bytes each, of {format_bytes(pool.available)} planned with"
    )
    step = f"a step of {pool.batch_tokens:,} tokens, its logits, masks and the copies attention reads, as planned"
    step_amount = Amount(0, max(0, min(pool.step_bytes, pool.available - pool.cache_bytes)), max(0, pool.step_bytes))
    return [
        entry(share.device, Purpose.KV_CACHE, Phase.RESIDENT, Amount.exactly(pool.cache_bytes), because, budgeted=True),
        entry(share.device, Purpose.ACTIVATIONS, Phase.PREFILL, step_amount, step, budgeted=True),
    ]


def _others(device: Device) -> list[Entry]:
    if not device.reserved_bytes:
        return []
    held = Amount.exactly(device.reserved_bytes)
    phases = (Phase.LOAD, Phase.RESIDENT)
    return [entry(device.id, Purpose.OTHERS, phase, held, "held by other processes", origin=EXACT) for phase in phases]


def _host_entries(case: Case) -> list[Entry]:
    """The process, offloaded weights and cache, and what loading copies."""
    host = case.machine.host
    if host is None:
        return []
    process = CPU_PROCESS if on_processor(case) else HOST_PROCESS
    found = [
        _constant(HOST, Purpose.RUNTIME, phase, process, "Python, PyTorch and its libraries") for phase in (Phase.LOAD, Phase.RESIDENT)
    ]
    away = sum(share.nbytes for share in shares(case) if share.device == HOST)
    if away and not single_host(case):
        because, amount = "weights that Accelerate left on the host", Amount.exactly(away)
        found += [entry(HOST, Purpose.WEIGHTS, phase, amount, because) for phase in (Phase.LOAD, Phase.RESIDENT)]
    if not continuous.is_continuous(case):
        swapped = sum(cache.kept(case, share, tokens=_last_tokens(case)).host for share in working_shares(case))
        if swapped:
            found.append(entry(HOST, Purpose.SWAP, Phase.DECODE, Amount.exactly(swapped), "offloaded cache, pinned"))
    found.append(_staging(case))
    return [*found, *_others(host)]


def _staging(case: Case) -> Entry:
    """Tensors are mapped from the file and copied one by one; without ``low_cpu_mem_usage`` the host holds the model twice."""
    whole = sum(share.nbytes for share in shares(case) if share.device != DISK)
    largest = max((share.largest_tensor for share in shares(case)), default=0)
    if rules(case).low_cpu_setting and case.settings.flag("low_cpu_mem_usage") is False:
        because = "the model made with random weights, and the state dict read from the file beside it"
        return entry(HOST, Purpose.STAGING, Phase.LOAD, Amount(whole, 2 * whole, 2 * whole), because)
    because = "one tensor at a time from the mapped file; the file's pages are cache that the system can take back"
    return entry(HOST, Purpose.STAGING, Phase.LOAD, Amount(0, largest, 4 * largest), because)
